// View: a borrowed, contiguous, row-major CPU tensor of at most four dimensions.
#pragma once

#include <array>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "mopt/numeric/reals.hpp"
#include "mopt/tensor.hpp"

namespace mopt::compute {

struct View {
  void* data = nullptr;
  DLDataType dtype = kF32;
  std::array<int64_t, 4> shape{};
  int ndim = 0;

  std::span<const int64_t> extents() const { return {shape.data(), static_cast<size_t>(ndim)}; }
  int64_t elements() const { return mopt::elements(extents()); }
  // The innermost extent, and how many rows of it there are.
  int64_t columns() const { return ndim == 0 ? 1 : shape[static_cast<size_t>(ndim - 1)]; }
  int64_t rows() const { return columns() == 0 ? 0 : elements() / columns(); }
  int64_t bytes() const {
    return static_cast<int64_t>(mopt_nbytes(static_cast<uint64_t>(elements()), dtype));
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

// A view of memory that somebody else owns. Inputs are not written to, in spite of the cast.
inline View view_of(const void* data, DLDataType dtype, std::span<const int64_t> shape) {
  if (shape.size() > 4) {
    throw Error(MOPT_UNSUPPORTED, "a kernel takes at most 4 dimensions, found " +
                                      shape_text(shape) + "; reshape first");
  }
  View view{const_cast<void*>(data), dtype, {}, static_cast<int>(shape.size())};
  for (size_t i = 0; i < shape.size(); ++i)
    view.shape[i] = shape[i];
  return view;
}
inline View view_of(const void* data, DLDataType dtype, std::initializer_list<int64_t> shape) {
  return view_of(data, dtype, std::span<const int64_t>(shape.begin(), shape.size()));
}

// For problems without operands: kernels look at where they would lie, not at what is there.
inline void* aligned_address() {
  alignas(256) static std::byte nothing{};
  return &nothing;
}

inline bool is_f32(const View& v) {
  return same(v.dtype, kF32);
}
inline bool is_bf16(const View& v) {
  return same(v.dtype, kBf16);
}

inline std::string text(const View& v) {
  return dtype_name(v.dtype) + " " + shape_text(v.extents());
}

// Reports that `op` was called with operands that do not fit together.
[[noreturn]] inline void bad_operands(std::string_view op, const std::string& what) {
  throw Error(MOPT_INVALID_ARGUMENT, std::string(op) + ": " + what);
}
inline void require(bool fits, std::string_view op, const std::string& expected,
                    const View& found) {
  if (!fits) bad_operands(op, "expected " + expected + ", found " + text(found));
}

// Calls fn with a null pointer whose type is that of the elements: float* or Bf16*.
template <class Fn>
void by_dtype(std::string_view op, const View& v, Fn&& fn) {
  if (is_f32(v)) return fn(static_cast<float*>(nullptr));
  if (is_bf16(v)) return fn(static_cast<Bf16*>(nullptr));
  bad_operands(op, "expected f32 or bf16, found " + text(v));
}

}  // namespace mopt::compute
