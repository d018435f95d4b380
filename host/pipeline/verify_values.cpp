#include "host/pipeline/verify_values.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "host/compute/absmax/absmax.hpp"
#include "mopt/numeric/e4m3.hpp"

namespace mopt::pipeline {
namespace {

// Bytes that are judged together, without a branch for each: compilers turn that into vectors, and
// a search that may stop at every byte not.
constexpr size_t kTogether = 1024;

// The first byte that `is_bad` says 1 of, and not 0; -1: there is none.
template <class IsBad>
int64_t first_byte(std::span<const std::byte> bytes, IsBad is_bad) {
  const auto* p = reinterpret_cast<const uint8_t*>(bytes.data());
  for (size_t begin = 0; begin < bytes.size(); begin += kTogether) {
    const size_t end = std::min(bytes.size(), begin + kTogether);
    uint8_t any = 0;
    for (size_t i = begin; i < end; ++i)
      any |= is_bad(p[i]);
    if (any != 0) return std::find_if(p + begin, p + end, is_bad) - p;
  }
  return -1;
}

std::optional<BadValue> first_bad_f32(std::span<const std::byte> bytes) {
  for (size_t i = 0; i < bytes.size() / sizeof(float); ++i) {
    float value;
    std::memcpy(&value, bytes.data() + i * sizeof(float), sizeof(float));
    if (!std::isfinite(value) || value <= 0) return BadValue{static_cast<int64_t>(i), value};
  }
  return std::nullopt;
}

}  // namespace

std::optional<BadValue> first_bad_scale(DLDataType type, std::span<const std::byte> bytes) {
  if (same(type, kF32)) return first_bad_f32(bytes);
  int64_t at = -1;
  if (same(type, kE4m3)) {
    // Above zero are the codes 0x01 to 0x7E; 0x7F is a NaN, and from 0x80 on comes the sign.
    at =
        first_byte(bytes, [](uint8_t c) -> uint8_t { return static_cast<uint8_t>(c - 1) >= 0x7E; });
    if (at >= 0) {
      const auto code = std::to_integer<uint8_t>(bytes[static_cast<size_t>(at)]);
      return BadValue{at, e4m3::decode(code)};
    }
  }
  // E8M0's only NaN.
  if (same(type, kU8)) at = first_byte(bytes, [](uint8_t c) -> uint8_t { return c == 0xFF; });
  if (at < 0) return std::nullopt;
  return BadValue{at, NAN};
}

std::optional<BadValue> first_not_finite(DLDataType type, std::span<const std::byte> bytes) {
  int64_t bad = -1;
  if (same(type, kF32) || same(type, kBf16) || same(type, kF16)) {
    const auto n = static_cast<int64_t>(bytes.size() / (type.bits / 8));
    bad = compute::absmax(compute::view_of(bytes.data(), type, {n})).first_not_finite;
  } else if (same(type, kE4m3)) {
    bad = first_byte(bytes, [](uint8_t c) -> uint8_t { return (c & 0x7F) == 0x7F; });
  }
  if (bad < 0) return std::nullopt;
  return BadValue{bad, NAN};
}

int64_t first_not_kept(uint64_t width, std::span<const std::byte> ours,
                       std::span<const std::byte> theirs) {
  for (uint64_t at = 0; at < ours.size(); at += width) {
    const std::byte* x = ours.data() + at;
    if (std::memcmp(x, theirs.data() + at, width) == 0) continue;
    if (std::any_of(x, x + width, [](std::byte b) { return b != std::byte{0}; }))
      return static_cast<int64_t>(at / width);
  }
  return -1;
}

// Codes of positive numbers are ordered like them.
float largest_e4m3(std::span<const std::byte> bytes) {
  uint8_t largest = 0;
  for (const std::byte b : bytes) {
    const auto code = std::to_integer<uint8_t>(b);
    largest = std::max(largest, code < 0x7F ? code : uint8_t{0});
  }
  return e4m3::decode(largest);
}

}  // namespace mopt::pipeline
