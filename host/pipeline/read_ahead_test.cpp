#include "host/pipeline/read_ahead.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <random>

#include "host/compute/memory.hpp"
#include "host/pipeline/pipeline_test.hpp"
#include "host/pipeline/source_file.hpp"
#include "tests/model_files.hpp"

namespace mopt::pipeline::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

std::string sha256_of(std::string_view bytes) {
  unsigned char digest[32];
  EVP_Digest(bytes.data(), bytes.size(), digest, nullptr, EVP_sha256(), nullptr);
  std::string text;
  for (const unsigned char byte : digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

std::string random_bytes(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(n, '\0');
  for (char& c : bytes)
    c = static_cast<char>(random());
  return bytes;
}

// A safetensors file of U8 (or, aligned or not, F32) tensors whose data begins at `begin`.
std::string image(const std::vector<mopt::test::FileTensor>& tensors, size_t begin) {
  std::string header = "{", data;
  for (const auto& t : tensors) {
    std::string shape;
    for (const int64_t extent : t.shape)
      shape += (shape.empty() ? "" : ",") + std::to_string(extent);
    header += (header.size() == 1 ? "\"" : ",\"") + t.name + R"(":{"dtype":")" + t.dtype +
              R"(","shape":[)" + shape + R"(],"data_offsets":[)" + std::to_string(data.size()) +
              "," + std::to_string(data.size() + t.bytes.size()) + "]}";
    data += t.bytes;
  }
  header += "}";
  REQUIRE(header.size() + 8 <= begin);
  header.resize(begin - 8, ' ');
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

struct Memory {
  Memory(size_t slots, size_t slot_bytes)
      : bytes(static_cast<std::byte*>(std::aligned_alloc(SlotRing::kPage, slots * slot_bytes)),
              std::free),
        ring({bytes.get(), slots * slot_bytes}, slot_bytes) {}
  std::unique_ptr<std::byte, decltype(&std::free)> bytes;
  SlotRing ring;
};

// What a consumer gathers of one tensor.
struct Gathered {
  std::string bytes;
  bool ordered = true;
  void add(uint64_t offset, const Slot& slot) {
    ordered = ordered && offset == bytes.size() && !slot.bytes().empty();
    bytes.append(reinterpret_cast<const char*>(slot.bytes().data()), slot.bytes().size());
  }
};

struct Reading : Fixture {
  std::vector<mopt::test::FileTensor> tensors;

  void add(size_t size) {
    const auto n = static_cast<unsigned>(tensors.size());
    tensors.push_back(
        {"t" + std::to_string(n), "U8", {static_cast<int64_t>(size)}, random_bytes(size, n + 1)});
  }
  Container write(size_t begin = 4096) const {
    mopt::test::write_text(path("x.safetensors"), image(tensors, begin));
    return Container::open(registry, path("x.safetensors"));
  }
  // Forgets the file's pages; false where the file system keeps them.
  bool drop_cache(const Container& c) const {
    const int fd = ::open(path("x.safetensors").c_str(), O_RDONLY);
    ::fsync(fd);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
    const mopt::StoredTensor& t = c.tensors().back();
    return residency({t.data, static_cast<size_t>(t.stored_bytes)}) == Residency::kAbsent;
  }
};

// Submits every tensor and checks that it arrives whole, in order, with its digest.
void check_all(const Container& c, const std::vector<mopt::test::FileTensor>& tensors,
               ReadAhead& reader) {
  std::vector<Gathered> got(tensors.size());
  std::vector<std::future<Delivered>> done;
  for (size_t i = 0; i < tensors.size(); ++i) {
    done.push_back(reader.submit({c, *c.find(tensors[i].name), Digest::kSha256,
                                  [&got, i](uint64_t at, Slot&& s) { got[i].add(at, s); }}));
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    CAPTURE(tensors[i].name);
    const Delivered result = done[i].get();
    CHECK(result.bytes == tensors[i].bytes.size());
    CHECK(result.sha256 == sha256_of(tensors[i].bytes));
    CHECK(got[i].ordered);
    CHECK(got[i].bytes == tensors[i].bytes);
  }
}

TEST_CASE_FIXTURE(Reading,
                  "any threads, slots and places in the file give the bytes that it holds") {
  for (const size_t size : {0, 1, 4095, 4096, 4097, 8191, 12288, 100000, 0, 3, 30011})
    add(size);
  for (const size_t begin : {4096, 4088, 4104, 2000, 8184}) {
    const Container c = write(begin);
    for (const auto& [lanes, slots, slot_bytes] :
         {std::tuple{1, 1, 4096}, {1, 3, 8192}, {3, 1, 4096}, {2, 2, 12288}, {5, 7, 65536}}) {
      for (const bool cached : {true, false}) {
        CAPTURE(begin);
        CAPTURE(slots);
        if (!cached) drop_cache(c);
        Memory memory(static_cast<size_t>(slots), static_cast<size_t>(slot_bytes));
        ReadAhead reader(memory.ring, lanes);
        check_all(c, tensors, reader);
        CHECK(reader.timing().bytes == 162782);
      }
    }
  }
}

TEST_CASE_FIXTURE(Reading, "parts of a tensor that several jobs read are its bytes") {
  add(1);
  add(100000);
  const std::string& bytes = tensors[1].bytes;
  for (const size_t begin : {4096, 4104, 2000}) {
    const Container c = write(begin);
    const mopt::StoredTensor& t = *c.find("t1");
    REQUIRE(may_be_split(c, t));
    for (const uint64_t part : {1000, 4096, 30000, 99999, 100000, 200000}) {
      for (const bool cached : {true, false}) {
        CAPTURE(begin);
        CAPTURE(part);
        if (!cached) drop_cache(c);
        Memory memory(5, 8192);
        ReadAhead reader(memory.ring, 3);
        std::string got(bytes.size(), '\0');
        std::vector<std::future<Delivered>> done;
        for (uint64_t at = 0; at < bytes.size(); at += part) {
          const auto deliver = [&got, at, part](uint64_t offset, Slot&& slot) {
            const auto text = slot.bytes();
            if (offset < at || offset + text.size() > at + part)
              throw Error(MOPT_INTERNAL, "apart");
            std::memcpy(got.data() + offset, text.data(), text.size());
          };
          done.push_back(reader.submit({c, t, Digest::kNone, deliver, false, "", at, at + part}));
        }
        uint64_t delivered = 0;
        for (auto& one : done)
          delivered += one.get().bytes;
        CHECK(delivered == bytes.size());
        CHECK(got == bytes);
      }
    }
  }
}

TEST_CASE_FIXTURE(Reading, "what the page cache does not hold is read past it, the rest from it") {
  add(size_t{4} << 20);
  const Container c = write(4088);
  Memory memory(3, size_t{1} << 20);
  if (!drop_cache(c)) {
    MESSAGE("this file system keeps its pages");
    return;
  }
  {
    ReadAhead reader(memory.ring, 1);
    check_all(c, tensors, reader);
    const uint64_t direct = reader.timing().direct_bytes;
    CHECK((direct == tensors[0].bytes.size() || direct == 0));
    if (direct == 0) {
      MESSAGE("this file system refuses direct reads");
      return;
    }
  }
  const mopt::StoredTensor& t = c.tensors()[0];
  CHECK(residency({t.data, static_cast<size_t>(t.stored_bytes)}) == Residency::kAbsent);
  mopt::test::read_text(path("x.safetensors"));
  ReadAhead reader(memory.ring, 1);
  check_all(c, tensors, reader);
  CHECK(reader.timing().direct_bytes == 0);
}

TEST_CASE_FIXTURE(Reading, "resident memory is the ring, not the file") {
  for (int i = 0; i < 4; ++i)
    add(size_t{16} << 20);
  const Container c = write();
  Memory memory(4, size_t{256} << 10);
  ReadAhead reader(memory.ring, 2);
  std::vector<std::future<Delivered>> done;
  const uint64_t before = compute::resident_bytes();
  for (const mopt::StoredTensor& t : c.tensors())
    done.push_back(reader.submit({c, t, Digest::kSha256, [](uint64_t, Slot&&) {}}));
  for (auto& d : done)
    CHECK(d.get().bytes == size_t{16} << 20);
  CHECK(compute::resident_bytes() < before + (size_t{6} << 20));
}

TEST_CASE_FIXTURE(Reading, "tensors that are not stored as presented are decoded row by row") {
  // Four bytes that follow one: not aligned, so not plain.
  tensors.push_back({"shift", "U8", {1}, "x"});
  for (const auto& shape : std::vector<std::vector<int64_t>>{{}, {0, 4}, {7, 300}, {3, 5000}}) {
    const int64_t n = mopt::elements(shape);
    tensors.push_back({"f" + std::to_string(tensors.size()), "F32", shape,
                       random_bytes(static_cast<size_t>(4 * n), 9)});
  }
  const Container c = write();
  REQUIRE_FALSE(c.find("f3")->plain);
  for (const size_t slot_bytes : {4096, 8192, 65536}) {
    CAPTURE(slot_bytes);
    Memory memory(2, slot_bytes);
    ReadAhead reader(memory.ring, 2);
    check_all(c, tensors, reader);
  }
}

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
std::string gguf_text(const std::string& text) {
  return raw<uint64_t>(text.size()) + text;
}

// Version 3, one Q8_0 tensor [rows, 64] with block scales 2^-7 and codes that count up.
std::string gguf_image(int64_t rows, std::string& blocks) {
  const auto key = [](const std::string& name, uint32_t type, const std::string& value) {
    return gguf_text("llama." + name) + raw(type) + value;
  };
  for (int64_t i = 0; i < rows * 64; ++i) {
    if (i % 32 == 0) blocks += raw<uint16_t>(0x2000);
    blocks += static_cast<char>(i % 251 - 125);
  }
  std::string out = "GGUF" + raw<uint32_t>(3) + raw<uint64_t>(1) + raw<uint64_t>(9);
  out += gguf_text("general.architecture") + raw<uint32_t>(8) + gguf_text("llama");
  for (const auto& [name, value] : {std::pair{"block_count", 1},
                                    {"context_length", 128},
                                    {"embedding_length", 64},
                                    {"feed_forward_length", 32},
                                    {"attention.head_count", 2},
                                    {"attention.head_count_kv", 1}})
    out += key(name, 4, raw<uint32_t>(static_cast<uint32_t>(value)));
  out += key("attention.layer_norm_rms_epsilon", 6, raw(1e-6f));
  out += key("rope.freq_base", 6, raw(1e4f));
  out += gguf_text("token_embd.weight") + raw<uint32_t>(2) + raw<int64_t>(64) + raw(rows) +
         raw<uint32_t>(8) + raw<uint64_t>(0);
  out.resize((out.size() + 31) / 32 * 32, '\0');
  return out + blocks;
}

TEST_CASE_FIXTURE(Reading, "quantized blocks arrive decoded, with the digest of what is stored") {
  constexpr int64_t kRows = 1000;
  std::string blocks;
  mopt::test::write_text(path("x.gguf"), gguf_image(kRows, blocks));
  const Container c = Container::open(registry, path("x.gguf"));
  const mopt::StoredTensor& t = *c.find("model.embed_tokens.weight");
  REQUIRE_FALSE(t.plain);
  for (const size_t slot_bytes : {4096, 65536}) {
    Memory memory(2, slot_bytes);
    ReadAhead reader(memory.ring, 2);
    Gathered got;
    const Delivered result =
        reader.submit({c, t, Digest::kSha256, [&](uint64_t at, Slot&& s) { got.add(at, s); }})
            .get();
    CHECK(result.sha256 == sha256_of(blocks));
    CHECK(result.bytes == t.bytes());
    CHECK(got.ordered);
    const bool wide = same(t.dtype, kF32), half = same(t.dtype, kF16);
    const Doubles values = decode(wide ? "F32" : half ? "F16" : "BF16", got.bytes);
    REQUIRE(values.size() == kRows * 64);
    bool equal = true;
    for (size_t i = 0; i < values.size(); ++i)
      equal = equal && values[i] == (static_cast<double>(i % 251) - 125) / 128;
    CHECK(equal);
  }
}

TEST_CASE_FIXTURE(Reading, "later tensors wait with every slot that they got for an earlier one") {
  for (int i = 0; i < 6; ++i)
    add(40000);
  const Container c = write();
  for (const size_t slots : {1, 2, 3, 8}) {
    CAPTURE(slots);
    Memory memory(slots, 4096);
    ReadAhead reader(memory.ring, 3);
    std::mutex mutex;
    std::vector<std::vector<Slot>> held(tensors.size());
    size_t first = 0;
    std::vector<Gathered> got(tensors.size());
    std::vector<std::future<Delivered>> done;
    for (size_t i = 0; i < tensors.size(); ++i) {
      done.push_back(
          reader.submit({c, c.tensors()[i], Digest::kNone, [&, i](uint64_t at, Slot&& s) {
                           got[i].add(at, s);
                           const std::lock_guard lock(mutex);
                           if (i > first) held[i].push_back(std::move(s));
                         }}));
    }
    for (size_t i = 0; i < tensors.size(); ++i) {
      REQUIRE(done[i].wait_for(20s) == std::future_status::ready);
      CHECK(done[i].get().sha256.empty());
      CHECK(got[i].bytes == tensors[i].bytes);
      const std::lock_guard lock(mutex);
      first = i + 1;
      if (first < held.size()) held[first].clear();
    }
  }
}

TEST_CASE_FIXTURE(Reading,
                  "later tensors may block where they are delivered until an earlier one is done") {
  for (int i = 0; i < 5; ++i)
    add(30000);
  const Container c = write();
  for (const int lanes : {1, 2, 4}) {
    Memory memory(2, 4096);
    std::mutex mutex;
    std::condition_variable moved;
    size_t first = 0;
    ReadAhead reader(memory.ring, lanes);
    std::vector<std::future<Delivered>> done;
    std::vector<uint64_t> bytes(tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      done.push_back(reader.submit({c, c.tensors()[i], Digest::kSha256, [&, i](uint64_t, Slot&& s) {
                                      std::unique_lock lock(mutex);
                                      moved.wait(lock, [&] { return first >= i; });
                                      bytes[i] += s.bytes().size();
                                      if (bytes[i] == tensors[i].bytes.size()) first = i + 1;
                                      moved.notify_all();
                                    }}));
    }
    for (size_t i = 0; i < tensors.size(); ++i) {
      REQUIRE(done[i].wait_for(20s) == std::future_status::ready);
      CHECK(done[i].get().sha256 == sha256_of(tensors[i].bytes));
    }
  }
}

TEST_CASE_FIXTURE(Reading, "a file that was cut off is named with the tensor; others are read") {
  for (int i = 0; i < 3; ++i)
    add(50000);
  const Container c = write();
  for (const bool cached : {true, false}) {
    const std::string whole = image(tensors, 4096);
    mopt::test::write_text(path("x.safetensors"), whole);
    if (!cached) drop_cache(c);
    fs::resize_file(path("x.safetensors"), 4096 + 60000);
    Memory memory(3, 8192);
    ReadAhead reader(memory.ring, 2);
    std::vector<std::future<Delivered>> done;
    for (const mopt::StoredTensor& t : c.tensors())
      done.push_back(reader.submit({c, t, Digest::kSha256, [](uint64_t, Slot&&) {}}));
    CHECK(done[0].get().sha256 == sha256_of(tensors[0].bytes));
    for (const size_t i : {1, 2}) {
      try {
        done[i].get();
        FAIL_CHECK("it was read");
      } catch (const mopt::Error& e) {
        CHECK(e.code() == MOPT_DATA_LOSS);
        CHECK(e.where() == path("x.safetensors").string());
        CHECK(std::string(e.what()).starts_with("tensor 't" + std::to_string(i) + "': expected"));
      }
    }
  }
}

TEST_CASE_FIXTURE(Reading, "what deliver throws fails its own tensor and no other") {
  for (int i = 0; i < 4; ++i)
    add(30000);
  const Container c = write();
  Memory memory(2, 4096);
  ReadAhead reader(memory.ring, 2);
  std::vector<std::future<Delivered>> done;
  int calls = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    done.push_back(reader.submit({c, c.tensors()[i], Digest::kSha256, [&, i](uint64_t at, Slot&&) {
                                    if (i == 1) ++calls;
                                    if (i == 1 && at > 0) throw std::runtime_error("consumer");
                                  }}));
  }
  for (const size_t i : {0, 2, 3})
    CHECK(done[i].get().sha256 == sha256_of(tensors[i].bytes));
  CHECK_THROWS_WITH_AS(done[1].get(), "consumer", std::runtime_error);
  CHECK(calls == 2);
}

TEST_CASE_FIXTURE(Reading, "cancelling in the middle ends every job and gives back every slot") {
  for (int i = 0; i < 8; ++i)
    add(200000);
  const Container c = write();
  Memory memory(4, 4096);
  {
    ReadAhead reader(memory.ring, 3);
    std::promise<void> started;
    std::atomic<int> delivered = 0;
    std::vector<std::future<Delivered>> done;
    for (const mopt::StoredTensor& t : c.tensors()) {
      done.push_back(reader.submit({c, t, Digest::kSha256, [&](uint64_t, Slot&&) {
                                      if (++delivered == 10) started.set_value();
                                      std::this_thread::sleep_for(1ms);
                                    }}));
    }
    started.get_future().wait();
    reader.cancel();
    done.push_back(reader.submit({c, c.tensors()[0], Digest::kNone, [](uint64_t, Slot&&) {}}));
    int cancelled = 0;
    for (auto& d : done) {
      REQUIRE(d.wait_for(20s) == std::future_status::ready);
      try {
        d.get();
      } catch (const mopt::Error& e) {
        CHECK(e.code() == MOPT_CANCELLED);
        ++cancelled;
      }
    }
    CHECK(cancelled >= 6);
    CHECK(delivered < 8 * 49);
  }
  std::vector<Slot> all;
  for (int i = 0; i < 4; ++i)
    all.push_back(memory.ring.take());
}

}  // namespace
}  // namespace mopt::pipeline::test
