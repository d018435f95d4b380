// linear and attention: matrix products.
#include <algorithm>
#include <cmath>

#include "host/compute/attention/attention.hpp"
#include "host/compute/linear/linear.hpp"
#include "tests/ops/problems.hpp"

namespace mopt::ops {
namespace {

enum class Bias { kNo, kYes };

struct Product {
  DLDataType dtype;
  int64_t m, n, k;
  Bias bias = Bias::kNo;
  Content content = Content::kNoise;
  int64_t shift = 0;
};

Case linear_case(const Product& p, uint64_t seed) {
  Case c;
  c.label =
      Label{p.bias == Bias::kYes ? "with bias" : "", p.dtype, {p.m, p.n, p.k}, p.content, p.shift}
          .text();
  // What is special comes in few rows of x and of the weight.
  c.operands = {in(filled(p.dtype, {p.m, p.k}, {p.content, seed, 1.0f, 3 * p.k}), p.shift),
                in(filled(p.dtype, {p.n, p.k}, {p.content, seed + 100, 1.0f, 5 * p.k}), p.shift),
                out(p.dtype, {p.m, p.n}, p.shift)};
  if (p.bias == Bias::kYes) {
    c.operands.push_back(in(filled(p.dtype, {p.n}, {Content::kNoise, seed + 200}), p.shift));
  }
  c.run = [](std::span<const View> v, const Options& options) {
    compute::linear(v[0], v[1], v.size() > 3 ? &v[3] : nullptr, v[2], options);
  };
  // Sums one after the other, as the reference makes them, lose k/3 * 2^-24 in f32, where partial
  // sums grow like sqrt(k); five times that beyond a few hundred. bf16: one rounding hides it.
  const double terms = static_cast<double>(p.k) / (same(p.dtype, kF32) ? 400 : 4096);
  set_tolerance(c, "linear", p.dtype, static_cast<float>(std::max(1.0, terms)));
  return c;
}

// Whether queries are the newest of all positions, or stand anywhere in a cache.
enum class Stand { kNewest, kAnywhere };

struct Heads {
  DLDataType dtype;
  int64_t batch, t, s, heads, kv, d;
  int64_t window = 0;
  Content content = Content::kNoise;
  int64_t shift = 0;
  Stand stand = Stand::kNewest;
};

bool all_finite(const HostTensor& t, int64_t begin, int64_t n) {
  for (int64_t i = begin; i < begin + n; ++i) {
    if (!std::isfinite(value_at(t, i))) return false;
  }
  return true;
}

// NaN has to be where the reference has it. Kernels that work in tiles may have it for other
// queries of the same kv head too: there probability 0 multiplies a NaN that the query does not
// see.
std::string judge_attention(const Heads& h, const Case& c, const HostTensor& got,
                            const HostTensor& expected) {
  HostTensor allowed = got;
  const int64_t row = h.heads * h.d, width = h.heads / h.kv * h.d;
  const auto size = static_cast<size_t>(expected.dtype.bits / 8);
  for (int64_t group = 0; group < h.batch * h.kv; ++group) {
    const int64_t first = group / h.kv * h.t * row + group % h.kv * width;
    bool clean = true;
    for (int64_t t = 0; t < h.t; ++t)
      clean = clean && all_finite(expected, first + t * row, width);
    if (clean) continue;
    for (int64_t t = 0; t < h.t; ++t) {
      for (int64_t i = first + t * row; i < first + t * row + width; ++i) {
        if (!std::isnan(value_at(got, i))) continue;
        std::copy_n(expected.bytes.begin() + static_cast<int64_t>(size) * i, size,
                    allowed.bytes.begin() + static_cast<int64_t>(size) * i);
      }
    }
  }
  return compare(allowed, expected, c.relative, c.absolute);
}

// Makes everything behind the last of its row's positions NaN: nobody may look there.
void forget_behind(const HostTensor& positions, const Heads& h, HostTensor& cache) {
  const int64_t bytes = h.kv * h.d * h.dtype.bits / 8;
  for (int64_t b = 0; b < h.batch; ++b) {
    const int64_t* at = positions.view().as<int64_t>() + b * h.t;
    const int64_t end = h.t == 0 ? 0 : *std::max_element(at, at + h.t) + 1;
    std::fill_n(cache.bytes.begin() + (b * h.s + end) * bytes, (h.s - end) * bytes,
                std::byte{0xFF});
  }
}

Case attention_case(const Heads& h, uint64_t seed) {
  Case c;
  c.label =
      Label{std::to_string(h.kv) + " kv heads, " + std::to_string(h.s) + " keys, window " +
                std::to_string(h.window) + (h.stand == Stand::kAnywhere ? ", at positions" : ""),
            h.dtype,
            {h.batch, h.t, h.heads, h.d},
            h.content,
            h.shift}
          .text();
  const std::vector<int64_t> queries{h.batch, h.t, h.heads, h.d}, keys{h.batch, h.s, h.kv, h.d};
  const int64_t rarity = 40 * h.d;
  c.operands = {in(filled(h.dtype, queries, {h.content, seed, 1.0f, rarity}), h.shift),
                in(filled(h.dtype, keys, {h.content, seed + 100, 1.0f, rarity}), h.shift),
                in(filled(h.dtype, keys, {h.content, seed + 200, 1.0f, rarity}), h.shift),
                out(h.dtype, queries, h.shift)};
  if (h.stand == Stand::kAnywhere) {
    const HostTensor positions = indices({h.batch, h.t}, h.s, seed);
    forget_behind(positions, h, c.operands[1].tensor);
    forget_behind(positions, h, c.operands[2].tensor);
    c.operands.push_back(in(positions));
  }
  c.run = [window = h.window, d = h.d](std::span<const View> v, const Options& options) {
    compute::AttentionProblem problem{v[0],   v[1], v[2], 1.0f / std::sqrt(static_cast<float>(d)),
                                      window, v[3]};
    if (v.size() > 4) problem.positions = v[4];
    compute::attention(problem, options);
  };
  set_tolerance(c, "attention", h.dtype);
  if (h.content == Content::kNotFinite) {
    Case limits;
    limits.relative = c.relative;
    limits.absolute = c.absolute;
    c.judge = [h, limits](std::span<const HostTensor> got, std::span<const HostTensor> expected) {
      return judge_attention(h, limits, got[0], expected[0]);
    };
  }
  return c;
}

}  // namespace

void linear_problems(const Problems& p, const Emit& emit) {
  for (const DLDataType dtype : {kF32, kBf16}) {
    for (const Product& r :
         {Product{dtype, 1, 1, 1}, Product{dtype, 1, 3, 17}, Product{dtype, 17, 3, 1},
          Product{dtype, 5, 64, 64}, Product{dtype, 16, 16, 16}, Product{dtype, 33, 65, 129},
          Product{dtype, 0, 8, 16}, Product{dtype, 1, 576, 576}, Product{dtype, 7, 40, 4097},
          Product{dtype, 64, 32, 48}}) {
      if (p.extent == Extent::kEmulated && r.m * r.n * r.k > 100'000) continue;
      for (const Bias bias : {Bias::kNo, Bias::kYes}) {
        for (const int64_t shift : {0, 1})
          emit(linear_case({dtype, r.m, r.n, r.k, bias, Content::kNoise, shift}, p.seed));
      }
    }
    emit(linear_case({dtype, 12, 24, 64, Bias::kYes, Content::kNotFinite}, p.seed));
    emit(linear_case({dtype, 13, 25, 65, Bias::kNo, Content::kNotFinite}, p.seed));
    if (p.extent != Extent::kUsual) continue;
    emit(linear_case({dtype, 100, 512, 4096}, p.seed));
    emit(linear_case({dtype, 3, 128256, 16, Bias::kYes}, p.seed));
    emit(linear_case({dtype, 4097, 24, 40}, p.seed));
  }
  codes_problems(p, emit);
}

void linear_layer(const Emit& emit) {
  for (const LayerProduct& p : kLayerProducts)
    emit_layer(emit, linear_case({kBf16, p.m, p.n, p.k}, 1), p.label("bf16"), p.flops());
  codes_layer(emit);
}

void attention_problems(const Problems& p, const Emit& emit) {
  for (const DLDataType dtype : {kF32, kBf16}) {
    for (const Heads& h :
         {Heads{dtype, 2, 9, 9, 4, 1, 32}, Heads{dtype, 1, 33, 33, 8, 1, 64},
          Heads{dtype, 1, 17, 17, 4, 4, 128}, Heads{dtype, 1, 5, 5, 2, 2, 256},
          Heads{dtype, 1, 1, 1, 1, 1, 16}, Heads{dtype, 3, 7, 7, 3, 3, 17},
          Heads{dtype, 1, 6, 6, 2, 1, 1}, Heads{dtype, 1, 4, 4, 2, 1, 96},
          // Decoding, and a chunk behind a prefix.
          Heads{dtype, 2, 1, 40, 8, 2, 64}, Heads{dtype, 1, 1, 129, 4, 4, 128},
          Heads{dtype, 1, 5, 37, 4, 1, 64},
          // Windows: of one, within, as long as all, longer.
          Heads{dtype, 1, 20, 20, 4, 2, 32, 1}, Heads{dtype, 2, 20, 20, 4, 2, 32, 7},
          Heads{dtype, 1, 20, 20, 4, 2, 32, 20}, Heads{dtype, 1, 20, 20, 4, 2, 32, 100},
          Heads{dtype, 1, 5, 37, 4, 1, 64, 9}, Heads{dtype, 1, 1, 37, 4, 1, 64, 9},
          // Nothing.
          Heads{dtype, 0, 4, 4, 2, 1, 32}, Heads{dtype, 2, 0, 4, 2, 1, 32},
          // Not aligned; NaN and infinities.
          Heads{dtype, 2, 9, 9, 4, 1, 64, 0, Content::kNoise, 1},
          Heads{dtype, 2, 24, 24, 4, 2, 32, 0, Content::kNotFinite},
          Heads{dtype, 2, 24, 24, 4, 2, 40, 5, Content::kNotFinite, 1}}) {
      emit(attention_case(h, p.seed));
    }
    // Over caches: few blocks; then many, of groups of 1, 2, 3 and 5 heads.
    for (const Heads& h : {Heads{dtype, 3, 1, 20, 8, 2, 64}, Heads{dtype, 2, 1, 300, 8, 1, 128},
                           Heads{dtype, 1, 1, 40, 4, 4, 8}, Heads{dtype, 2, 3, 37, 6, 2, 32, 9},
                           Heads{dtype, 1, 1, 1, 3, 1, 16}, Heads{dtype, 1, 2, 9, 2, 1, 17},
                           Heads{dtype, 0, 1, 9, 2, 1, 64}, Heads{dtype, 2, 1, 30, 2, 1, 256},
                           Heads{dtype, 2, 1, 30, 4, 1, 32, 0, Content::kNoise, 1},
                           Heads{dtype, 2, 1, 24, 4, 2, 32, 0, Content::kNotFinite},
                           Heads{dtype, 33, 1, 9, 8, 8, 16}, Heads{dtype, 66, 1, 30, 8, 4, 32, 4},
                           Heads{dtype, 132, 1, 7, 6, 2, 8}, Heads{dtype, 66, 1, 11, 10, 2, 64}}) {
      Heads anywhere = h;
      anywhere.stand = Stand::kAnywhere;
      emit(attention_case(anywhere, p.seed));
    }
    if (p.extent != Extent::kUsual) continue;
    emit(attention_case({dtype, 2, 129, 129, 8, 2, 128}, p.seed));
    emit(attention_case({dtype, 1, 200, 300, 9, 3, 64}, p.seed));
  }
}

void attention_layer(const Emit& emit) {
  const double pairs = static_cast<double>(kBatchTokens) * (kT + 1) / 2;
  emit_layer(emit, attention_case({kBf16, kBatchTokens / kT, kT, kT, kH, kK, kD}, 1),
             "bf16 [16, 512, 32, 128], 8 kv heads", 4.0 * pairs * kH * kD);
  emit_layer(emit, attention_case({kBf16, 16, 1, 2048, kH, kK, kD}, 1),
             "bf16 [16, 1, 32, 128] of 2048 keys", 4.0 * 16 * 2048 * kH * kD);
  // Positions are spread over the cache: half of it is read.
  for (const int64_t rows : {int64_t{1}, kT}) {
    Case c = attention_case(
        {kBf16, rows, 1, kT, kH, kK, kD, 0, Content::kNoise, 0, Stand::kAnywhere}, 1);
    c.bytes = static_cast<double>(rows) * kT * kK * kD * 2;
    emit_layer(emit, std::move(c),
               "bf16 [" + std::to_string(rows) + ", 1, 32, 128] in caches of 512",
               2.0 * static_cast<double>(rows) * kT * kH * kD);
  }
}

}  // namespace mopt::ops
