#include "host/pipeline/encode.hpp"

#include <openssl/evp.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>

#include "host/compute/parallel.hpp"
#include "host/pipeline/pipeline_test.hpp"

namespace mopt::pipeline::test {
namespace {

constexpr const char* kFp8 = R"([[quantize.rule]]
id = "linears"
role = ["attn.*", "mlp.*"]
weight = "fp8"
input = "none"
)";

std::string hex(const unsigned char* bytes, size_t n) {
  std::string text;
  for (size_t i = 0; i < n; ++i) {
    text += "0123456789abcdef"[bytes[i] >> 4];
    text += "0123456789abcdef"[bytes[i] & 15];
  }
  return text;
}

std::string sha256_of(const std::string& bytes) {
  unsigned char digest[32];
  EVP_Digest(bytes.data(), bytes.size(), digest, nullptr, EVP_sha256(), nullptr);
  return hex(digest, sizeof(digest));
}

std::string xxh128_of(const std::string& bytes) {
  XXH128_canonical_t digest;
  XXH128_canonicalFromHash(&digest, XXH3_128bits(bytes.data(), bytes.size()));
  return hex(digest.digest, sizeof(digest.digest));
}

using Files = std::map<std::string, StoredBytes>;

// What encoding a whole recipe leaves behind.
struct Encoded {
  Prepared job;
  std::vector<UnitRecord> records;
  Files from, to;

  const LedgerEntry& entry(const std::string& tensor) const {
    for (const UnitRecord& record : records) {
      for (const LedgerEntry& e : record.ledger) {
        if (e.tensor == tensor) return e;
      }
    }
    FAIL("not in the ledger: " << tensor);
    return records[0].ledger[0];
  }
  Doubles source(const std::string& name) const {
    return decode(from.at(name).dtype, from.at(name).bytes);
  }
  float scalar(const std::string& name) const {
    CHECK(to.at(name).bytes.size() == sizeof(float));
    return static_cast<float>(decode("F32", to.at(name).bytes)[0]);
  }
};

struct Encoding : Fixture {
  // Ranges by the name of the weight.
  std::map<std::string, float> input_range, kv_range;

  Encoded encode(const std::string& tables) const {
    Encoded out{prepared(tables), {}, read_safetensors(path("model") / "model.safetensors"), {}};
    std::filesystem::remove_all(path("out"));
    std::filesystem::create_directories(path("out"));
    const Prepared& job = out.job;
    Calibrated found;
    for (size_t i = 0; i < job.plan.items.size(); ++i) {
      const std::string& name = job.plan.items[i].name;
      if (input_range.contains(name)) found.input_range[i] = input_range.at(name);
      if (kv_range.contains(name)) found.kv_range[i] = kv_range.at(name);
    }
    ContainerWriter writer(registry, "safetensors", {path("out"), job.plan.outputs(), 0},
                           WriteMode::kFresh);
    Encoder encoder({job.plan, *job.source, *job.exporter, job.pruner.get(), writer});
    for (const plan::Unit& unit : job.plan.units)
      out.records.push_back(encoder.encode(unit, encoder.scan(unit), found));
    writer.commit();
    out.to = read_safetensors(path("out") / "model.safetensors");
    return out;
  }
  std::string fault(const std::string& tables) const {
    try {
      encode(tables);
    } catch (const Failure& f) {
      const Diagnostic& d = f.diagnostics().at(0);
      return d.code + " " + d.tensor + ": " + d.message;
    }
    return "none";
  }
};

TEST_CASE_FIXTURE(Encoding,
                  "the ledger has each tensor of the source once, with digests of bytes") {
  write_model({.head = "stored", .unknown = {"extra"}});
  const Encoded e = encode(kFp8);
  size_t entries = 0, outputs = 0;
  for (const UnitRecord& record : e.records) {
    std::string unit;
    for (const LedgerEntry& entry : record.ledger) {
      CAPTURE(entry.tensor);
      ++entries;
      CHECK(entry.sha256 == sha256_of(e.from.at(entry.tensor).bytes));
      REQUIRE(entry.outputs.size() == entry.outputs_xxh128.size());
      for (size_t i = 0; i < entry.outputs.size(); ++i) {
        const std::string& bytes = e.to.at(entry.outputs[i]).bytes;
        CHECK(entry.outputs_xxh128[i] == xxh128_of(bytes));
        unit += entry.outputs_xxh128[i];
        ++outputs;
      }
    }
    CHECK(record.xxh128 == xxh128_of(unit));
  }
  CHECK(entries == e.from.size());
  CHECK(outputs == e.to.size());
}

TEST_CASE_FIXTURE(Encoding, "a copied tensor keeps its bytes, a dropped one leaves none") {
  write_model({.head = "stored", .unknown = {"extra"}});
  const Encoded e = encode(kFp8);
  for (const std::string name : {"model.norm.weight", "model.embed_tokens.weight", "extra"}) {
    CAPTURE(name);
    CHECK(e.entry(name).fate == Fate::kCopied);
    CHECK(e.entry(name).outputs == std::vector<std::string>{name});
    CHECK(e.to.at(name).bytes == e.from.at(name).bytes);
    CHECK(e.to.at(name).shape == e.from.at(name).shape);
  }
  const LedgerEntry& head = e.entry("lm_head.weight");
  CHECK(head.fate == Fate::kDropped);
  CHECK(head.outputs.empty());
  CHECK_FALSE(e.to.contains("lm_head.weight"));
}

TEST_CASE_FIXTURE(Encoding, "a quantized tensor is codes and a scale of its own range") {
  for (const std::string dtype : {"F32", "F16", "BF16"}) {
    CAPTURE(dtype);
    write_model({.dtype = dtype});
    const Encoded e = encode(kFp8);
    const std::string name = "model.layers.1.mlp.down_proj.weight";
    const LedgerEntry& entry = e.entry(name);
    CHECK(entry.fate == Fate::kQuantized);
    CHECK(entry.rule == "linears");
    const std::string scale_name = "model.layers.1.mlp.down_proj.weight_scale";
    CHECK(entry.outputs == std::vector<std::string>{name, scale_name});
    const Doubles w = e.source(name);
    const double scale = e.scalar(scale_name);
    CHECK(scale == doctest::Approx(largest(w) / 448));
    REQUIRE(e.to.at(name).bytes.size() == w.size());
    double difference = 0, original = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      const double wq = e4m3(static_cast<uint8_t>(e.to.at(name).bytes[i])) * scale;
      CHECK(std::fabs(wq - w[i]) <= std::fabs(w[i]) / 16 * 1.01 + scale / 512);
      difference += (wq - w[i]) * (wq - w[i]);
      original += w[i] * w[i];
    }
    const auto& layers = e.records[2].layers;
    const auto layer = std::find_if(layers.begin(), layers.end(),
                                    [&](const Report::Layer& l) { return l.name == name; });
    REQUIRE(layer != layers.end());
    CHECK(layers.size() == 7);
    CHECK(layer->weight_error == doctest::Approx(std::sqrt(difference / original)).epsilon(1e-4));
    CHECK(std::isnan(layer->output_error));
    CHECK(layer->bytes_before == e.from.at(name).bytes.size());
    CHECK(layer->bytes_after == w.size() + sizeof(float));
    CHECK(layer->scheme == "fp8");
  }
}

TEST_CASE_FIXTURE(Encoding,
                  "q, k and v share a range, gate and up another, o and down have theirs") {
  const std::string at = "model.layers.0.";
  write_model({.edits = {{at + "self_attn.k_proj.weight", 17, -6.0f},
                         {at + "mlp.up_proj.weight", 3, 2.5f},
                         {at + "mlp.down_proj.weight", 5, 9.0f}}});
  const Encoded e = encode(R"([[quantize.rule]]
id = "linears"
role = ["attn.*", "mlp.*"]
weight = "nvfp4"
input = "none"
)");
  const auto scale = [&](const std::string& module) {
    return static_cast<double>(e.scalar(at + module + ".weight_scale_2"));
  };
  const auto own = [&](const std::string& module) {
    return doctest::Approx(largest(e.source(at + module + ".weight")) / 2688);
  };
  for (const std::string module : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"})
    CHECK(scale(module) == doctest::Approx(6.0 / 2688));
  for (const std::string module : {"mlp.gate_proj", "mlp.up_proj"})
    CHECK(scale(module) == doctest::Approx(2.5 / 2688));
  CHECK(scale("self_attn.o_proj") == own("self_attn.o_proj"));
  CHECK(scale("mlp.down_proj") == doctest::Approx(9.0 / 2688));
}

TEST_CASE_FIXTURE(Encoding,
                  "what calibration found is stored as scales, also beside a copied weight") {
  const std::string at = "model.layers.0.self_attn.";
  for (const std::string layer : {"0", "1"}) {
    kv_range["model.layers." + layer + ".self_attn.k_proj.weight"] = 44.8f;
    kv_range["model.layers." + layer + ".self_attn.v_proj.weight"] = 448.0f;
    input_range["model.layers." + layer + ".mlp.down_proj.weight"] = 8.96f;
  }
  const Encoded e = encode(R"([calibration]
data = "self"
[quantize]
algorithm = "max"
kv_cache = "fp8"
[[quantize.rule]]
id = "down"
role = ["mlp.down"]
weight = "fp8"
input = "fp8"
)");
  CHECK(e.scalar(at + "k_proj.k_scale") == doctest::Approx(0.1));
  CHECK(e.scalar(at + "v_proj.v_scale") == doctest::Approx(1));
  CHECK(e.scalar("model.layers.1.mlp.down_proj.input_scale") == doctest::Approx(0.02));
  CHECK(e.entry(at + "k_proj.weight").fate == Fate::kCopied);
  CHECK(e.to.at(at + "k_proj.weight").bytes == e.from.at(at + "k_proj.weight").bytes);
  REQUIRE(e.records[1].warnings.size() == 1);  // a scale of 1 loses small values
  CHECK(e.records[1].warnings[0].code == "W110");
  CHECK(e.records[1].warnings[0].tensor == at + "v_proj.weight");
}

TEST_CASE_FIXTURE(Encoding,
                  "pruning zeroes the two smallest of four and keeps the bits of the rest") {
  const Encoded e = encode(R"([sparsify]
use = "magnitude"
[[sparsify.rule]]
id = "all"
role = ["mlp.*"]
)");
  const std::string name = "model.layers.0.mlp.gate_proj.weight";
  CHECK(e.entry(name).fate == Fate::kTransformed);
  CHECK(e.entry(name).rule == "all");
  const Doubles from = e.source(name), to = decode("F32", e.to.at(name).bytes);
  REQUIRE(to.size() == from.size());
  for (size_t i = 0; i < from.size(); i += 4) {
    double kept = INFINITY, dropped = 0;
    int zeros = 0;
    for (size_t j = i; j < i + 4; ++j) {
      CHECK((to[j] == 0 || to[j] == from[j]));
      zeros += to[j] == 0;
      if (to[j] != 0) kept = std::min(kept, std::fabs(from[j]));
      if (to[j] == 0) dropped = std::max(dropped, std::fabs(from[j]));
    }
    CHECK(zeros >= 2);
    CHECK(dropped <= kept);
  }
  CHECK(e.entry("model.layers.0.self_attn.q_proj.weight").fate == Fate::kCopied);
}

TEST_CASE_FIXTURE(Encoding, "a weight that is no number is named with its place") {
  const std::string q = "model.layers.0.self_attn.q_proj.weight";
  for (const float value : {NAN, INFINITY, -INFINITY}) {
    write_model({.edits = {{q, 5 * 32 + 7, value}, {q, 6 * 32, value}}});
    CHECK(fault(kFp8).starts_with("M203 " + q + ": "));
    CHECK(fault(kFp8).find("[5, 7]") != std::string::npos);
  }
  write_model({.edits = {{"model.norm.weight", 9, NAN}}});  // copied, but computed with
  CHECK(fault(kFp8).starts_with("M203 model.norm.weight: "));
  CHECK(fault(kFp8).find("[9]") != std::string::npos);
  // Beyond the first of the pieces that a large tensor is searched in.
  write_model({.vocab = 9000, .edits = {{"model.embed_tokens.weight", 8765 * 32 + 30, NAN}}});
  CHECK(fault(kFp8).find("[8765, 30]") != std::string::npos);
}

TEST_CASE_FIXTURE(Encoding, "what no graph computes with may hold anything") {
  write_model({.edits = {{"mask", 2, -INFINITY}, {"mask", 3, NAN}}, .unknown = {"mask"}});
  const Encoded e = encode(kFp8);
  CHECK(e.to.at("mask").bytes == e.from.at("mask").bytes);
}

TEST_CASE_FIXTURE(Encoding, "a weight of zeros becomes zeros, with a warning and no error") {
  Shape shape;
  for (int64_t i = 0; i < 32 * 32; ++i)
    shape.edits.push_back({"model.layers.0.self_attn.o_proj.weight", i, 0});
  write_model(shape);
  const Encoded e = encode(kFp8);
  const std::string name = "model.layers.0.self_attn.o_proj.weight";
  CHECK(e.to.at(name).bytes == std::string(32 * 32, '\0'));
  REQUIRE(e.records[1].warnings.size() == 1);
  CHECK(e.records[1].warnings[0].code == "W102");
  CHECK(e.records[1].warnings[0].tensor == name);
  for (const Report::Layer& layer : e.records[1].layers)
    CHECK((layer.name != name || layer.weight_error == 0));
}

TEST_CASE_FIXTURE(Encoding, "the bytes do not depend on the number of threads") {
  std::vector<Files> files;
  for (const int threads : {1, 4})
    compute::Threads(threads).run([&] { files.push_back(encode(kFp8).to); });
  REQUIRE(files[0].size() == files[1].size());
  for (const auto& [name, t] : files[0])
    CHECK(files[1].at(name).bytes == t.bytes);
}

}  // namespace
}  // namespace mopt::pipeline::test
