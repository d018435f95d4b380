// absmax, range, squared_error: one or few numbers of a whole tensor.
#include <bit>
#include <cmath>
#include <cstring>

#include "host/compute/absmax/absmax.hpp"
#include "tests/ops/problems.hpp"

namespace mopt::ops {
namespace {

struct Tensors {
  DLDataType dtype;
  int64_t n;
  Content content = Content::kNoise;
  int64_t shift = 0;
  int64_t rarity = 29;
};

void for_each_tensor(const Problems& p, const std::function<void(const Tensors&)>& fn) {
  if (p.extent == Extent::kEmulated) {  // their grids are large, whatever the tensor
    fn({kF32, 4097, Content::kSpecial, 0, 1500});
    fn({kBf16, 4097, Content::kNoise, 1});
    fn({kBf16, 4104});
    fn({kF16, 3});
    return fn({kF16, 0});
  }
  for (const DLDataType dtype : {kF32, kBf16, kF16}) {
    for (const int64_t n : awkward_columns(p.extent)) {
      fn({dtype, n});
      fn({dtype, n, Content::kNoise, 1});
    }
    fn({dtype, 4097, Content::kSpecial});
    // One special element or two.
    fn({dtype, 4097, Content::kSpecial, 1, 3000});
    fn({dtype, 12289, Content::kSpecial, 0, 9000});
    if (!same(dtype, kF16)) fn({dtype, 4097, Content::kLarge, 1});
    fn({dtype, 4097, Content::kSmall, 3});
  }
}

Case absmax_case(const Tensors& t, uint64_t seed) {
  Case c;
  c.label = Label{"absmax", t.dtype, {t.n}, t.content, t.shift}.text();
  c.operands = {in(filled(t.dtype, {t.n}, {t.content, seed, 1.0f, t.rarity}), t.shift),
                out(kF32, {1}), out(kI64, {1})};
  c.run = [](std::span<const View> v, const Options& options) {
    const compute::AbsMax found = compute::absmax(v[0], options);
    *v[1].as<float>() = found.value;
    *v[2].as<int64_t>() = found.first_not_finite;
  };
  return c;
}

// Two tensors one after the other, since parts are raised.
Case range_case(const Tensors& t, uint64_t seed) {
  Case c;
  c.label = Label{"range", t.dtype, {t.n}, t.content, t.shift}.text();
  c.operands = {in(filled(t.dtype, {t.n}, {t.content, seed, 1.0f, t.rarity}), t.shift),
                in(filled(t.dtype, {t.n}, {Content::kNoise, seed + 100, 2.0f}), t.shift),
                range_parts()};
  c.run = [](std::span<const View> v, const Options& options) {
    for (const View& x : v.first(2))
      compute::range({x, v[2].as<uint32_t>()}, options);
  };
  c.expect = [](std::span<const View> v) {
    uint32_t most = 0;
    for (const View& x : v.first(2)) {
      visit(Reals{x.data, real_type(x.dtype)}, [&](const auto* p) {
        for (int64_t i = 0; i < x.elements(); ++i)
          most = std::max(most, std::bit_cast<uint32_t>(to_float(p[i])) & 0x7FFFFFFFu);
      });
    }
    v[2].as<uint32_t>()[0] = most;
  };
  c.judge = [](std::span<const HostTensor> got, std::span<const HostTensor> expected) {
    return judge_range(got[0], expected[0]);
  };
  return c;
}

std::vector<double> sums_of(const HostTensor& t) {
  std::vector<double> parts(t.bytes.size() / 8);
  std::memcpy(parts.data(), t.bytes.data(), t.bytes.size());
  const compute::SquaredError sums = compute::squared_error_of(parts);
  return {sums.difference, sums.original};
}

// Stretches of 16 products are added in fp32: 16 roundings of 2^-24 at most.
std::string judge_sums(std::span<const HostTensor> got, std::span<const HostTensor> expected) {
  const std::vector<double> a = sums_of(got[0]), b = sums_of(expected[0]);
  for (size_t i = 0; i < 2; ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (a[i] == b[i] || std::fabs(a[i] - b[i]) <= 1e-6 * b[i]) continue;
    return std::string(i == 0 ? "differences" : "originals") + ": found " + std::to_string(a[i]) +
           ", expected " + std::to_string(b[i]);
  }
  return {};
}

Case squared_error_case(const Tensors& t, DLDataType other, uint64_t seed) {
  Case c;
  c.label = Label{dtype_name(other) + " and", t.dtype, {t.n}, t.content, t.shift}.text();
  c.operands = {in(filled(other, {t.n}, {Content::kNoise, seed + 100}), t.shift),
                in(filled(t.dtype, {t.n}, {t.content, seed, 1.0f, t.rarity}), t.shift),
                in_out(zeros(kF64, {compute::kErrorParts, 2}))};
  c.run = [](std::span<const View> v, const Options& options) {
    for (int i = 0; i < 2; ++i)
      compute::squared_error({v[0], v[1], v[2].as<double>()}, options);
  };
  c.expect = [](std::span<const View> v) {
    double difference = 0, original = 0;
    visit(Reals{v[0].data, real_type(v[0].dtype)}, [&](const auto* a) {
      visit(Reals{v[1].data, real_type(v[1].dtype)}, [&](const auto* b) {
        for (int64_t i = 0; i < v[0].elements(); ++i) {
          const double w = to_float(b[i]), d = to_float(a[i]) - w;
          difference += 2 * d * d;
          original += 2 * w * w;
        }
      });
    });
    v[2].as<double>()[0] = difference;
    v[2].as<double>()[1] = original;
  };
  c.judge = judge_sums;
  return c;
}

}  // namespace

void absmax_problems(const Problems& p, const Emit& emit) {
  for_each_tensor(p, [&](const Tensors& t) { emit(absmax_case(t, p.seed)); });
}
void absmax_layer(const Emit& emit) {
  emit_layer(emit, absmax_case({kBf16, kF * kC}, 1), "absmax bf16 [14336, 4096]");
  emit_layer(emit, absmax_case({kBf16, kWideF * kWideC}, 1), "absmax bf16 [28672, 8192]");
}

void range_problems(const Problems& p, const Emit& emit) {
  for_each_tensor(p, [&](const Tensors& t) { emit(range_case(t, p.seed)); });
}
void range_layer(const Emit& emit) {
  const auto one = [&](int64_t elements, const std::string& label) {
    Case c = range_case({kBf16, elements}, 1);
    c.operands.erase(c.operands.begin() + 1);
    c.run = [](std::span<const View> v, const Options& options) {
      compute::range({v[0], v[1].as<uint32_t>()}, options);
    };
    emit_layer(emit, std::move(c), label);
  };
  one(kBatchTokens * kC, "range bf16 [8192, 4096]");
  one(kManyTokens * kWideC, "range bf16 [32768, 8192]");
}

void squared_error_problems(const Problems& p, const Emit& emit) {
  for_each_tensor(p, [&](const Tensors& t) {
    // Squares of what is special overflow fp32 where fp64 holds them.
    if (t.content == Content::kLarge || t.content == Content::kSmall) return;
    if (t.content == Content::kSpecial && !same(t.dtype, kF16)) return;
    emit(squared_error_case(t, t.dtype, p.seed));
    if (!same(t.dtype, kF32)) emit(squared_error_case(t, kF32, p.seed));
  });
}
void squared_error_layer(const Emit& emit) {
  const auto one = [&](int64_t elements, const std::string& label) {
    Case c = squared_error_case({kBf16, elements}, kBf16, 1);
    c.run = [](std::span<const View> v, const Options& options) {
      compute::squared_error({v[0], v[1], v[2].as<double>()}, options);
    };
    emit_layer(emit, std::move(c), label);
  };
  one(kF * kC, "bf16 and bf16 [14336, 4096]");
  one(kWideF * kWideC, "bf16 and bf16 [28672, 8192]");
}

}  // namespace mopt::ops
