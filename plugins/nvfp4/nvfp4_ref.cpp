#include <algorithm>
#include <limits>

#include "mopt/numeric/e2m1.hpp"
#include "mopt/numeric/e4m3.hpp"
#include "mopt/numeric/range.hpp"
#include "nvfp4.hpp"

namespace mopt::nvfp4 {

namespace reference {
namespace {

// The E4M3 scale of a block. A zero block gets 1.0: its codes are zero whatever the scale is.
uint8_t scale_code(float block_absmax, float global) {
  const float scale = block_absmax / (e2m1::kMax * global);
  return e4m3::encode(scale == 0 ? 1.0f : std::clamp(scale, e4m3::kMin, e4m3::kMax));
}

// What one step of E2M1 is worth: from the scale as stored, else its rounding adds to every code.
float step_of(uint8_t scale, float global) {
  return e4m3::decode(scale) * global;
}

// A step that underflows takes every element to zero.
float quotient(float x, float step) {
  return x / (step > 0 ? step : std::numeric_limits<float>::infinity());
}

}  // namespace

float absmax(Reals x, int64_t n) {
  return visit(x, [n](const auto* p) { return absmax_of(p, n); });
}

void encode(Reals x, const Blocks& blocks, uint8_t* scales, uint8_t* codes) {
  visit(x, [&](const auto* p) {
    for (int64_t b = 0; b < blocks.count; ++b, p += blocks.size) {
      scales[b] = scale_code(absmax_of(p, blocks.size), blocks.global);
      const float step = step_of(scales[b], blocks.global);
      for (int64_t i = 0; i < blocks.size; i += 2) {
        const uint8_t low = e2m1::encode(quotient(to_float(p[i]), step));
        const uint8_t high = e2m1::encode(quotient(to_float(p[i + 1]), step));
        *codes++ = static_cast<uint8_t>(low | high << 4);
      }
    }
  });
}

void decode(const uint8_t* scales, const uint8_t* codes, const Blocks& blocks, RealsOut out) {
  visit(out, [&](auto* p) {
    for (int64_t b = 0; b < blocks.count; ++b) {
      const float step = step_of(scales[b], blocks.global);
      for (int64_t i = 0; i < blocks.size; i += 2, ++codes) {
        put(e2m1::decode(*codes & 15) * step, *p++);
        put(e2m1::decode(*codes >> 4) * step, *p++);
      }
    }
  });
}

void round_trip(Reals x, const Blocks& blocks, RealsOut out) {
  visit(x, [&](const auto* p) {
    visit(out, [&](auto* to) {
      for (int64_t b = 0; b < blocks.count; ++b, p += blocks.size, to += blocks.size) {
        const uint8_t scale = scale_code(absmax_of(p, blocks.size), blocks.global);
        const float step = step_of(scale, blocks.global);
        for (int64_t i = 0; i < blocks.size; ++i) {
          put(e2m1::decode(e2m1::encode(quotient(to_float(p[i]), step))) * step, to[i]);
        }
      }
    });
  });
}

}  // namespace reference
}  // namespace mopt::nvfp4
