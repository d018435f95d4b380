#include "host/pipeline/stream.hpp"

#include <fstream>
#include <set>

#include "host/compute/kernels.hpp"
#include "host/compute/parallel.hpp"
#include "host/pipeline/block_params.hpp"
#include "host/pipeline/pipeline_test.hpp"
#include "tests/emulated_device/emulated_device.hpp"

namespace mopt::pipeline::test {
namespace {

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The fixture's model and rows of different lengths, one of them longer than a piece of the head.
struct Stream : Fixture {
  TokenRows rows{random_ids(5, 48, 1), random_ids(kHeadTokens + 9, 48, 2), random_ids(1, 48, 3)};

  RowStream fresh() const { return RowStream(graph(), rows, {.dtype = kF32}); }
  void advance(RowStream& stream, size_t to) const {
    while (stream.next_block() < to)
      stream.run(BlockProgram(*source, stream.next_block(), in_type(kF32)), {});
  }
  RowStream at(size_t block) const {
    RowStream stream = fresh();
    advance(stream, block);
    return stream;
  }
  // Of each row [T, V], from wherever the stream stands.
  std::vector<Doubles> logits(RowStream& stream) const {
    const size_t head = graph().blocks.size() - 1;
    advance(stream, head);
    std::vector<Doubles> out(rows.size());
    stream.run_head(BlockProgram(*source, head, in_type(kF32)),
                    [&](const RowBatch& of, int64_t first, const compute::View& piece) {
                      const size_t row = of.first;
                      CHECK(out[row].size() == static_cast<size_t>(first) * 48);
                      const Doubles values = doubles(piece);
                      out[row].insert(out[row].end(), values.begin(), values.end());
                    });
    return out;
  }
  std::filesystem::path saved(const RowStream& stream) const {
    stream.save(path("activations"));
    return path("activations");
  }
  // Whether a stream that stands at `block` refuses the bytes and goes on as if it had not met
  // them.
  void refuses(const std::string& bytes, size_t block = 1) const {
    std::ofstream(path("bad"), std::ios::binary) << bytes;
    RowStream stream = at(block);
    CHECK_THROWS_AS(stream.load(path("bad")), Error);
    CHECK(stream.next_block() == block);
    CHECK(read_file(saved(stream)) == read_file(saved(at(block))));
  }
};

TEST_CASE_FIXTURE(Stream, "rows of any length give the logits of the plain forward") {
  RowStream stream = fresh();
  CHECK(stream.tokens() == 5 + kHeadTokens + 9 + 1);
  CHECK(stream.bytes() == 0);
  const std::vector<Doubles> got = logits(stream);
  for (size_t row = 0; row < rows.size(); ++row) {
    CAPTURE(row);
    CHECK(distance(got[row], plain.run(rows[row]).logits) < 2e-5);  // angles are f32
  }
  // Between two blocks a llama keeps one value: [T, C] in f32.
  CHECK(stream.bytes() == static_cast<uint64_t>(stream.tokens()) * 32 * 4);
  CHECK(logits(stream) == got);  // the head may be asked again
}

TEST_CASE_FIXTURE(Stream, "what was saved before any block goes on as if it had never stopped") {
  RowStream whole = fresh();
  const std::vector<Doubles> want = logits(whole);
  for (size_t block = 0; block < graph().blocks.size(); ++block) {
    CAPTURE(block);
    const std::filesystem::path file = saved(at(block));
    RowStream stream = fresh();
    stream.load(file);
    CHECK(stream.next_block() == block);
    CHECK(stream.bytes() == at(block).bytes());
    CHECK(logits(stream) == want);
  }
}

TEST_CASE_FIXTURE(Stream, "a file that is cut off anywhere is refused and changes nothing") {
  rows = {random_ids(2, 48, 1), random_ids(1, 48, 2)};
  const std::string good = read_file(saved(at(2)));
  for (size_t size = 0; size < good.size(); size += size < 40 || size + 40 > good.size() ? 1 : 29)
    refuses(good.substr(0, size));
}

TEST_CASE_FIXTURE(Stream, "a file of which any byte was changed is refused and changes nothing") {
  rows = {random_ids(2, 48, 1), random_ids(1, 48, 2)};
  const std::string good = read_file(saved(at(2)));
  for (size_t byte = 0; byte < good.size(); byte += 7) {
    CAPTURE(byte);
    std::string bad = good;
    bad[byte] = static_cast<char>(bad[byte] ^ 4);
    refuses(bad);
  }
  refuses(good + "x");
}

TEST_CASE_FIXTURE(Stream, "a file of other rows is refused, be they of the same lengths") {
  const TokenRows ours = rows;
  std::vector<TokenRows> others{{ours[0], ours[1]}, {ours[1], ours[0], ours[2]}, ours, {}};
  others[2][1][3] = (others[2][1][3] + 1) % 48;
  for (const TokenRows& other : others) {
    CAPTURE(other.size());
    rows = other;
    const std::string foreign = read_file(saved(at(2)));
    rows = ours;
    refuses(foreign);
  }
  RowStream stream = at(1);
  CHECK_THROWS_AS(stream.load(path("nowhere")), Error);
  CHECK(stream.next_block() == 1);
}

TEST_CASE_FIXTURE(Stream, "nothing depends on the number of threads") {
  rows.push_back(random_ids(30, 48, 9));
  const auto with = [&](int threads) {
    std::pair<std::vector<Doubles>, std::string> out;
    compute::Threads(threads).run([&] {
      RowStream stream = at(2);
      out.second = read_file(saved(stream));
      out.first = logits(stream);
    });
    return out;
  };
  const auto one = with(1);
  for (const int threads : {2, 5}) {
    CAPTURE(threads);
    const auto many = with(threads);
    CHECK(many.first == one.first);
    CHECK(many.second == one.second);
  }
}

// The CPU's file and logits, made on a device whose batches rest in places of all kinds.
struct StreamOnDevice : Stream {
  StreamOnDevice() {
    rows.clear();
    for (unsigned r = 0; r < 31; ++r)
      rows.push_back(random_ids(r < 25 ? 16 : 11, 48, r));
    for (const std::string_view name : compute::all_kernels()) {
      if (name.ends_with(".reference")) reference.kernels.forced.emplace_back(name);
    }
    on_device = reference;
    on_device.on_device = &on;
    on_device.kernels.queue = &on.queue();
  }
  RowStream with(const ForwardOptions& options, const Resting& resting) const {
    return RowStream(
        graph(), rows,
        {.dtype = kF32, .on_device = options.on_device, .batch_tokens = 32, .resting = resting});
  }
  void run_to(RowStream& stream, const ForwardOptions& options, size_t block) const {
    while (stream.next_block() < block) {
      BlockParams params(*source, options);
      stream.run(BlockProgram(*source, stream.next_block(), params.options()), {});
    }
  }
  // Of each row, as bytes.
  std::vector<std::string> logits_of(RowStream& stream, const ForwardOptions& options) {
    const size_t head = graph().blocks.size() - 1;
    run_to(stream, options, head);
    BlockParams params(*source, options);
    const BlockProgram program(*source, head, params.options());
    std::vector<std::string> out(rows.size());
    stream.run_head(program, [&](const RowBatch& of, int64_t, const compute::View& piece) {
      const std::string bytes = bytes_of(piece, options);
      for (size_t r = 0; r < of.count; ++r)
        out[of.first + r] += bytes.substr(bytes.size() / of.count * r, bytes.size() / of.count);
    });
    return out;
  }
  std::string bytes_of(const compute::View& view, const ForwardOptions& options) {
    if (options.on_device == nullptr)
      return {static_cast<const char*>(view.data), static_cast<size_t>(view.bytes())};
    const compute::Buffer pinned = device.take_pinned(view.bytes());
    on.queue().copy(pinned.get(), view.data, view.bytes());
    on.queue().finish();
    return {reinterpret_cast<const char*>(pinned.get()), static_cast<size_t>(view.bytes())};
  }
  // So many batches of 4 KiB on the device, so many pinned, the others in a file; beside the five
  // that pass through the device, and the rings of the file.
  Resting resting(uint64_t there, uint64_t pinned) {
    constexpr uint64_t kBatch = 4096;
    return {.device = there == 0 ? 0 : (there + 5) * kBatch,
            .pinned = pinned == 0 ? 0 : (pinned + 8) * kBatch,
            .file = path("rest"),
            .in = in.get(),
            .out = out.get(),
            .piece_bytes = 4096};
  }

  compute::test::EmulatedDevice device{{.work = compute::test::WorkMode::kOnThread}};
  std::unique_ptr<compute::Queue> in = device.make_queue("in"), out = device.make_queue("out");
  OnDevice on{device.make_queue("compute"), services};
  ForwardOptions reference = in_type(kF32), on_device;
};

TEST_CASE_FIXTURE(StreamOnDevice,
                  "what is saved, loaded and made of it does not show where it rested") {
  RowStream plain_stream = with(reference, {});
  const std::vector<std::string> want = logits_of(plain_stream, reference);
  const std::vector<Resting> places{
      {}, resting(0, 100), resting(0, 0), resting(2, 0), resting(2, 100), resting(0, 1)};
  std::set<std::string> seen;
  for (size_t block = 0; block < graph().blocks.size(); ++block) {
    RowStream on_cpu = with(reference, {});
    run_to(on_cpu, reference, block);
    const std::string file = read_file(saved(on_cpu));
    for (size_t i = 0; i < places.size(); ++i) {
      CAPTURE(block);
      CAPTURE(i);
      RowStream first = with(on_device, places[i]);
      seen.insert(text(first.placement()));
      run_to(first, on_device, block);
      CHECK(first.bytes() == on_cpu.bytes());
      CHECK(read_file(saved(first)) == file);
      CHECK(logits_of(first, on_device) == want);
      RowStream second = with(on_device, places[(i + 1) % places.size()]);
      second.load(path("activations"));
      CHECK(second.next_block() == block);
      CHECK(second.bytes() == on_cpu.bytes());
      CHECK(logits_of(second, on_device) == want);
      CHECK(logits_of(second, on_device) == want);  // the head may be asked again
    }
  }
  CHECK(seen.size() == places.size());
  CHECK(device.complaints() == std::vector<std::string>());
}

TEST_CASE_FIXTURE(StreamOnDevice, "a damaged file changes nothing, wherever activations rest") {
  for (const Resting& place : {resting(0, 100), resting(0, 0), resting(2, 0)}) {
    RowStream stream = with(on_device, place);
    run_to(stream, on_device, 1);
    const std::string good = read_file(saved(stream));
    RowStream later = with(on_device, place);
    run_to(later, on_device, 2);
    std::string bad = read_file(saved(later));
    bad[bad.size() / 2] ^= 1;
    std::ofstream(path("bad"), std::ios::binary) << bad;
    CHECK_THROWS_AS(stream.load(path("bad")), Error);
    CHECK(stream.next_block() == 1);
    CHECK(read_file(saved(stream)) == good);
  }
}

TEST_CASE_FIXTURE(Stream, "the observer is told of each row's own values") {
  ForwardOptions options = in_type(kF32);
  const graph::Op& embedding = graph().ops.front();
  options.observed = {embedding.out};
  RowStream stream = fresh();
  std::vector<Doubles> seen(rows.size());
  stream.run(BlockProgram(*source, 0, options),
             [&](const RowBatch& of, graph::ValueId v, const compute::View& view) {
               CHECK(v == embedding.out);
               seen[of.first] = doubles(view);
             });
  const Doubles& table = plain.weights.at("model.embed_tokens.weight");
  for (size_t row = 0; row < rows.size(); ++row) {
    Doubles want;
    for (const int32_t id : rows[row])
      want.insert(want.end(), table.begin() + id * 32, table.begin() + (id + 1) * 32);
    CHECK(seen[row] == want);
  }
}

}  // namespace
}  // namespace mopt::pipeline::test
