#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "host/compute/absmax/absmax.hpp"
#include "host/compute/parallel.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "host/compute/absmax/absmax_cpu.cpp"
#include "hwy/foreach_target.h"  // must come before simd-inl.hpp

#include "host/compute/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace mopt::compute::HWY_NAMESPACE {
#if MOPT_NO_LANES

void absmax_simd(const AbsMaxProblem& p) {
  absmax_reference(p);
}

#else

// Elements of one task: a quarter of a megabyte of f32.
constexpr int64_t kChunk = 1 << 16;

// The largest of n words without their sign bits. For IEEE numbers of one type the order of these
// words is that of the magnitudes; infinity and NaN lie above all others.
template <class Word>
Word largest(const Word* x, int64_t n) {
  const hn::ScalableTag<Word> d;
  const auto magnitude = hn::Set(d, std::numeric_limits<Word>::max() >> 1);
  const auto step = static_cast<int64_t>(hn::Lanes(d));
  auto a = hn::Zero(d), b = a;
  int64_t i = 0;
  for (; i + 2 * step <= n; i += 2 * step) {
    a = hn::Max(a, hn::And(hn::LoadU(d, x + i), magnitude));
    b = hn::Max(b, hn::And(hn::LoadU(d, x + i + step), magnitude));
  }
  Word most = hn::GetLane(hn::MaxOfLanes(d, hn::Max(a, b)));
  for (; i < n; ++i) {
    most = std::max(most, static_cast<Word>(x[i] & (std::numeric_limits<Word>::max() >> 1)));
  }
  return most;
}

uint32_t largest_word(const float* x, int64_t n) {
  return largest(reinterpret_cast<const uint32_t*>(x), n);
}
template <class T>
uint32_t largest_word(const T* x, int64_t n) {
  return largest(reinterpret_cast<const uint16_t*>(x), n);
}

float value(uint32_t word, const float*) {
  return std::bit_cast<float>(word);
}
float value(uint32_t word, const Bf16*) {
  return bf16::decode(static_cast<uint16_t>(word));
}
float value(uint32_t word, const F16*) {
  return fp16::decode(static_cast<uint16_t>(word));
}

template <class T>
AbsMax chunk(const T* x, int64_t begin, int64_t end) {
  const float most = value(largest_word(x + begin, end - begin), x);
  if (most <= std::numeric_limits<float>::max()) return {most, -1};
  AbsMax out;
  for (int64_t i = begin; i < end; ++i) {
    const float magnitude = std::abs(to_float(x[i]));
    if (magnitude <= std::numeric_limits<float>::max()) {
      out.value = std::max(out.value, magnitude);
    } else if (out.first_not_finite < 0) {
      out.first_not_finite = i;
    }
  }
  return out;
}

void absmax_simd(const AbsMaxProblem& p) {
  const int64_t n = p.x.elements();
  std::vector<AbsMax> parts(static_cast<size_t>((n + kChunk - 1) / kChunk));
  visit(Reals{p.x.data, real_type(p.x.dtype)}, [&](const auto* x) {
    for_each(n, kChunk, [&](int64_t begin, int64_t end) {
      parts[static_cast<size_t>(begin / kChunk)] = chunk(x, begin, end);
    });
  });
  for (const AbsMax& part : parts) {
    p.result->value = std::max(p.result->value, part.value);
    if (p.result->first_not_finite < 0) p.result->first_not_finite = part.first_not_finite;
  }
}

#endif
}  // namespace mopt::compute::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mopt::compute {

HWY_EXPORT(absmax_simd);

void absmax_highway(const AbsMaxProblem& p) {
  HWY_DYNAMIC_DISPATCH(absmax_simd)(p);
}

}  // namespace mopt::compute
#endif
