#include "mxfp_cuda.hpp"

#include "mopt/cuda_nibbles.hpp"
#include "mopt/numeric/e8m0.hpp"

namespace mopt::mxfp::device {
namespace {

using cuda::kRun;
using cuda::Nibbles;
using cuda::Raw;
using cuda::Words;

// What differs between the two: a code, its value, and 16 of them.
struct E2m1 {
  using Codes = Nibbles;
  static constexpr float kMax = e2m1::kMax;
  static __device__ uint8_t encode(float q) { return e2m1::encode_tie_to_zero(q); }
  static __device__ float decode(uint8_t code) { return e2m1::decode(code); }
  // No quotient of numbers is beyond 6, for the scale is rounded up; that of an infinity is.
  static __device__ Nibbles encode_run(const float (&q)[kRun], float absmax) {
    if (absmax < std::bit_cast<float>(0x7F800000u)) return encode_run<true>(q);
    return encode_run<false>(q);
  }
  // Of x * inverse, all numbers, for a scale that keeps those that are not zero above 2^-135.
  static constexpr uint8_t kMostScale = e8m0::kBias + 2;
  static __device__ Nibbles encode_products(const float (&x)[kRun], float inverse) {
    const float power = __fmul_rn(inverse, 0x1p-14f);
    return {{cuda::e2m1_eight_products(x, 0, power), cuda::e2m1_eight_products(x, 8, power)}};
  }
  template <bool kBounded>
  static __device__ Nibbles encode_run(const float (&q)[kRun]) {
    return {{cuda::e2m1_eight_tie_to_zero<kBounded>(q, 0),
             cuda::e2m1_eight_tie_to_zero<kBounded>(q, 8)}};
  }
  static __device__ void decode_run(const Nibbles& codes, float (&x)[kRun]) {
    cuda::e2m1_values(codes, x);
  }
};
struct E4m3 {
  using Codes = Words;
  static constexpr float kMax = e4m3::kMax;
  static __device__ uint8_t encode(float q) { return e4m3::encode(q); }
  static __device__ float decode(uint8_t code) { return e4m3::decode(code); }
  static __device__ Words encode_run(const float (&q)[kRun], float) { return cuda::e4m3_run(q); }
  static __device__ void decode_run(const Words& codes, float (&x)[kRun]) {
    cuda::e4m3_run_values(codes, x);
  }
};

template <class Element>
struct Format {
  using Stored = uint8_t;
  using Codes = typename Element::Codes;
  struct Scale {
    uint8_t stored;
    float inverse;
  };

  __device__ void start() const {}
  __device__ void publish() const {}
  __device__ Scale scale(float absmax) const {
    if (!(absmax < std::bit_cast<float>(0x7F800000u))) return {254, e8m0::decode_inverse(254)};
    const uint32_t code = e8m0::encode_quotient(absmax, Element::kMax);
    return {static_cast<uint8_t>(code), std::bit_cast<float>((254 - code) << 23)};
  }

  // The quotients by a power of two.
  template <class T>
  static __device__ void quotients(const Raw<T>& raw, const Scale& scale, float (&q)[kRun]) {
    unpack(raw, q);
#pragma unroll
    for (int i = 0; i < kRun; ++i)
      q[i] = __fmul_rn(q[i], scale.inverse);
  }
  template <class T>
  __device__ Codes encode_run(const Raw<T>& raw, const Scale& scale, float absmax) const {
    float q[kRun];
    if constexpr (std::is_same_v<Element, E2m1> && std::is_same_v<T, Bf16>) {
      if (scale.stored <= E2m1::kMostScale) {
        unpack(raw, q);
        return E2m1::encode_products(q, scale.inverse);
      }
    }
    quotients(raw, scale, q);
    return Element::encode_run(q, absmax);
  }
  template <class T>
  __device__ Raw<T> round_run(const Raw<T>& raw, const Scale& scale, float absmax) const {
    float q[kRun];
    quotients(raw, scale, q);
    Element::decode_run(Element::encode_run(q, absmax), q);
    const float unit = this->unit(scale.stored);
#pragma unroll
    for (int i = 0; i < kRun; ++i)
      q[i] = __fmul_rn(q[i], unit);
    return cuda::pack<T>(q);
  }

  __device__ uint8_t encode(float x, const Scale& scale) const {
    return Element::encode(__fmul_rn(x, scale.inverse));
  }
  __device__ float decode(uint8_t code) const {
    return Element::decode(code);
  }
  __device__ void decode_run(const Codes& codes, float (&x)[kRun]) const {
    Element::decode_run(codes, x);
  }
  __device__ float unit(uint8_t stored) const {
    // e8m0::decode without branches: the ends are 2^-127 and NaN.
    const uint32_t bits = static_cast<uint32_t>(stored) << 23;
    return std::bit_cast<float>(stored == 0 || stored == 255 ? bits | 0x00400000u : bits);
  }
};

// Blocks of 32: two lanes.
template <class Element>
using Kernels = cuda::Blocks<Format<Element>, 2, 2>;

cuda::BlockCount all(const Blocks& blocks) {
  return {blocks.count, kBlock};
}

}  // namespace

void encode(const Exec& exec, Reals x, const Blocks& blocks, uint8_t* scales, uint8_t* codes) {
  if (blocks.element == Element::kE2m1) {
    Kernels<E2m1>::encode(exec, x, all(blocks), {}, scales, codes);
  } else {
    Kernels<E4m3>::encode(exec, x, all(blocks), {}, scales, codes);
  }
}

void decode(const Exec& exec, const uint8_t* scales, const uint8_t* codes, const Blocks& blocks,
            RealsOut out) {
  if (blocks.element == Element::kE2m1) {
    Kernels<E2m1>::decode(exec, codes, scales, all(blocks), {}, out);
  } else {
    Kernels<E4m3>::decode(exec, codes, scales, all(blocks), {}, out);
  }
}

void round_trip(const Exec& exec, Reals x, const Blocks& blocks, RealsOut out) {
  if (blocks.element == Element::kE2m1) {
    Kernels<E2m1>::round_trip(exec, x, all(blocks), {}, out);
  } else {
    Kernels<E4m3>::round_trip(exec, x, all(blocks), {}, out);
  }
}

}  // namespace mopt::mxfp::device
