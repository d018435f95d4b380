#include <cmath>
#include <cstring>
#include <limits>

#include "host/compute/parallel.hpp"
#include "mopt/numeric/e4m3.hpp"
#include "mopt/numeric/reals.hpp"
#include "tests/ops/harness.hpp"

namespace mopt::ops {
namespace {

// splitmix64
uint64_t scrambled(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

// The first `kNotFiniteChoices` are not finite.
constexpr uint64_t kNotFiniteChoices = 3;
float special(uint64_t choice) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kChoices[] = {std::numeric_limits<float>::quiet_NaN(),
                                kInfinity,
                                -kInfinity,
                                0.0f,
                                -0.0f,
                                3e38f,
                                -3e38f,
                                1e-40f,
                                -1e-40f,
                                65504.0f};
  return kChoices[choice % std::size(kChoices)];
}

float element(const Fill& fill, uint64_t i) {
  const uint64_t random = scrambled(fill.seed * 0x100000001B3u + i);
  const float noise = static_cast<float>(random >> 40) / 8388608.0f - 1.0f;
  switch (fill.content) {
    case Content::kSpecial:
    case Content::kNotFinite:
      if (scrambled(random) % static_cast<uint64_t>(fill.rarity) == 0) {
        const uint64_t choice = random % 997;
        return special(fill.content == Content::kSpecial ? choice : choice % kNotFiniteChoices);
      }
      return noise * fill.scale;
    case Content::kLarge:
      return noise * std::ldexp(1.0f, static_cast<int>(random % 53));
    case Content::kSmall:
      return noise * std::ldexp(1.0f, -static_cast<int>(random % 100));
    case Content::kNoise:
      return noise * fill.scale;
  }
  return noise;
}

// Floats whose every value a f64 holds too.
double real_at(const HostTensor& t, int64_t i) {
  if (same(t.dtype, kF64)) {
    double value = 0;
    std::memcpy(&value, t.bytes.data() + i * 8, sizeof(value));
    return value;
  }
  return value_at(t, i);
}

bool is_real(DLDataType dtype) {
  return same(dtype, kF32) || same(dtype, kBf16) || same(dtype, kF16) || same(dtype, kF64);
}

bool within(double got, double expected, float relative, float absolute) {
  if (std::isnan(got) || std::isnan(expected)) return std::isnan(got) && std::isnan(expected);
  if (relative == 0 && absolute == 0) {
    return got == expected && std::signbit(got) == std::signbit(expected);
  }
  if (got == expected) return true;
  if (std::isinf(got) || std::isinf(expected)) return false;
  return std::fabs(got - expected) <= double{relative} * std::fabs(expected) + double{absolute};
}

}  // namespace

HostTensor::HostTensor(DLDataType type, std::vector<int64_t> extents)
    : dtype(type), shape(std::move(extents)) {
  bytes.resize(mopt_nbytes(static_cast<uint64_t>(elements(shape)), dtype));
}

HostTensor filled(DLDataType dtype, std::vector<int64_t> shape, const Fill& fill) {
  HostTensor out(dtype, std::move(shape));
  const auto each = [&](const auto& fn) {
    compute::for_each(elements(out.shape), 1 << 18, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        fn(i, element(fill, static_cast<uint64_t>(i)));
    });
  };
  if (same(dtype, kE4m3)) {
    each([&](int64_t i, float x) {
      out.bytes[static_cast<size_t>(i)] = std::byte{e4m3::encode(x)};
    });
    return out;
  }
  visit(RealsOut{out.bytes.data(), real_type(dtype)},
        [&](auto* p) { each([&](int64_t i, float x) { put(x, p[i]); }); });
  return out;
}

HostTensor indices(std::vector<int64_t> shape, int64_t end, uint64_t seed) {
  HostTensor out(kI64, std::move(shape));
  for (int64_t i = 0; i < elements(out.shape); ++i) {
    int64_t index = static_cast<int64_t>(scrambled(seed + static_cast<uint64_t>(i)) >> 1) % end;
    if (i == 0) index = end - 1;
    if (i == 1) index = 0;
    std::memcpy(out.bytes.data() + i * 8, &index, sizeof(index));
  }
  return out;
}

HostTensor zeros(DLDataType dtype, std::vector<int64_t> shape) {
  return HostTensor(dtype, std::move(shape));
}

float value_at(const HostTensor& t, int64_t i) {
  return visit(Reals{t.bytes.data(), real_type(t.dtype)},
               [&](const auto* p) { return to_float(p[i]); });
}

std::string_view name_of(Content content) {
  switch (content) {
    case Content::kNoise:
      return "noise";
    case Content::kSpecial:
      return "special";
    case Content::kNotFinite:
      return "not finite";
    case Content::kLarge:
      return "large";
    case Content::kSmall:
      return "small";
  }
  return "";
}

std::string compare(const HostTensor& got, const HostTensor& expected, float relative,
                    float absolute) {
  if (got.bytes == expected.bytes) return {};
  if (!is_real(expected.dtype)) return "integers differ";
  int64_t wrong = 0, worst = -1;
  double excess = -1;
  for (int64_t i = 0; i < elements(expected.shape); ++i) {
    const double a = real_at(got, i), b = real_at(expected, i);
    if (within(a, b, relative, absolute)) continue;
    ++wrong;
    const double over = std::isnan(a - b) ? std::numeric_limits<double>::infinity()
                                          : std::fabs(a - b) - double{relative} * std::fabs(b);
    if (over <= excess) continue;
    excess = over;
    worst = i;
  }
  if (wrong == 0) return {};
  char text[160];
  std::snprintf(text, sizeof(text), "%lld of %lld differ; [%lld]: found %.9g, expected %.9g",
                static_cast<long long>(wrong), static_cast<long long>(elements(expected.shape)),
                static_cast<long long>(worst), real_at(got, worst), real_at(expected, worst));
  return text;
}

}  // namespace mopt::ops
