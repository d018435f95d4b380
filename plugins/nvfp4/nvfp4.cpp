#include "nvfp4.hpp"

#include <algorithm>

// AVX2 and AVX-512 on x86; a machine without them runs the reference.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nvfp4.cpp"
#include "hwy/foreach_target.h"  // must come before lanes-inl.hpp
#include "mopt/numeric/lanes-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace mopt::nvfp4::HWY_NAMESPACE {
#if MOPT_NO_LANES

using reference::absmax;
using reference::decode;
using reference::encode;
using reference::round_trip;

#else

using namespace mopt::HWY_NAMESPACE;  // NOLINT: the vector functions of lanes-inl.hpp

// Blocks that are worked on together, so that their scales are computed in vectors too.
constexpr int64_t kBatch = 64;

struct Batch {
  HWY_ALIGN float absmax[kBatch] = {};
  HWY_ALIGN float step[kBatch];     // what one step of E2M1 is worth
  HWY_ALIGN float inverse[kBatch];  // 1 / step
  HWY_ALIGN uint8_t scales[kBatch];
};

void find_scales(float global, Batch& batch) {
  const F per_scale = all(6.0f * global);
  for (int64_t b = 0; b < kBatch; b += lanes()) {
    const F exact = hn::Div(hn::Load(Floats(), batch.absmax + b), per_scale);
    const F bounded = hn::Min(hn::Max(exact, all(e4m3::kMin)), all(e4m3::kMax));
    const F held = hn::IfThenElse(hn::Eq(exact, all(0.0f)), all(1.0f), bounded);
    const W code = encode_e4m3(held, held);
    store_bytes(code, batch.scales + b);
    const F step = hn::Mul(decode_e4m3(code), all(global));
    hn::Store(step, Floats(), batch.step + b);
    hn::Store(hn::Div(all(1.0f), step), Floats(), batch.inverse + b);
  }
}

// A pair of vectors is one block of 16 or part of one of 32; with AVX-512 it is two blocks of 16.
// The value of its block for every lane, `b` being the first one.
HWY_INLINE F per_lane(const float* values, int64_t b, int64_t size) {
  if constexpr (hn::MaxLanes(Floats()) == 16) {
    if (size == 16) return hn::ConcatLowerLower(Floats(), all(values[b + 1]), all(values[b]));
  }
  return all(values[b]);
}

// Dividers of a batch's blocks. A step that underflows becomes infinity: every quotient is then
// zero.
struct Divisions {
  HWY_INLINE ByDivision operator()(const Batch& batch, int64_t b, int64_t size) const {
    const F step = per_lane(batch.step, b, size);
    return ByDivision(hn::IfThenElse(hn::Gt(step, all(0.0f)), step, hn::Inf(Floats())));
  }
};
struct Products {
  HWY_INLINE ByProduct operator()(const Batch& batch, int64_t b, int64_t size) const {
    return {per_lane(batch.step, b, size), per_lane(batch.inverse, b, size)};
  }
};

// Calls body(first block, number of blocks, batch, dividers) with ranges and scales found. Where a
// block is half a pair, the last one of an odd number is not among them.
template <class T, class Body>
void for_batches(const T* x, const Blocks& blocks, const Body& body) {
  // Block scales lie within [2^-9, 448].
  const bool product = product_is_exact(x, blocks.global * e4m3::kMin, blocks.global * e4m3::kMax);
  Batch batch;
  for (int64_t first = 0; first < blocks.count; first += kBatch) {
    const int64_t count = std::min(kBatch, blocks.count - first);
    block_absmax(x + first * blocks.size, count, blocks.size, batch.absmax);
    find_scales(blocks.global, batch);
    if (product) {
      body(first, count, batch, Products());
    } else {
      body(first, count, batch, Divisions());
    }
  }
}

// Elements of `count` blocks that are whole pairs.
HWY_INLINE int64_t paired(int64_t count, int64_t size) {
  return whole_pairs(count * size);
}

float absmax(Reals x, int64_t n) {
  return visit(x, [n](const auto* p) { return mopt::HWY_NAMESPACE::absmax(p, n); });
}

template <class T, class Dividers>
void encode_batch(const T* x, int64_t n, int64_t size, const Batch& batch, const Dividers& dividers,
                  uint8_t* codes) {
  for (int64_t i = 0; i < n;) {
    const int64_t end = i + std::max(size, pair_size());
    const auto divide = dividers(batch, i / size, size);
    for (; i < end; i += pair_size()) {
      const Pair p = load_pair(x + i);
      store_nibbles({encode_e2m1(divide(p.even)), encode_e2m1(divide(p.odd))}, codes + i / 2);
    }
  }
}

void encode(Reals x, const Blocks& blocks, uint8_t* scales, uint8_t* codes) {
  const int64_t size = blocks.size;
  visit(x, [&](const auto* p) {
    for_batches(p, blocks,
                [&](int64_t first, int64_t count, const Batch& batch, const auto& dividers)
                    HWY_ATTR {
                      std::copy_n(batch.scales, count, scales + first);
                      encode_batch(p + first * size, paired(count, size), size, batch, dividers,
                                   codes + first * size / 2);
                    });
  });
  const int64_t done = paired(blocks.count, size) / size;
  reference::encode(offset(x, done * size), {blocks.count - done, size, blocks.global},
                    scales + done, codes + done * size / 2);
}

template <class T>
void decode_batch(const uint8_t* codes, int64_t n, int64_t size, const float* steps, T* to) {
  for (int64_t i = 0; i < n;) {
    const int64_t end = i + std::max(size, pair_size());
    const F step = per_lane(steps, i / size, size);
    for (; i < end; i += pair_size()) {
      const Codes c = load_nibbles(codes + i / 2);
      store_pair({hn::Mul(decode_e2m1(c.even), step), hn::Mul(decode_e2m1(c.odd), step)}, to + i);
    }
  }
}

void decode(const uint8_t* scales, const uint8_t* codes, const Blocks& blocks, RealsOut out) {
  const int64_t size = blocks.size;
  visit(out, [&](auto* to) {
    float steps[kBatch];
    for (int64_t first = 0; first < blocks.count; first += kBatch) {
      const int64_t count = std::min(kBatch, blocks.count - first);
      for (int64_t b = 0; b < count; ++b) {
        steps[b] = e4m3::decode(scales[first + b]) * blocks.global;
      }
      decode_batch(codes + first * size / 2, paired(count, size), size, steps, to + first * size);
    }
  });
  const int64_t done = paired(blocks.count, size) / size;
  reference::decode(scales + done, codes + done * size / 2,
                    {blocks.count - done, size, blocks.global}, offset(out, done * size));
}

template <class T, class Dividers, class U>
void round_trip_batch(const T* x, int64_t n, int64_t size, const Batch& batch,
                      const Dividers& dividers, U* to) {
  for (int64_t i = 0; i < n;) {
    const int64_t end = i + std::max(size, pair_size());
    const auto divide = dividers(batch, i / size, size);
    const F step = per_lane(batch.step, i / size, size);
    for (; i < end; i += pair_size()) {
      const Pair p = load_pair(x + i);
      store_pair(
          {hn::Mul(round_e2m1(divide(p.even)), step), hn::Mul(round_e2m1(divide(p.odd)), step)},
          to + i);
    }
  }
}

void round_trip(Reals x, const Blocks& blocks, RealsOut out) {
  const int64_t size = blocks.size;
  visit(x, [&](const auto* p) {
    visit(out, [&](auto* to) {
      for_batches(p, blocks,
                  [&](int64_t first, int64_t count, const Batch& batch, const auto& dividers)
                      HWY_ATTR {
                        round_trip_batch(p + first * size, paired(count, size), size, batch,
                                         dividers, to + first * size);
                      });
    });
  });
  const int64_t done = paired(blocks.count, size) / size;
  reference::round_trip(offset(x, done * size), {blocks.count - done, size, blocks.global},
                        offset(out, done * size));
}

#endif
}  // namespace mopt::nvfp4::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mopt::nvfp4 {

HWY_EXPORT(absmax);
HWY_EXPORT(encode);
HWY_EXPORT(decode);
HWY_EXPORT(round_trip);

float absmax(Reals x, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(absmax)(x, n);
}
void encode(Reals x, const Blocks& blocks, uint8_t* scales, uint8_t* codes) {
  HWY_DYNAMIC_DISPATCH(encode)(x, blocks, scales, codes);
}
void decode(const uint8_t* scales, const uint8_t* codes, const Blocks& blocks, RealsOut out) {
  HWY_DYNAMIC_DISPATCH(decode)(scales, codes, blocks, out);
}
void round_trip(Reals x, const Blocks& blocks, RealsOut out) {
  HWY_DYNAMIC_DISPATCH(round_trip)(x, blocks, out);
}

}  // namespace mopt::nvfp4
#endif
