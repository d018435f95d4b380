#include "mxfp.hpp"

#include <algorithm>

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
#if MOPT_NO_LANES

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
  static HWY_INLINE W encode(F x) { return encode_e4m3(x, x); }
  static HWY_INLINE F decode(W code) { return decode_e4m3_or_nan(code); }
  static HWY_INLINE F round(F x) { return round_e4m3(x, x); }
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

// Blocks that are worked on together, so that their scales are computed in vectors too.
constexpr int64_t kBatch = 64;

struct Batch {
  HWY_ALIGN float absmax[kBatch] = {};
  HWY_ALIGN float scale[kBatch];
  HWY_ALIGN float inverse[kBatch];
  HWY_ALIGN uint8_t codes[kBatch];
};

template <class E>
void find_scales(Batch& batch) {
  for (int64_t b = 0; b < kBatch; b += lanes()) {
    const F exact = hn::Div(hn::Load(Floats(), batch.absmax + b), all(E::kBound));
    const W code = encode_e8m0(exact);
    store_bytes(code, batch.codes + b);
    hn::Store(decode_e8m0(code), Floats(), batch.scale + b);
    hn::Store(decode_inverse_e8m0(code), Floats(), batch.inverse + b);
  }
}

// Calls body(first block, number of blocks, batch) with ranges and scales found.
template <class E, class T, class Body>
void for_batches(const T* x, int64_t count, const Body& body) {
  Batch batch;
  for (int64_t first = 0; first < count; first += kBatch) {
    const int64_t n = std::min(kBatch, count - first);
    block_absmax(x + first * kBlock, n, kBlock, batch.absmax);
    find_scales<E>(batch);
    body(first, n, batch);
  }
}

template <class E, class T>
void encode_typed(const T* x, int64_t count, uint8_t* scales, uint8_t* codes) {
  const auto body = [&](int64_t first, int64_t n, const Batch& batch) HWY_ATTR {
    std::copy_n(batch.codes, n, scales + first);
    for (int64_t b = 0; b < n; ++b) {
      const F inverse = all(batch.inverse[b]);
      const T* block = x + (first + b) * kBlock;
      for (int64_t i = 0; i < kBlock; i += lanes()) {
        E::put(E::encode(hn::Mul(load(block + i), inverse)), codes + (first + b) * E::kBytes, i);
      }
    }
  };
  for_batches<E>(x, count, body);
}

void encode(Reals x, const Blocks& blocks, uint8_t* scales, uint8_t* codes) {
  with_element(blocks.element, [&]<class E>(E) {
    visit(x, [&](const auto* p) { encode_typed<E>(p, blocks.count, scales, codes); });
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

template <class E, class T, class U>
void round_trip_typed(const T* x, int64_t count, U* to) {
  const auto body = [&](int64_t first, int64_t n, const Batch& batch) HWY_ATTR {
    for (int64_t b = 0; b < n; ++b) {
      const F inverse = all(batch.inverse[b]), scale = all(batch.scale[b]);
      const int64_t begin = (first + b) * kBlock;
      for (int64_t i = begin; i < begin + kBlock; i += lanes()) {
        store(hn::Mul(E::round(hn::Mul(load(x + i), inverse)), scale), to + i);
      }
    }
  };
  for_batches<E>(x, count, body);
}

void round_trip(Reals x, const Blocks& blocks, RealsOut out) {
  with_element(blocks.element, [&]<class E>(E) {
    visit(x, [&](const auto* p) {
      visit(out, [&](auto* to) { round_trip_typed<E>(p, blocks.count, to); });
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
