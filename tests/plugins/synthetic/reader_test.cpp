#include "reader.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <numeric>

#include "mopt/numeric/bf16.hpp"
#include "tests/fake_host.hpp"
#include "tests/json.hpp"
#include "tests/temp_directory.hpp"

namespace {

using mopt::bench::LlamaShape;
using mopt::bench::LlamaTensor;
using mopt::synthetic::Reader;
using mopt::test::Blob;
using mopt::test::blob;

constexpr const char* kTiny = R"({"hidden": 100, "feed_forward": 264, "layers": 2, "heads": 10,
                                 "kv_heads": 5, "vocabulary": 700, "seed": 3})";

struct Fixture {
  mopt::test::TempDir dir;
  mopt::test::FakeHost host;
  std::string path = (dir / "m.synthetic").string();
  Reader open(const std::string& text = kTiny) {
    std::ofstream(path) << text;
    return Reader(mopt::Host(host.host()), path);
  }
  // The rows [begin, end) of a tensor by its number.
  Blob read(const Reader& reader, size_t index, int64_t begin, int64_t end,
            DLDataType dtype = mopt::kBf16) {
    const mopt_stored_tensor t = reader.tensor(index);
    std::vector<int64_t> shape(t.shape, t.shape + t.ndim);
    shape[0] = end - begin;
    Blob out = blob(dtype, shape);
    const mopt::TensorRef ref = out.ref();
    reader.read(mopt::Exec(host.exec()), index, begin, end, *const_cast<DLTensor*>(ref.get()));
    return out;
  }
};

std::string message_of(const std::function<void()>& fn) {
  try {
    fn();
  } catch (const mopt::Error& e) {
    return e.what();
  }
  return "nothing was refused";
}

TEST_CASE_FIXTURE(Fixture, "it presents the tensors and the configuration of a Llama") {
  const Reader reader = open();
  CHECK(reader.count() == 3 + 2 * 9);
  std::map<std::string, std::vector<int64_t>> shapes;
  for (size_t i = 0; i < reader.count(); ++i) {
    const mopt_stored_tensor t = reader.tensor(i);
    CHECK(t.plain == 0);
    CHECK(t.nbytes == 8);
    shapes[std::string(mopt::view(t.name))] = {t.shape, t.shape + t.ndim};
  }
  using Extents = std::vector<int64_t>;
  CHECK(shapes.at("model.embed_tokens.weight") == Extents{700, 100});
  CHECK(shapes.at("lm_head.weight") == Extents{700, 100});
  CHECK(shapes.at("model.layers.1.self_attn.v_proj.weight") == Extents{50, 100});
  CHECK(shapes.at("model.layers.0.self_attn.o_proj.weight") == Extents{100, 100});
  CHECK(shapes.at("model.layers.1.mlp.down_proj.weight") == Extents{100, 264});
  CHECK(shapes.at("model.layers.1.mlp.up_proj.weight") == Extents{264, 100});
  CHECK(shapes.at("model.norm.weight") == Extents{100});
  const auto config = nlohmann::json::parse(reader.document("config.json"));
  CHECK(config.at("num_hidden_layers") == 2);
  CHECK(config.at("num_key_value_heads") == 5);
  CHECK(reader.document("tokenizer.json").empty());
}

TEST_CASE_FIXTURE(Fixture, "any range of rows is a part of the whole, in both types") {
  const Reader reader = open();
  for (size_t i = 0; i < reader.count(); ++i) {
    const mopt_stored_tensor t = reader.tensor(i);
    const int64_t rows = t.shape[0], cols = t.ndim == 2 ? t.shape[1] : 1;
    const std::string whole = read(reader, i, 0, rows).bytes;
    CAPTURE(mopt::view(t.name));
    for (const auto& [begin, end] : {std::pair{rows / 3, rows / 2}, {rows - 1, rows}, {4, 4}}) {
      const auto at = static_cast<size_t>(2 * begin * cols);
      CHECK(read(reader, i, begin, end).bytes ==
            whole.substr(at, static_cast<size_t>(2 * (end - begin) * cols)));
    }
    const std::vector<float> wide = read(reader, i, 0, rows, mopt::kF32).as<float>();
    const std::vector<uint16_t> narrow = blob(mopt::kBf16, {rows * cols}, whole).as<uint16_t>();
    bool equal = wide.size() == narrow.size();
    for (size_t k = 0; equal && k < wide.size(); ++k)
      equal = wide[k] == mopt::bf16::decode(narrow[k]);
    CHECK(equal);
  }
}

TEST_CASE_FIXTURE(Fixture, "a seed fixes all weights, and another makes others") {
  const Reader one = open();
  const std::string a = read(one, 2, 0, 100).bytes;
  CHECK(read(open(), 2, 0, 100).bytes == a);
  CHECK(read(one, 5, 0, 100).bytes != a);  // another tensor of the same shape
  std::string text = kTiny;
  text.replace(text.find(": 3}"), 4, ": 4}");
  CHECK(read(open(text), 2, 0, 100).bytes != a);
}

double deviation(const std::vector<float>& x) {
  const double n = static_cast<double>(x.size());
  const double mean = std::accumulate(x.begin(), x.end(), 0.0) / n;
  double sum = 0;
  for (const float value : x)
    sum += (value - mean) * (value - mean);
  return std::sqrt(sum / n);
}

TEST_CASE_FIXTURE(Fixture, "matrices differ in spread, some channels stand out, norms are near 1") {
  const Reader reader = open(R"({"hidden": 2048, "feed_forward": 2048, "layers": 2, "heads": 16,
                                 "kv_heads": 8, "vocabulary": 1024, "seed": 1})");
  double least = 1, most = 0;
  int columns = 0;
  for (size_t i = 0; i < reader.count(); ++i) {
    const mopt_stored_tensor t = reader.tensor(i);
    const std::vector<float> x = read(reader, i, 0, t.shape[0], mopt::kF32).as<float>();
    if (t.ndim == 1) {
      for (const float value : x)
        CHECK(std::fabs(value - 1) < 0.6);
      continue;
    }
    const double whole = deviation(x);
    least = std::min(least, whole), most = std::max(most, whole);
    const auto cols = static_cast<size_t>(t.shape[1]);
    for (size_t c = 0; c < cols; ++c) {
      double sum = 0;
      for (size_t k = c; k < x.size(); k += cols)
        sum += std::fabs(x[k]);
      const double mean = sum / static_cast<double>(x.size() / cols);
      columns += mean > 2 * whole;  // of a normal distribution it is 0.8 of the deviation
    }
  }
  CHECK(least > 0.010);
  CHECK(most < 0.040);
  CHECK(most > 1.5 * least);
  // 16 matrices of 2048 columns, one in 256.
  CHECK(columns > 64);
  CHECK(columns < 256);
}

TEST_CASE_FIXTURE(Fixture, "neighbouring rows and elements are not correlated") {
  const Reader reader = open(R"({"hidden": 512, "feed_forward": 512, "layers": 1, "heads": 8,
                                 "kv_heads": 8, "vocabulary": 1024, "seed": 1})");
  const std::vector<float> x = read(reader, 0, 0, 1024, mopt::kF32).as<float>();
  const double variance = deviation(x) * deviation(x);
  for (const size_t lag : {size_t{1}, size_t{32}, size_t{512}}) {
    double sum = 0;
    for (size_t k = 0; k + lag < x.size(); ++k)
      sum += x[k] * x[k + lag];
    CAPTURE(lag);
    CHECK(std::fabs(sum / static_cast<double>(x.size() - lag) / variance) < 0.02);
  }
}

TEST_CASE_FIXTURE(Fixture, "a description that is no Llama is refused with what it needs") {
  const auto refusal = [&](const std::string& text) { return message_of([&] { open(text); }); };
  CHECK(refusal("[1]").find("expected a JSON object") != std::string::npos);
  CHECK(refusal("{").find("expected a JSON object") != std::string::npos);
  CHECK(refusal("{}").find("'hidden'") != std::string::npos);
  std::string more = kTiny;
  more.insert(1, R"("depth": 4, )");
  CHECK(refusal(more).find("expected seven keys") != std::string::npos);
  std::string odd = kTiny;
  odd.replace(odd.find("\"heads\": 10"), 11, "\"heads\": 11");
  CHECK(refusal(odd).find("multiple of the heads") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "a request that does not fit is refused") {
  const Reader reader = open();
  CHECK(message_of([&] { read(reader, 0, 600, 701); }).find("rows within [0, 700)") !=
        std::string::npos);
  CHECK(message_of([&] { read(reader, 0, 0, 1, mopt::kF16); }).find("bf16 or f32") !=
        std::string::npos);
  CHECK(message_of([&] { reader.tensor(99); }).find("below 21") != std::string::npos);
}

}  // namespace
