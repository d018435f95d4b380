// Tensors for kernel tests: owned, filled with a fixed pseudo-random sequence, compared with a
// tolerance.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "host/compute/dispatch.hpp"
#include "host/compute/parallel.hpp"
#include "host/compute/tolerance.hpp"
#include "host/compute/view.hpp"

namespace mopt::compute::test {

// A tensor that starts at an odd multiple of its element's size, so that kernels that expect
// aligned memory show, followed by a guard that must not be written to.
class Array {
 public:
  Array(DLDataType dtype, std::initializer_list<int64_t> shape)
      : bytes_(nullptr), view_(view_of(nullptr, dtype, shape)) {
    const size_t size = static_cast<size_t>(view_.bytes()), offset = dtype.bits / 8;
    bytes_ = std::make_unique<std::vector<char>>(size + offset + kGuard, char{0x5A});
    view_.data = bytes_->data() + offset;
    std::memset(view_.data, 0, size);
  }
  const View& operator*() const { return view_; }
  const View* operator->() const { return &view_; }
  float at(int64_t i) const {
    if (is_f32(view_)) return view_.as<float>()[i];
    const uint16_t bits = view_.as<uint16_t>()[i];
    return is_bf16(view_) ? bf16::decode(bits) : fp16::decode(bits);
  }
  void set(int64_t i, float value) {
    if (is_f32(view_)) {
      view_.as<float>()[i] = value;
    } else {
      view_.as<uint16_t>()[i] = is_bf16(view_) ? bf16::encode(value) : fp16::encode(value);
    }
  }
  bool guard_intact() const {
    return std::all_of(bytes_->end() - kGuard, bytes_->end(), [](char c) { return c == 0x5A; });
  }
  friend bool operator==(const Array& a, const Array& b) {
    return a->bytes() == b->bytes() &&
           std::memcmp(a->data, b->data, static_cast<size_t>(a->bytes())) == 0;
  }

 private:
  static constexpr size_t kGuard = 128;
  std::unique_ptr<std::vector<char>> bytes_;
  View view_;
};

// Values in (-scale, scale) from a linear congruential generator.
inline Array noise(DLDataType dtype, std::initializer_list<int64_t> shape, uint64_t seed,
                   float scale = 1.0f) {
  Array out(dtype, shape);
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (int64_t i = 0; i < out->elements(); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    out.set(i, scale * (static_cast<float>(state >> 40) / 8388608.0f - 1.0f));
  }
  return out;
}

// Every element within the op's tolerance; says the worst one.
inline void check_close(std::string_view op, const Array& got, const Array& expected) {
  const Tolerance limit = tolerance(op, expected->dtype);
  int64_t worst = -1;
  float excess = 0.0f;
  for (int64_t i = 0; i < expected->elements(); ++i) {
    const float allowed = limit.relative * std::fabs(expected.at(i)) + limit.absolute;
    const float over = std::fabs(got.at(i) - expected.at(i)) - allowed;
    if (over > excess || std::isnan(got.at(i)) != std::isnan(expected.at(i))) {
      worst = i;
      excess = over;
    }
  }
  const std::string name(op), at = std::to_string(worst);
  const float found = worst < 0 ? 0.0f : got.at(worst);
  const float wanted = worst < 0 ? 0.0f : expected.at(worst);
  CAPTURE(name);
  CAPTURE(at);
  CAPTURE(found);
  CAPTURE(wanted);
  CHECK(worst == -1);
  CHECK(got.guard_intact());
}

inline Options force(std::string_view kernel) {
  return {{std::string(kernel)}, {}};
}

// run() writes its result with the given number of threads; the bytes must not depend on it.
inline void check_threads(const std::function<Array()>& run) {
  Array one(kF32, {0}), several(kF32, {0});
  Threads(1).run([&] { one = run(); });
  for (const int n : {2, 5}) {
    Threads(n).run([&] { several = run(); });
    CAPTURE(n);
    CHECK(one == several);
  }
}

}  // namespace mopt::compute::test
