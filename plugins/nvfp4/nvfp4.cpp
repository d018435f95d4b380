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

// Dividers of a batch's blocks. A step that underflows becomes infinity: every quotient is then
// zero.
struct Divisions {
  HWY_INLINE ByDivision operator()(const Batch& batch, int64_t b) const {
    const F step = all(batch.step[b]);
    return ByDivision(hn::IfThenElse(hn::Gt(step, all(0.0f)), step, hn::Inf(Floats())));
  }
};
struct Products {
  HWY_INLINE ByProduct operator()(const Batch& batch, int64_t b) const {
    return {all(batch.step[b]), all(batch.inverse[b])};
  }
};

// Calls body(first block, number of blocks, batch, dividers) with ranges and scales found.
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

float absmax(Reals x, int64_t n) {
  return visit(x, [n](const auto* p) { return mopt::HWY_NAMESPACE::absmax(p, n); });
}

template <class T>
void encode_typed(const T* x, const Blocks& blocks, uint8_t* scales, uint8_t* codes) {
  const auto body = [&](int64_t first, int64_t count, const Batch& batch, const auto& dividers)
                        HWY_ATTR {
                          std::copy_n(batch.scales, count, scales + first);
                          for (int64_t b = 0; b < count; ++b) {
                            const auto divide = dividers(batch, b);
                            const int64_t begin = (first + b) * blocks.size;
                            for (int64_t i = begin; i < begin + blocks.size; i += lanes()) {
                              store_nibbles(encode_e2m1(divide(load(x + i))), codes + i / 2);
                            }
                          }
                        };
  for_batches(x, blocks, body);
}

void encode(Reals x, const Blocks& blocks, uint8_t* scales, uint8_t* codes) {
  visit(x, [&](const auto* p) { encode_typed(p, blocks, scales, codes); });
}

void decode(const uint8_t* scales, const uint8_t* codes, const Blocks& blocks, RealsOut out) {
  visit(out, [&](auto* to) {
    for (int64_t b = 0; b < blocks.count; ++b) {
      const F step = all(e4m3::decode(scales[b]) * blocks.global);
      for (int64_t i = b * blocks.size; i < (b + 1) * blocks.size; i += lanes()) {
        store(hn::Mul(decode_e2m1(load_nibbles(codes + i / 2)), step), to + i);
      }
    }
  });
}

void round_trip(Reals x, const Blocks& blocks, RealsOut out) {
  visit(x, [&](const auto* p) {
    visit(out, [&](auto* to) {
      const auto body = [&](int64_t first, int64_t count, const Batch& batch, const auto& dividers)
                            HWY_ATTR {
                              for (int64_t b = 0; b < count; ++b) {
                                const auto divide = dividers(batch, b);
                                const F step = all(batch.step[b]);
                                const int64_t begin = (first + b) * blocks.size;
                                for (int64_t i = begin; i < begin + blocks.size; i += lanes()) {
                                  store(hn::Mul(round_e2m1(divide(load(p + i))), step), to + i);
                                }
                              }
                            };
      for_batches(p, blocks, body);
    });
  });
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
