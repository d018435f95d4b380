// linear of codes: E4M3 with scales.
#include <cmath>

#include "host/compute/linear/linear.hpp"
#include "mopt/numeric/e4m3.hpp"
#include "tests/ops/problems.hpp"

namespace mopt::ops {
namespace {

using Scales = compute::CodesProblem::Scales;
constexpr Scales kOne = Scales::kOne, kRows = Scales::kRows;

enum class Bias { kNo, kYes };
enum class Values {
  kAny,    // in (-1, 1), once multiplied by the scales
  kExact,  // 0, 1 and 2, and powers of two as scales: every sum is exact, of 500 products often
           // more than bf16 holds, so that a rounding too much shows
};

struct Product {
  int64_t m, n, k;
  Scales x_scales, weight_scales;
  DLDataType y;
  Bias bias = Bias::kNo;
  Values values = Values::kAny;
  Content content = Content::kNoise;
  int64_t shift = 0;
};

constexpr float kMostExact = 2.0f;
// So many products of 4 at most need 11 bits: tensor cores keep 13 of a sum.
constexpr int64_t kExactTerms = 496;

HostTensor scales(const Product& p, Scales kind, int64_t rows, uint64_t seed) {
  HostTensor out = filled(kF32, {kind == kOne ? 1 : rows}, {Content::kNoise, seed});
  auto* values = out.view().as<float>();
  for (int64_t i = 0; i < elements(out.shape); ++i) {
    values[i] = p.values == Values::kExact ? std::ldexp(1.0f, static_cast<int>(4 * values[i]))
                                           : (0.75f + 0.25f * values[i]) / e4m3::kMax;
  }
  return out;
}

// What is special comes in few rows of x and of the weight.
HostTensor codes(const Product& p, int64_t rows, uint64_t seed, int64_t rarity) {
  const float most = p.values == Values::kExact ? kMostExact : e4m3::kMax;
  HostTensor out = filled(kE4m3, {rows, p.k}, {p.content, seed, most, rarity});
  if (p.values == Values::kAny) return out;
  for (std::byte& code : out.bytes) {
    const float value = e4m3::decode(std::to_integer<uint8_t>(code));
    code = std::byte{e4m3::encode(std::round(std::fabs(value)))};
  }
  return out;
}

HostTensor bias_of(const Product& p, uint64_t seed) {
  HostTensor out = filled(p.y, {p.n}, {Content::kNoise, seed, 4.0f});
  if (p.values == Values::kAny) return out;
  visit(RealsOut{out.bytes.data(), real_type(p.y)}, [&](auto* values) {
    for (int64_t i = 0; i < p.n; ++i)
      put(std::round(to_float(values[i])), values[i]);
  });
  return out;
}

std::string label_of(const Product& p) {
  const auto name = [](Scales kind) { return kind == kOne ? "one" : "rows"; };
  std::string what = std::string("scales ") + name(p.x_scales) + "/" + name(p.weight_scales);
  if (p.values == Values::kExact) what += " exact";
  if (p.bias == Bias::kYes) what += " with bias";
  return Label{what + " to " + dtype_name(p.y), kE4m3, {p.m, p.n, p.k}, p.content, p.shift}.text();
}

Case codes_case(const Product& p, uint64_t seed) {
  Case c;
  c.label = label_of(p);
  c.operands = {in(codes(p, p.m, seed, 3 * p.k), p.shift),
                in(codes(p, p.n, seed + 100, 5 * p.k), p.shift), out(p.y, {p.m, p.n}, p.shift),
                in(scales(p, p.x_scales, p.m, seed + 200), p.shift),
                in(scales(p, p.weight_scales, p.n, seed + 300), p.shift)};
  if (p.bias == Bias::kYes) c.operands.push_back(in(bias_of(p, seed + 400), p.shift));
  c.run = [](std::span<const View> v, const Options& options) {
    compute::linear(compute::Codes{v[0], v[3]}, compute::Codes{v[1], v[4]},
                    v.size() > 5 ? &v[5] : nullptr, v[2], options);
  };
  set_tolerance(c, "codes", p.y, std::sqrt(static_cast<float>(p.k)));
  if (p.values == Values::kExact) {
    c.relative = 1e-9f;  // less than a step of f32: the sign of a zero is left open, no more
    c.absolute = 0;
  }
  return c;
}

// Each kind of output, of scales and of bias.
void each_kind(const Product& like, const Problems& problems, const Emit& emit) {
  for (const DLDataType y : {kF32, kBf16}) {
    for (const Scales x : {kOne, kRows}) {
      for (const Scales weight : {kOne, kRows}) {
        for (const Bias bias : {Bias::kNo, Bias::kYes}) {
          Product p = like;
          p.y = y;
          p.x_scales = x;
          p.weight_scales = weight;
          p.bias = bias;
          emit(codes_case(p, problems.seed));
        }
      }
    }
  }
}

Product of_size(int64_t m, int64_t n, int64_t k) {
  return {m, n, k, kOne, kOne, kF32};
}

}  // namespace

void codes_problems(const Problems& p, const Emit& emit) {
  // Sizes that tensor cores take, and others.
  for (const Product& size :
       {of_size(16, 16, 16), of_size(1, 48, 64), of_size(20, 32, 144), of_size(0, 16, 32),
        of_size(1, 1, 1), of_size(5, 3, 17), of_size(17, 33, 40), of_size(2, 24, 130)})
    each_kind(size, p, emit);
  for (Product size : {of_size(6, 32, kExactTerms), of_size(9, 7, 401)}) {
    size.values = Values::kExact;
    each_kind(size, p, emit);
  }
  for (Product size : {of_size(12, 32, 64), of_size(13, 25, 65)}) {
    size.content = Content::kNotFinite;
    each_kind(size, p, emit);
    size.content = Content::kNoise;
    size.shift = 1;
    each_kind(size, p, emit);
  }
  if (p.extent == Extent::kEmulated) return;
  each_kind(of_size(33, 64, 576), p, emit);
  if (p.extent == Extent::kQuick) return;
  each_kind(of_size(100, 512, 4096), p, emit);
  each_kind(of_size(4097, 32, 48), p, emit);
  emit(codes_case({3, kV, 16, kRows, kOne, kBf16, Bias::kYes}, p.seed));
}

void codes_layer(const Emit& emit) {
  for (const LayerProduct& p : kLayerProducts) {
    emit_layer(emit, codes_case({p.m, p.n, p.k, kOne, kOne, kBf16}, 1), p.label("e4m3"), p.flops());
  }
  const LayerProduct& p = kLayerProducts[0];
  for (const Scales x : {kOne, kRows}) {
    emit_layer(emit, codes_case({p.m, p.n, p.k, x, kRows, kBf16}, 1),
               p.label("e4m3") + (x == kOne ? " scales one/rows" : " scales rows/rows"), p.flops());
  }
}

}  // namespace mopt::ops
