// The element types of safetensors files and their DLPack twins.
#pragma once

#include <string_view>

#include "mopt/tensor.hpp"

namespace mopt::safetensors {

struct Dtype {
  std::string_view name;  // static
  DLDataType type;
};

// Codes that DLPack defines and the SDK has no constant for.
inline constexpr uint8_t kComplex = 5, kE4m3fnuz = 11, kE5m2fnuz = 13, kE2m3 = 15, kE3m2 = 16;

// The first row of a type is the one that is written.
inline constexpr Dtype kDtypes[] = {
    {"BF16", kBf16},
    {"F16", kF16},
    {"F32", kF32},
    {"F64", kF64},
    {"I8", kI8},
    {"I16", kI16},
    {"I32", kI32},
    {"I64", kI64},
    {"U8", kU8},
    {"U16", kU16},
    {"U32", kU32},
    {"U64", kU64},
    {"BOOL", kBool},
    {"F8_E4M3", kE4m3},
    {"F8_E5M2", kE5m2},
    {"F8_E8M0", kE8m0},
    {"F8_E4M3FNUZ", {kE4m3fnuz, 8, 1}},
    {"F8_E5M2FNUZ", {kE5m2fnuz, 8, 1}},
    {"F4", kE2m1},
    {"F6_E2M3", {kE2m3, 6, 1}},
    {"F6_E3M2", {kE3m2, 6, 1}},
    {"C64", {kComplex, 64, 1}},
};

inline const Dtype* find_dtype(std::string_view name) {
  for (const Dtype& row : kDtypes) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

inline const Dtype* find_dtype(DLDataType type) {
  for (const Dtype& row : kDtypes) {
    if (same(row.type, type)) return &row;
  }
  return nullptr;
}

}  // namespace mopt::safetensors
