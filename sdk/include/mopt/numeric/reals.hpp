// Runs of real numbers in memory as weights and activations come: float32, bfloat16 or binary16.
#pragma once

#include <cstddef>

#include "mopt/numeric/bf16.hpp"
#include "mopt/numeric/fp16.hpp"
#include "mopt/tensor.hpp"

namespace mopt {

struct Bf16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};

constexpr float to_float(float x) {
  return x;
}
constexpr float to_float(Bf16 x) {
  return bf16::decode(x.bits);
}
constexpr float to_float(F16 x) {
  return fp16::decode(x.bits);
}

// One rounding to the type of `out`.
constexpr void put(float x, float& out) {
  out = x;
}
constexpr void put(float x, Bf16& out) {
  out.bits = bf16::encode(x);
}
constexpr void put(float x, F16& out) {
  out.bits = fp16::encode(x);
}

// x as the type T holds it.
template <class T>
constexpr float round_to(float x) {
  T held{};
  put(x, held);
  return to_float(held);
}

enum class Real : uint8_t { kF32, kBf16, kF16 };

// Borrowed, read-only elements. A pointer and a type: no length, no shape.
struct Reals {
  const void* data;
  Real type;
};
// Borrowed elements to write.
struct RealsOut {
  void* data;
  Real type;
};

constexpr int64_t bytes_of(Real type) {
  return type == Real::kF32 ? 4 : 2;
}

inline Reals offset(Reals x, int64_t elements) {
  return {static_cast<const char*>(x.data) + elements * bytes_of(x.type), x.type};
}
inline RealsOut offset(RealsOut x, int64_t elements) {
  return {static_cast<char*>(x.data) + elements * bytes_of(x.type), x.type};
}

// Calls fn with the typed pointer.
template <class Fn>
decltype(auto) visit(Reals x, Fn&& fn) {
  if (x.type == Real::kBf16) return fn(static_cast<const Bf16*>(x.data));
  if (x.type == Real::kF16) return fn(static_cast<const F16*>(x.data));
  return fn(static_cast<const float*>(x.data));
}
template <class Fn>
decltype(auto) visit(RealsOut x, Fn&& fn) {
  if (x.type == Real::kBf16) return fn(static_cast<Bf16*>(x.data));
  if (x.type == Real::kF16) return fn(static_cast<F16*>(x.data));
  return fn(static_cast<float*>(x.data));
}

inline Real real_type(DLDataType dtype) {
  if (same(dtype, kF32)) return Real::kF32;
  if (same(dtype, kBf16)) return Real::kBf16;
  if (same(dtype, kF16)) return Real::kF16;
  throw Error(MOPT_UNSUPPORTED, "expected f32, bf16 or f16 elements, found " + dtype_name(dtype) +
                                    "; convert it first");
}
inline Reals reals(const DLTensor& t) {
  return {data<const void>(t), real_type(t.dtype)};
}
inline RealsOut reals_out(DLTensor& t) {
  return {data<void>(t), real_type(t.dtype)};
}

}  // namespace mopt
