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
  static HWY_INLINE void put(Codes c, uint8_t* to, int64_t i) { store_nibbles(c, to + i / 2); }
  static HWY_INLINE Codes get(const uint8_t* from, int64_t i) { return load_nibbles(from + i / 2); }
};
struct E4m3 {
  static constexpr float kBound = e4m3::kMax;
  static constexpr int64_t kBytes = code_bytes(Element::kE4m3);
  static HWY_INLINE W encode(F x) { return encode_e4m3(x, x); }
  static HWY_INLINE F decode(W code) { return decode_e4m3_or_nan(code); }
  static HWY_INLINE F round(F x) { return round_e4m3(x, x); }
  static HWY_INLINE void put(Codes c, uint8_t* to, int64_t i) { store_codes(c, to + i); }
  static HWY_INLINE Codes get(const uint8_t* from, int64_t i) { return load_codes(from + i); }
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
void encode_batch(const T* x, int64_t count, const Batch& batch, uint8_t* codes) {
  for (int64_t b = 0; b < count; ++b) {
    const F inverse = all(batch.inverse[b]);
    for (int64_t i = 0; i < kBlock; i += pair_size()) {
      const Pair p = load_pair(x + b * kBlock + i);
      E::put({E::encode(hn::Mul(p.even, inverse)), E::encode(hn::Mul(p.odd, inverse))},
             codes + b * E::kBytes, i);
    }
  }
}

void encode(Reals x, const Blocks& blocks, uint8_t* scales, uint8_t* codes) {
  with_element(blocks.element, [&]<class E>(E) {
    visit(x, [&](const auto* p) {
      for_batches<E>(p, blocks.count, [&](int64_t first, int64_t n, const Batch& batch) HWY_ATTR {
        std::copy_n(batch.codes, n, scales + first);
        encode_batch<E>(p + first * kBlock, n, batch, codes + first * E::kBytes);
      });
    });
  });
}

template <class E, class T>
void decode_blocks(const uint8_t* scales, const uint8_t* codes, int64_t count, T* to) {
  for (int64_t b = 0; b < count; ++b) {
    const F scale = all(e8m0::decode(scales[b]));
    for (int64_t i = 0; i < kBlock; i += pair_size()) {
      const Codes c = E::get(codes + b * E::kBytes, i);
      store_pair({hn::Mul(E::decode(c.even), scale), hn::Mul(E::decode(c.odd), scale)},
                 to + b * kBlock + i);
    }
  }
}

void decode(const uint8_t* scales, const uint8_t* codes, const Blocks& blocks, RealsOut out) {
  with_element(blocks.element, [&]<class E>(E) {
    visit(out, [&](auto* to) { decode_blocks<E>(scales, codes, blocks.count, to); });
  });
}

template <class E, class T, class U>
void round_trip_batch(const T* x, int64_t count, const Batch& batch, U* to) {
  for (int64_t b = 0; b < count; ++b) {
    const F inverse = all(batch.inverse[b]), scale = all(batch.scale[b]);
    for (int64_t i = b * kBlock; i < (b + 1) * kBlock; i += pair_size()) {
      const Pair p = load_pair(x + i);
      store_pair({hn::Mul(E::round(hn::Mul(p.even, inverse)), scale),
                  hn::Mul(E::round(hn::Mul(p.odd, inverse)), scale)},
                 to + i);
    }
  }
}

void round_trip(Reals x, const Blocks& blocks, RealsOut out) {
  with_element(blocks.element, [&]<class E>(E) {
    visit(x, [&](const auto* p) {
      visit(out, [&](auto* to) {
        for_batches<E>(p, blocks.count, [&](int64_t first, int64_t n, const Batch& batch) HWY_ATTR {
          round_trip_batch<E>(p + first * kBlock, n, batch, to + first * kBlock);
        });
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
