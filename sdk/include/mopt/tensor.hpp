// Element types, typed access to DLTensor, and an owning tensor. Tensors here are contiguous and
// row-major; sub-byte types are packed.
#pragma once

#include <array>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mopt/error.hpp"
#include "mopt/tensor.h"

namespace mopt {

inline constexpr DLDataType kF32{kDLFloat, 32, 1}, kF16{kDLFloat, 16, 1}, kF64{kDLFloat, 64, 1};
inline constexpr DLDataType kBf16{kDLBfloat, 16, 1};
inline constexpr DLDataType kI4{kDLInt, 4, 1}, kI8{kDLInt, 8, 1}, kI16{kDLInt, 16, 1},
    kI32{kDLInt, 32, 1}, kI64{kDLInt, 64, 1};
inline constexpr DLDataType kU8{kDLUInt, 8, 1}, kU16{kDLUInt, 16, 1}, kU32{kDLUInt, 32, 1},
    kU64{kDLUInt, 64, 1}, kBool{kDLBool, 8, 1};
inline constexpr DLDataType kE4m3{kDLFloat8_e4m3fn, 8, 1}, kE5m2{kDLFloat8_e5m2, 8, 1},
    kE8m0{kDLFloat8_e8m0fnu, 8, 1}, kE2m1{kDLFloat4_e2m1fn, 4, 1};

constexpr bool same(DLDataType a, DLDataType b) {
  return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes;
}

// "bf16", "f32", "e4m3", "i8"; an unknown type by its numbers.
inline std::string dtype_name(DLDataType t) {
  struct Row {
    DLDataType dtype;
    const char* name;
  };
  static constexpr Row kRows[] = {
      {kF32, "f32"},   {kF16, "f16"},   {kF64, "f64"},  {kBf16, "bf16"}, {kI4, "i4"},
      {kI8, "i8"},     {kI16, "i16"},   {kI32, "i32"},  {kI64, "i64"},   {kU8, "u8"},
      {kU16, "u16"},   {kU32, "u32"},   {kU64, "u64"},  {kBool, "bool"}, {kE4m3, "e4m3"},
      {kE5m2, "e5m2"}, {kE8m0, "e8m0"}, {kE2m1, "e2m1"}};
  for (const Row& row : kRows) {
    if (same(row.dtype, t)) return row.name;
  }
  return "type " + std::to_string(t.code) + " of " + std::to_string(t.bits) + " bits";
}

inline std::span<const int64_t> shape(const DLTensor& t) {
  return {t.shape, static_cast<size_t>(t.ndim)};
}
inline int64_t elements(std::span<const int64_t> shape) {
  int64_t n = 1;
  for (const int64_t extent : shape)
    n *= extent;
  return n;
}
inline int64_t elements(const DLTensor& t) {
  return elements(shape(t));
}
inline uint64_t nbytes(const DLTensor& t) {
  return mopt_nbytes(static_cast<uint64_t>(elements(t)), t.dtype);
}

// The elements of a contiguous tensor.
template <class T>
T* data(const DLTensor& t) {
  return reinterpret_cast<T*>(static_cast<char*>(t.data) + t.byte_offset);
}

// "[576, 1536]".
inline std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + "]";
}

// A DLTensor header over memory that somebody else owns, which must outlive it.
class TensorRef {
 public:
  TensorRef() = default;
  TensorRef(const void* data, DLDataType dtype, std::span<const int64_t> shape)
      : shape_(shape.begin(), shape.end()), strides_(shape.size()) {
    int64_t stride = 1;
    for (size_t i = shape_.size(); i-- > 0;) {
      strides_[i] = stride;
      stride *= shape_[i];
    }
    tensor_ = {const_cast<void*>(data),
               {kDLCPU, 0},
               static_cast<int32_t>(shape_.size()),
               dtype,
               nullptr,
               nullptr,
               0};
  }
  TensorRef(const void* data, DLDataType dtype, std::initializer_list<int64_t> shape)
      : TensorRef(data, dtype, std::span<const int64_t>(shape.begin(), shape.size())) {}
  // The same in a device's memory.
  TensorRef& on(DLDevice device) {
    tensor_.device = device;
    return *this;
  }
  // The header; its pointers stay valid as long as this object is neither moved nor destroyed.
  const DLTensor* get() const {
    tensor_.shape = const_cast<int64_t*>(shape_.data());
    tensor_.strides = const_cast<int64_t*>(strides_.data());
    return &tensor_;
  }
  DLTensor* get() { return const_cast<DLTensor*>(std::as_const(*this).get()); }
  const DLTensor& operator*() const { return *get(); }

 private:
  std::vector<int64_t> shape_, strides_;
  mutable DLTensor tensor_{};
};

// Owns a DLManagedTensorVersioned.
class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(DLManagedTensorVersioned* managed) : managed_(managed) {}
  explicit operator bool() const { return managed_ != nullptr; }
  const DLTensor& operator*() const { return managed_->dl_tensor; }
  const DLTensor* get() const { return &managed_->dl_tensor; }
  DLTensor* get() { return &managed_->dl_tensor; }
  template <class T>
  T* data() const {
    return mopt::data<T>(managed_->dl_tensor);
  }
  DLManagedTensorVersioned* release() { return managed_.release(); }

 private:
  struct Deleter {
    void operator()(DLManagedTensorVersioned* t) const {
      if (t->deleter != nullptr) t->deleter(t);
    }
  };
  std::unique_ptr<DLManagedTensorVersioned, Deleter> managed_;
};

}  // namespace mopt
