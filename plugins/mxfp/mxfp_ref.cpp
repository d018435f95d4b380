#include "mopt/numeric/e2m1.hpp"
#include "mopt/numeric/e4m3.hpp"
#include "mopt/numeric/e8m0.hpp"
#include "mopt/numeric/range.hpp"
#include "mxfp.hpp"

namespace mopt::mxfp::reference {
namespace {

constexpr float bound(Element element) {
  return element == Element::kE2m1 ? e2m1::kMax : e4m3::kMax;
}

template <class T>
uint8_t scale_code(const T* block, Element element) {
  return e8m0::encode(absmax_of(block, kBlock) / bound(element));
}

// The quotient by a power of two, exact but for the smallest numbers.
template <class T>
uint8_t element_code(T x, uint8_t scale, Element element) {
  const float q = to_float(x) * e8m0::decode_inverse(scale);
  return element == Element::kE2m1 ? e2m1::encode_tie_to_zero(q) : e4m3::encode(q);
}

float element_value(uint8_t code, Element element) {
  return element == Element::kE2m1 ? e2m1::decode(code) : e4m3::decode(code);
}

}  // namespace

void encode(Reals x, const Blocks& blocks, uint8_t* scales, uint8_t* codes) {
  visit(x, [&](const auto* p) {
    for (int64_t b = 0; b < blocks.count; ++b, p += kBlock) {
      scales[b] = scale_code(p, blocks.element);
      for (int64_t i = 0; i < kBlock; ++i) {
        const uint8_t code = element_code(p[i], scales[b], blocks.element);
        if (blocks.element == Element::kE4m3) {
          *codes++ = code;
        } else if (i % 2 == 0) {
          *codes = code;
        } else {
          *codes = static_cast<uint8_t>(*codes | code << 4);
          ++codes;
        }
      }
    }
  });
}

void decode(const uint8_t* scales, const uint8_t* codes, const Blocks& blocks, RealsOut out) {
  const bool nibbles = blocks.element == Element::kE2m1;
  visit(out, [&](auto* to) {
    for (int64_t i = 0; i < blocks.count * kBlock; ++i) {
      const uint8_t byte = codes[nibbles ? i / 2 : i];
      const uint8_t code = !nibbles ? byte : static_cast<uint8_t>(byte >> (i % 2 * 4) & 15);
      put(element_value(code, blocks.element) * e8m0::decode(scales[i / kBlock]), to[i]);
    }
  });
}

void round_trip(Reals x, const Blocks& blocks, RealsOut out) {
  visit(x, [&](const auto* p) {
    visit(out, [&](auto* to) {
      for (int64_t b = 0; b < blocks.count; ++b, p += kBlock, to += kBlock) {
        const uint8_t scale = scale_code(p, blocks.element);
        for (int64_t i = 0; i < kBlock; ++i) {
          const uint8_t code = element_code(p[i], scale, blocks.element);
          put(element_value(code, blocks.element) * e8m0::decode(scale), to[i]);
        }
      }
    });
  });
}

}  // namespace mopt::mxfp::reference
