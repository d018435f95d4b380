// Searches through the bytes of written tensors at the speed of memory: values that stand for no
// sound number, elements that are not the source's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "mopt/tensor.hpp"

namespace mopt::pipeline {

struct BadValue {
  int64_t element;
  double value;
};

// The first of the scales in `bytes` that is not finite or not above zero: float32, E4M3, or E8M0
// in u8. Other types hold none.
std::optional<BadValue> first_bad_scale(DLDataType, std::span<const std::byte> bytes);

// The first that is no number; types that have no such value hold none.
std::optional<BadValue> first_not_finite(DLDataType, std::span<const std::byte> bytes);

// The first element of `width` bytes that is neither zero nor that of `theirs`; -1: there is none.
int64_t first_not_kept(uint64_t width, std::span<const std::byte> ours,
                       std::span<const std::byte> theirs);

// The largest value of E4M3 codes above zero; 0 when there is none.
float largest_e4m3(std::span<const std::byte> bytes);

}  // namespace mopt::pipeline
