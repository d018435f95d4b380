#include "mxfp.hpp"

#include "mopt/numeric/e2m1.hpp"
#include "mopt/numeric/e8m0.hpp"

// AVX2 and AVX-512 on x86; a machine without them runs the reference.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mxfp.cpp"
#include "hwy/foreach_target.h"  // must come before lanes-inl.hpp
#include "mopt/numeric/lanes-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace mopt::mxfp::HWY_NAMESPACE {
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

using reference::decode;
using reference::encode;
using reference::round_trip;

#else

using namespace mopt::HWY_NAMESPACE;  // NOLINT: the vector functions of lanes-inl.hpp

// What differs between the two formats.
struct E2m1 {
  static constexpr float kBound = e2m1::kMax;
  static constexpr int64_t kBytes = code_bytes(Element::kE2m1);
  static HWY_INLINE W encode(F x) { return encode_e2m1_tie_to_zero(x); }
  static HWY_INLINE F decode(W code) { return decode_e2m1(code); }
  static HWY_INLINE F round(F x) { return decode(encode(x)); }
  static HWY_INLINE void put(W codes, uint8_t* to, int64_t i) { store_nibbles(codes, to + i / 2); }
  static HWY_INLINE W get(const uint8_t* from, int64_t i) { return load_nibbles(from + i / 2); }
};
struct E4m3 {
  static constexpr float kBound = e4m3::kMax;
  static constexpr int64_t kBytes = code_bytes(Element::kE4m3);
  static HWY_INLINE W encode(F x) { return encode_e4m3(x); }
  static HWY_INLINE F decode(W code) { return decode_e4m3_or_nan(code); }
  static HWY_INLINE F round(F x) { return round_e4m3(x); }
  static HWY_INLINE void put(W codes, uint8_t* to, int64_t i) { store_bytes(codes, to + i); }
  static HWY_INLINE W get(const uint8_t* from, int64_t i) { return load_bytes(from + i); }
};

// Calls fn with the type of the element.
template <class Fn>
void with_element(Element element, const Fn& fn) {
  if (element == Element::kE2m1) {
    fn(E2m1());
  } else {
    fn(E4m3());
  }
}

template <class E, class T>
HWY_INLINE uint8_t scale_code(const T* block) {
  return e8m0::encode(absmax_whole(block, kBlock) / E::kBound);
}

void encode(Reals x, const Blocks& blocks, uint8_t* scales, uint8_t* codes) {
  with_element(blocks.element, [&]<class E>(E) {
    visit(x, [&](const auto* p) {
      for (int64_t b = 0; b < blocks.count; ++b) {
        const auto* block = p + b * kBlock;
        scales[b] = scale_code<E>(block);
        const F inverse = all(e8m0::decode_inverse(scales[b]));
        for (int64_t i = 0; i < kBlock; i += lanes()) {
          E::put(E::encode(hn::Mul(load(block + i), inverse)), codes + b * E::kBytes, i);
        }
      }
    });
  });
}

void decode(const uint8_t* scales, const uint8_t* codes, const Blocks& blocks, RealsOut out) {
  with_element(blocks.element, [&]<class E>(E) {
    visit(out, [&](auto* to) {
      for (int64_t b = 0; b < blocks.count; ++b) {
        const F scale = all(e8m0::decode(scales[b]));
        for (int64_t i = 0; i < kBlock; i += lanes()) {
          const F value = E::decode(E::get(codes + b * E::kBytes, i));
          store(hn::Mul(value, scale), to + b * kBlock + i);
        }
      }
    });
  });
}

void round_trip(Reals x, const Blocks& blocks, RealsOut out) {
  with_element(blocks.element, [&]<class E>(E) {
    visit(x, [&](const auto* p) {
      visit(out, [&](auto* to) {
        for (int64_t b = 0; b < blocks.count; ++b) {
          const int64_t first = b * kBlock;
          const uint8_t code = scale_code<E>(p + first);
          const F scale = all(e8m0::decode(code)), inverse = all(e8m0::decode_inverse(code));
          for (int64_t i = first; i < first + kBlock; i += lanes()) {
            store(hn::Mul(E::round(hn::Mul(load(p + i), inverse)), scale), to + i);
          }
        }
      });
    });
  });
}

#endif
}  // namespace mopt::mxfp::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mopt::mxfp {

HWY_EXPORT(encode);
HWY_EXPORT(decode);
HWY_EXPORT(round_trip);

void encode(Reals x, const Blocks& blocks, uint8_t* scales, uint8_t* codes) {
  HWY_DYNAMIC_DISPATCH(encode)(x, blocks, scales, codes);
}
void decode(const uint8_t* scales, const uint8_t* codes, const Blocks& blocks, RealsOut out) {
  HWY_DYNAMIC_DISPATCH(decode)(scales, codes, blocks, out);
}
void round_trip(Reals x, const Blocks& blocks, RealsOut out) {
  HWY_DYNAMIC_DISPATCH(round_trip)(x, blocks, out);
}

}  // namespace mopt::mxfp
#endif
