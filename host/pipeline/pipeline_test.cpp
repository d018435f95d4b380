#include "host/pipeline/pipeline_test.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/model_files.hpp"

namespace mopt::pipeline::test {
namespace {

// y [T, rows] of x [T, cols] and weight [rows, cols].
Doubles product(const Doubles& x, const Doubles& weight, size_t cols, const Doubles* bias) {
  const size_t rows = weight.size() / cols, tokens = x.size() / cols;
  Doubles y(tokens * rows);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t r = 0; r < rows; ++r) {
      double sum = bias == nullptr ? 0 : (*bias)[r];
      for (size_t c = 0; c < cols; ++c)
        sum += x[t * cols + c] * weight[r * cols + c];
      y[t * rows + r] = sum;
    }
  }
  return y;
}

Doubles rms_norm(const Doubles& x, const Doubles& weight) {
  const size_t cols = weight.size();
  Doubles y(x.size());
  for (size_t t = 0; t < x.size() / cols; ++t) {
    double squares = 0;
    for (size_t c = 0; c < cols; ++c)
      squares += x[t * cols + c] * x[t * cols + c];
    const double scale = 1 / std::sqrt(squares / static_cast<double>(cols) + 1e-5);
    for (size_t c = 0; c < cols; ++c)
      y[t * cols + c] = x[t * cols + c] * scale * weight[c];
  }
  return y;
}

// Turns the pairs (i, i + D/2) of each head by position * 10000^(-2i/D). x [T, heads, D].
void rotate(Doubles& x, size_t heads, size_t size) {
  for (size_t t = 0; t < x.size() / (heads * size); ++t) {
    for (size_t h = 0; h < heads; ++h) {
      double* head = x.data() + (t * heads + h) * size;
      for (size_t i = 0; i < size / 2; ++i) {
        const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(size);
        const double angle = static_cast<double>(t) * std::pow(10000.0, exponent);
        const double a = head[i], b = head[i + size / 2];
        head[i] = a * std::cos(angle) - b * std::sin(angle);
        head[i + size / 2] = b * std::cos(angle) + a * std::sin(angle);
      }
    }
  }
}

struct Heads {
  size_t q, kv, size;
};

// Causal attention of q [T, H, D] over k, v [T, K, D]: [T, H, D].
Doubles attention(const Doubles& q, const Doubles& k, const Doubles& v, const Heads& heads) {
  const size_t tokens = q.size() / (heads.q * heads.size);
  Doubles y(q.size());
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t h = 0; h < heads.q; ++h) {
      const size_t group = h / (heads.q / heads.kv);
      Doubles scores(t + 1);
      for (size_t s = 0; s <= t; ++s) {
        for (size_t i = 0; i < heads.size; ++i) {
          scores[s] +=
              q[(t * heads.q + h) * heads.size + i] * k[(s * heads.kv + group) * heads.size + i];
        }
        scores[s] /= std::sqrt(static_cast<double>(heads.size));
      }
      const double max = *std::max_element(scores.begin(), scores.end());
      double total = 0;
      for (double& score : scores)
        total += score = std::exp(score - max);
      for (size_t s = 0; s <= t; ++s) {
        for (size_t i = 0; i < heads.size; ++i) {
          y[(t * heads.q + h) * heads.size + i] +=
              scores[s] / total * v[(s * heads.kv + group) * heads.size + i];
        }
      }
    }
  }
  return y;
}

void add(Doubles& to, const Doubles& x) {
  for (size_t i = 0; i < to.size(); ++i)
    to[i] += x[i];
}

double half(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return bits >> 15 ? -magnitude : magnitude;
}

}  // namespace

PlainRun PlainLlama::run(const Ids& ids) const {
  PlainRun out;
  const auto hidden = static_cast<size_t>(shape.hidden);
  const Heads heads{static_cast<size_t>(shape.heads), static_cast<size_t>(shape.kv_heads),
                    hidden / static_cast<size_t>(shape.heads)};
  const auto linear = [&](const Doubles& x, const std::string& module) {
    out.values[module + ".weight"] = x;
    const auto bias = weights.find(module + ".bias");
    return product(x, weights.at(module + ".weight"), x.size() / ids.size(),
                   bias == weights.end() ? nullptr : &bias->second);
  };
  const Doubles& table = weights.at("model.embed_tokens.weight");
  Doubles x;
  for (const int32_t id : ids) {
    const auto row = table.begin() + static_cast<std::ptrdiff_t>(hidden) * id;
    x.insert(x.end(), row, row + static_cast<std::ptrdiff_t>(hidden));
  }
  for (int64_t i = 0; i < shape.layers; ++i) {
    const std::string number = std::to_string(i), at = "model.layers." + number + ".";
    const Doubles in = rms_norm(x, weights.at(at + "input_layernorm.weight"));
    Doubles q = linear(in, at + "self_attn.q_proj"), k = linear(in, at + "self_attn.k_proj");
    const Doubles v = linear(in, at + "self_attn.v_proj");
    rotate(q, heads.q, heads.size);
    rotate(k, heads.kv, heads.size);
    add(x, linear(attention(q, k, v, heads), at + "self_attn.o_proj"));
    out.values[number + ".k"] = k;
    out.values[number + ".v"] = v;
    const Doubles mid = rms_norm(x, weights.at(at + "post_attention_layernorm.weight"));
    Doubles gate = linear(mid, at + "mlp.gate_proj");
    const Doubles up = linear(mid, at + "mlp.up_proj");
    for (size_t j = 0; j < gate.size(); ++j)
      gate[j] = gate[j] / (1 + std::exp(-gate[j])) * up[j];
    add(x, linear(gate, at + "mlp.down_proj"));
  }
  const Doubles last = rms_norm(x, weights.at("model.norm.weight"));
  out.values["lm_head.weight"] = last;
  out.logits =
      product(last, shape.head == "own" ? weights.at("lm_head.weight") : table, hidden, nullptr);
  return out;
}

Doubles decode(const std::string& dtype, const std::string& bytes) {
  const size_t width = dtype == "F32" ? 4 : 2;
  Doubles out(bytes.size() / width);
  for (size_t i = 0; i < out.size(); ++i) {
    uint32_t bits = 0;
    std::memcpy(&bits, bytes.data() + i * width, width);
    out[i] = dtype == "F16"   ? half(static_cast<uint16_t>(bits))
             : dtype == "F32" ? std::bit_cast<float>(bits)
                              : std::bit_cast<float>(bits << 16);
  }
  return out;
}

std::map<std::string, StoredBytes> read_safetensors(const std::filesystem::path& path) {
  const std::string text = mopt::test::read_text(path);
  uint64_t size = 0;
  std::memcpy(&size, text.data(), sizeof(size));
  std::map<std::string, StoredBytes> out;
  const auto header = nlohmann::json::parse(text.substr(8, size));
  for (const auto& [name, t] : header.items()) {
    if (name == "__metadata__") continue;
    const uint64_t begin = t["data_offsets"][0], end = t["data_offsets"][1];
    out[name] = {t["dtype"], t["shape"], text.substr(8 + size + begin, end - begin)};
  }
  return out;
}

Ids random_ids(int64_t tokens, int64_t vocab, unsigned seed) {
  std::mt19937 random(seed);
  Ids ids(static_cast<size_t>(tokens));
  for (int32_t& id : ids)
    id = static_cast<int32_t>(static_cast<int64_t>(random()) % vocab);
  return ids;
}

double largest(const Doubles& x) {
  double max = 0;
  for (const double v : x)
    max = std::max(max, std::fabs(v));
  return max;
}

Doubles doubles(const compute::View& view) {
  return decode(compute::is_f32(view) ? "F32" : "BF16",
                {view.as<char>(), static_cast<size_t>(view.bytes())});
}

// Sign, 4 bits of exponent with bias 7, 3 of fraction; no infinity.
double e4m3(uint8_t code) {
  const int exponent = code >> 3 & 15, fraction = code & 7;
  if ((code & 127) == 127) return std::numeric_limits<double>::quiet_NaN();
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8 + fraction, exponent - 10);
  return code >> 7 ? -magnitude : magnitude;
}

Doubles e2m1_pairs(const std::string& bytes) {
  constexpr double kMagnitudes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  Doubles out;
  for (const char byte : bytes) {
    for (const int code : {byte & 15, byte >> 4 & 15})  // the even column is the low half
      out.push_back(code & 8 ? -kMagnitudes[code & 7] : kMagnitudes[code & 7]);
  }
  return out;
}

double distance(const Doubles& got, const Doubles& want) {
  if (got.size() != want.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double off = std::fabs(got[i] - want[i]);
    if (std::isnan(off)) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, off);
  }
  return worst / largest(want);
}

struct Fixture::Directory {
  mopt::test::TempDir dir;
};

Fixture::Fixture() : directory(std::make_unique<Directory>()) {
  write_model({});
}

Fixture::~Fixture() = default;

std::filesystem::path Fixture::path(const std::string& name) const {
  return directory->dir / name;
}

void Fixture::write_model(const Shape& shape) {
  mopt::test::LlamaOptions options;
  options.layers = shape.layers;
  options.hidden = shape.hidden;
  options.intermediate = shape.intermediate;
  options.heads = shape.heads;
  options.kv_heads = shape.kv_heads;
  options.vocab = shape.vocab;
  options.dtype = shape.dtype;
  options.bias = shape.bias;
  options.head = shape.head == "own"    ? mopt::test::Head::kOwn
                 : shape.head == "tied" ? mopt::test::Head::kTied
                                        : mopt::test::Head::kTiedAndStored;
  for (const std::string& name : shape.unknown)
    options.more.push_back(mopt::test::random_tensor(name, "F32", {4}));
  std::vector<mopt::test::FileTensor> tensors = mopt::test::llama_tensors(options);
  for (const Edit& edit : shape.edits) {
    const auto at = std::find_if(tensors.begin(), tensors.end(),
                                 [&](const auto& t) { return t.name == edit.tensor; });
    REQUIRE(at != tensors.end());
    const size_t width = at->dtype == "F32" ? 4 : 2;  // of bfloat16: the upper half
    const auto bits = std::bit_cast<uint32_t>(edit.value);
    std::memcpy(at->bytes.data() + static_cast<size_t>(edit.index) * width,
                reinterpret_cast<const char*>(&bits) + 4 - width, width);
  }
  source.reset();
  plain = {shape, {}};
  for (const mopt::test::FileTensor& t : tensors)
    plain.weights[t.name] = decode(t.dtype, t.bytes);
  std::filesystem::create_directories(path("model"));
  mopt::test::write_safetensors(path("model") / "model.safetensors", tensors);
  auto config = mopt::test::llama_config(options);
  config["bos_token_id"] = 3;
  mopt::test::write_text(path("model") / "config.json", config.dump());
  source = Checkpoint::open(registry, path("model"));
}

Prepared Fixture::prepared(const std::string& tables) const {
  mopt::test::write_text(path("recipe.toml"), "schema = 1\n[model]\npath = \"" +
                                                  path("model").string() + "\"\n" + tables);
  RecipeRequest request;
  request.name = path("recipe.toml").string();
  return prepare(registry, request);
}

}  // namespace mopt::pipeline::test
