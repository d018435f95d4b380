#include "host/pipeline/session.hpp"

#include <nlohmann/json.hpp>
#include <numeric>

#include "host/compute/kernels.hpp"
#include "host/pipeline/generate.hpp"
#include "host/pipeline/pipeline_test.hpp"
#include "host/pipeline/run.hpp"
#include "tests/emulated_device/emulated_kernels.hpp"
#include "tests/model_files.hpp"

namespace mopt::pipeline::test {
namespace {

using compute::test::EmulatedDevice;
using compute::test::EmulatedOptions;
using compute::test::WorkMode;

const auto kGoOn = [](int32_t) { return true; };
const auto kNoProgress = [](int64_t, int64_t) { return true; };

// The kernels that an emulated device has: both sides then make the same bits.
ForwardOptions reference(DLDataType dtype) {
  ForwardOptions options = in_type(dtype);
  for (const std::string_view name : compute::all_kernels()) {
    if (name.ends_with(".reference")) options.kernels.forced.emplace_back(name);
  }
  return options;
}

struct OnDeviceToo : Fixture {
  // Calls fn with options for a device that works in this way.
  template <class Fn>
  void with_device(EmulatedDevice& device, DLDataType dtype, const Fn& fn) {
    OnDevice on(device.make_queue("test"), services);
    ForwardOptions options = reference(dtype);
    options.on_device = &on;
    options.kernels.queue = &on.queue();
    fn(options);
  }
  // fn(options) of the CPU and of devices that work in both ways must be equal.
  template <class Fn>
  void equal_on_both(DLDataType dtype, const Fn& fn) {
    const auto expected = fn(reference(dtype));
    for (const WorkMode work : {WorkMode::kAtOnce, WorkMode::kOnThread}) {
      EmulatedDevice device({.work = work});
      with_device(device, dtype,
                  [&](const ForwardOptions& options) { CHECK(fn(options) == expected); });
      CHECK(device.complaints() == std::vector<std::string>());
      CHECK(device.memory().in_use == 0);
    }
  }
};

// All that a greedy generation says.
std::pair<Ids, std::string> greedy(const Checkpoint& model, const ForwardOptions& options,
                                   const Ids& prompt, int64_t tokens) {
  const Generation g = generate(model, options, prompt, tokens, {}, kGoOn);
  return {g.ids, g.finish_reason};
}

// The logits of every row after each call.
std::vector<std::vector<float>> logits_after(Session& session,
                                             const std::vector<TokenRows>& calls) {
  std::vector<std::vector<float>> out;
  for (const TokenRows& tokens : calls) {
    session.append(tokens);
    for (size_t r = 0; r < tokens.size(); ++r)
      out.push_back(session.logits(r));
  }
  return out;
}

TokenRows random_rows(size_t rows, int64_t tokens, unsigned seed) {
  TokenRows out;
  for (size_t r = 0; r < rows; ++r)
    out.push_back(random_ids(tokens, 48, seed + static_cast<unsigned>(r)));
  return out;
}

std::vector<TokenRows> single_tokens(size_t rows, int calls) {
  std::vector<TokenRows> out;
  for (int i = 0; i < calls; ++i)
    out.push_back(random_rows(rows, 1, static_cast<unsigned>(100 * i)));
  return out;
}

TEST_CASE_FIXTURE(OnDeviceToo, "greedy text on a device is the CPU's") {
  for (const auto& [dtype, computed] : {std::pair("F32", kF32), std::pair("BF16", kBf16)}) {
    for (const std::string head : {"own", "tied"}) {
      write_model({.dtype = dtype, .bias = "all", .head = head});
      for (const int64_t tokens : {1, 2, 3, 12}) {
        for (const int64_t prompt : {1, 2, 9}) {
          CAPTURE(dtype);
          CAPTURE(head);
          CAPTURE(tokens);
          CAPTURE(prompt);
          const Ids ids = random_ids(prompt, 48, static_cast<unsigned>(11 * prompt));
          equal_on_both(computed, [&](const ForwardOptions& options) {
            return greedy(*source, options, ids, tokens);
          });
        }
      }
    }
  }
}

TEST_CASE_FIXTURE(OnDeviceToo, "the end token ends a text on a device where it does on the CPU") {
  int stopped = 0;
  for (int32_t id = 0; id < 48; ++id) {
    equal_on_both(kF32, [&](const ForwardOptions& options) {
      const auto got = greedy(*source, options, {id}, 4);
      stopped += got.second == "stop";
      return got;
    });
  }
  CHECK(stopped > 0);
}

TEST_CASE_FIXTURE(OnDeviceToo, "sampled text of many rows on a device is the CPU's, bit for bit") {
  for (const int64_t samples : {1, 5, 35}) {
    CAPTURE(samples);
    equal_on_both(kF32, [&](const ForwardOptions& options) {
      return write_self_text(*source, options, {samples, 7, 5}, kNoProgress);
    });
  }
}

TEST_CASE_FIXTURE(OnDeviceToo, "the CUDA part's kernels write the text that the CPU's do") {
  const Ids prompt = random_ids(5, 48, 3);
  for (const int64_t kv_heads : {4, 2, 1}) {
    CAPTURE(kv_heads);
    write_model({.kv_heads = kv_heads});
    const auto expected = greedy(*source, reference(kF32), prompt, 8);
    EmulatedDevice device({.kernels = &compute::test::emulated_kernels()});
    with_device(device, kF32, [&](const ForwardOptions& options) {
      CHECK(greedy(*source, options, prompt, 8) == expected);
    });
    CHECK(device.complaints() == std::vector<std::string>());
  }
}

TEST_CASE_FIXTURE(OnDeviceToo, "an upload in pieces arrives as it was") {
  std::vector<int64_t> bytes((int64_t{70} << 20) / 8 + 3), back(bytes.size());
  std::iota(bytes.begin(), bytes.end(), int64_t{1} << 40);
  const auto size = static_cast<int64_t>(bytes.size() * sizeof(int64_t));
  EmulatedDevice device({.work = WorkMode::kOnThread});
  with_device(device, kF32, [&](const ForwardOptions& options) {
    const compute::Buffer memory = options.on_device->upload(bytes.data(), size);
    device.read(back.data(), memory.get(), size);
  });
  CHECK(back == bytes);
  CHECK(device.complaints() == std::vector<std::string>());
}

TEST_CASE_FIXTURE(OnDeviceToo, "rows may grow by any number of tokens at a time") {
  const std::vector<TokenRows> calls{random_rows(3, 4, 1), random_rows(3, 1, 2),
                                     random_rows(3, 5, 3), random_rows(3, 1, 4),
                                     random_rows(3, 1, 5), random_rows(3, 1, 6)};
  equal_on_both(kF32, [&](const ForwardOptions& options) {
    Session session(*source, options);
    session.begin(3, 13);
    return logits_after(session, calls);
  });
}

TEST_CASE_FIXTURE(OnDeviceToo, "steps that are repeated from a recording give what each would") {
  for (const WorkMode work : {WorkMode::kAtOnce, WorkMode::kOnThread}) {
    EmulatedDevice device({.work = work});
    with_device(device, kF32, [&](const ForwardOptions& options) {
      Session recorded(*source, options), each(*source, options, Steps::kEach);
      for (const size_t rows : {4, 1, 6}) {
        recorded.begin(rows, 9);
        each.begin(rows, 9);
        const int64_t before = recorded.repeated();
        CHECK(logits_after(recorded, single_tokens(rows, 9)) ==
              logits_after(each, single_tokens(rows, 9)));
        CHECK(recorded.repeated() - before == 8);
      }
      CHECK(each.repeated() == 0);
    });
    CHECK(device.complaints() == std::vector<std::string>());
  }
}

TEST_CASE_FIXTURE(OnDeviceToo, "a row has room for as many tokens as it was begun with") {
  EmulatedDevice device;
  with_device(device, kF32, [&](const ForwardOptions& options) {
    Session session(*source, options);
    session.begin(2, 3);
    session.append(random_rows(2, 2, 1));
    CHECK_THROWS_AS(session.append(random_rows(2, 2, 2)), Error);
    session.append(random_rows(2, 1, 3));
    CHECK_THROWS_AS(session.append(random_rows(2, 1, 4)), Error);
  });
}

TEST_CASE_FIXTURE(OnDeviceToo, "angles that depend on the length are not repeated, and are right") {
  auto config = nlohmann::json::parse(mopt::test::read_text(path("model/config.json")));
  config["rope_scaling"] = {{"rope_type", "dynamic"}, {"factor", 2.0}};
  config["max_position_embeddings"] = 6;
  mopt::test::write_text(path("model/config.json"), config.dump());
  source.reset();
  source = Checkpoint::open(registry, path("model"));
  const Ids prompt = random_ids(3, 48, 5);
  equal_on_both(kF32,
                [&](const ForwardOptions& options) { return greedy(*source, options, prompt, 9); });
  EmulatedDevice device;
  with_device(device, kF32, [&](const ForwardOptions& options) {
    Session session(*source, options);
    session.begin(1, 9);
    logits_after(session, single_tokens(1, 9));
    CHECK(session.repeated() == 0);
  });
}

TEST_CASE_FIXTURE(OnDeviceToo,
                  "inputs and caches are quantized where no kernel of the device can") {
  Prepared job = prepared(R"([calibration]
data = "self"
samples = 3
seq_len = 8
[quantize]
algorithm = "max"
kv_cache = "fp8"
[[quantize.rule]]
id = "linears"
role = ["attn.*", "mlp.*"]
weight = "fp8"
input = "fp8"
[export]
path = ")" + path("quantized").string() +
                          "\"\n");
  RunRequest request;
  request.threads = 2;
  run(job, request);
  const auto quantized = Checkpoint::open(registry, path("quantized"));
  const Ids prompt = random_ids(4, 48, 6);
  equal_on_both(
      kF32, [&](const ForwardOptions& options) { return greedy(*quantized, options, prompt, 8); });
  EmulatedDevice device;
  with_device(device, kF32, [&](const ForwardOptions& options) {
    Session session(*quantized, options);
    session.begin(2, 4);
    logits_after(session, single_tokens(2, 4));
    CHECK(session.repeated() == 0);
  });
}

TEST_CASE_FIXTURE(OnDeviceToo,
                  "a device with less memory writes fewer rows at once, the same ones") {
  const SelfText request{24, 16, 8};
  const TokenRows expected = write_self_text(*source, reference(kF32), request, kNoProgress);
  std::set<int64_t> batches;
  int failed = 0;
  for (int64_t kib = 16; kib <= 4096; kib = kib * 5 / 4) {
    CAPTURE(kib);
    EmulatedDevice device({.bytes = kib << 10});
    with_device(device, kF32, [&](const ForwardOptions& options) {
      int64_t calls = 0, last = 0;
      try {
        const TokenRows rows =
            write_self_text(*source, options, request, [&](int64_t written, int64_t of) {
              CHECK(of == 24 * 16);
              CHECK(written <= of);
              ++calls;
              last = written;
              return true;
            });
        CHECK(rows == expected);
        CHECK(last == 24 * 16);
        batches.insert(calls / 16);
      } catch (const Error& e) {
        CHECK(e.code() == MOPT_OUT_OF_MEMORY);
        CHECK(batches.empty());  // with less memory than any that did
        ++failed;
      }
    });
    CHECK(device.memory().in_use == 0);
  }
  CHECK(failed > 0);
  CHECK(batches.size() > 2);
}

TEST_CASE_FIXTURE(OnDeviceToo,
                  "the CPU writes text for which a device has no memory, and says so") {
  const SelfText request{5, 7, 8};
  const TokenRows expected = write_self_text(*source, reference(kF32), request, kNoProgress);
  for (const int64_t bytes : {int64_t{16} << 10, int64_t{16} << 20}) {
    EmulatedDevice device({.bytes = bytes});
    std::vector<std::string> said;
    CHECK(write_self_text_on(&device, *source, reference(kF32), request, kNoProgress,
                             [&](const std::string& s) { said.push_back(s); }) == expected);
    CHECK(said.size() == (bytes < 1 << 20 ? 1 : 0));
    if (!said.empty())
      CHECK(said[0].starts_with("the model writes its text on the CPU: expected "));
    CHECK((device.works() > 100) == said.empty());
  }
}

}  // namespace
}  // namespace mopt::pipeline::test
