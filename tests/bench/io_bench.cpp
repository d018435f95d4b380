// How fast the two ends of a streamed run are: reading a checkpoint ahead into a ring of slots,
// with and without the digest, from the page cache and past it; writing the same tensors behind;
// and both at once. CSV on standard output: what, lanes, GB/s, and the seconds that threads were
// busy.
//   io_bench PLUGIN_DIR MODEL SCRATCH_DIRECTORY [SLOTS]
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "host/compute/memory.hpp"
#include "host/loader/container.hpp"
#include "host/pipeline/read_ahead.hpp"
#include "host/pipeline/write_behind.hpp"

namespace mopt::bench {
namespace {

using namespace mopt::pipeline;

constexpr size_t kSlotBytes = size_t{8} << 20;
constexpr int kLanes = 4;                             // while it is written too
constexpr uint64_t kUnitBytes = uint64_t{300} << 20;  // about a block of an 8B model in 8 bits

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Memory {
  explicit Memory(size_t slots)
      : bytes(static_cast<std::byte*>(std::aligned_alloc(SlotRing::kPage, slots * kSlotBytes)),
              std::free) {
    std::memset(bytes.get(), 1, slots * kSlotBytes);
    ring.emplace(std::span(bytes.get(), slots * kSlotBytes), kSlotBytes);
  }
  std::unique_ptr<std::byte, decltype(&std::free)> bytes;
  std::optional<SlotRing> ring;
};

void forget(const Container& model) {
  for (const std::string& file : model.files()) {
    const int fd = ::open(file.c_str(), O_RDONLY);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  }
}

void touch(const Container& model) {
  std::vector<char> piece(kSlotBytes);
  for (const std::string& file : model.files()) {
    const int fd = ::open(file.c_str(), O_RDONLY);
    while (::read(fd, piece.data(), piece.size()) > 0) {
    }
    ::close(fd);
  }
}

void read(const Container& model, Memory& memory, const char* what, int lanes, Digest digest) {
  const double start = now();
  ReadAhead reader(*memory.ring, lanes);
  std::vector<std::future<Delivered>> done;
  for (const mopt::StoredTensor& t : model.tensors())
    done.push_back(reader.submit({model, t, digest, [](uint64_t, Slot&&) {}}));
  for (auto& d : done)
    d.get();
  const double seconds = now() - start;
  const ReadTiming t = reader.timing();
  std::printf("%s%s,%d,%.2f,read %.2f hash %.2f starved %.2f direct %.0f%%,%.0f MB resident\n",
              what, digest == Digest::kNone ? "" : " with sha256", lanes,
              static_cast<double>(t.bytes) / seconds * 1e-9, t.read, t.hash, t.starved,
              100.0 * static_cast<double>(t.direct_bytes) / static_cast<double>(t.bytes),
              static_cast<double>(compute::peak_resident_bytes()) * 1e-6);
  std::fflush(stdout);
}

// Reads the model and writes all of it again, as a run does that changes nothing.
void copy(const Registry& registry, const Container& model, Memory& memory, const char* what,
          const std::filesystem::path& scratch) {
  std::filesystem::remove_all(scratch);
  std::vector<TensorDecl> decls;
  for (const mopt::StoredTensor& t : model.tensors())
    decls.push_back({std::string(t.name), t.dtype, {t.shape.begin(), t.shape.end()}});
  ContainerWriter writer(registry, "safetensors", {scratch, decls, uint64_t{5} << 30},
                         WriteMode::kFresh);
  const double start = now();
  WriteBehind out(sink_of(writer), {2, memory.ring->count() * kSlotBytes, 1});
  ReadAhead reader(*memory.ring, kLanes);
  std::vector<std::future<Delivered>> unit;
  uint64_t bytes = 0, ended = 0;
  const auto end_unit = [&] {
    for (auto& read : unit)
      read.get();
    unit.clear();
    ended = bytes;
    out.end_unit({});
  };
  for (const mopt::StoredTensor& t : model.tensors()) {
    if (unit.empty()) out.begin_unit();
    unit.push_back(reader.submit({model, t, Digest::kSha256, [&](uint64_t at, Slot&& slot) {
                                    auto keep = std::make_shared<Slot>(std::move(slot));
                                    const std::span<const std::byte> piece = keep->bytes();
                                    out.submit(std::string(t.name), at, piece, std::move(keep));
                                  }}));
    bytes += t.stored_bytes;
    if (bytes - ended >= kUnitBytes) end_unit();
  }
  if (!unit.empty()) end_unit();
  out.drain();
  const double synced = now() - start;
  writer.commit();
  const WriteTiming t = out.timing();
  std::printf("%s,%d,%.2f,write %.2f hash %.2f sync %.2f stalled %.2f commit %.2f\n", what, kLanes,
              static_cast<double>(bytes) / (now() - start) * 1e-9, t.write, t.hash, t.sync,
              t.stalled, now() - start - synced);
  std::fflush(stdout);
  std::filesystem::remove_all(scratch);
}

int run(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: io_bench PLUGIN_DIR MODEL SCRATCH_DIRECTORY [SLOTS]\n");
    return 2;
  }
  Services services{"", {}};
  const Registry registry{{{}, {argv[1]}, 0}, services};
  const Container model = Container::open(registry, argv[2]);
  Memory memory(argc > 4 ? static_cast<size_t>(std::atoi(argv[4])) : 32);
  std::printf("what,lanes,GB/s,seconds of threads\n");
  for (const int lanes : {1, 2, 4, 8}) {
    forget(model);
    read(model, memory, "cold", lanes, Digest::kSha256);
  }
  touch(model);
  for (const int lanes : {1, 2, 4, 8}) {
    read(model, memory, "cached", lanes, Digest::kNone);
    read(model, memory, "cached", lanes, Digest::kSha256);
  }
  copy(registry, model, memory, "cached to disk", argv[3]);
  forget(model);
  copy(registry, model, memory, "cold to disk", argv[3]);
  return 0;
}

}  // namespace
}  // namespace mopt::bench

int main(int argc, char** argv) {
  try {
    return mopt::bench::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "io_bench: %s\n", e.what());
    return 1;
  }
}
