#include "int4.hpp"

#include "mopt/numeric/int4.hpp"
#include "mopt/numeric/range.hpp"

// AVX2 and AVX-512 on x86; a machine without them runs the reference.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "int4.cpp"
#include "hwy/foreach_target.h"  // must come before lanes-inl.hpp
#include "mopt/numeric/lanes-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace mopt::int4::HWY_NAMESPACE {
#if MOPT_NO_LANES

using reference::decode;
using reference::encode;

#else

using namespace mopt::HWY_NAMESPACE;  // NOLINT: the vector functions of lanes-inl.hpp

template <class T>
void encode_block(const T* x, int64_t n, float scale, uint8_t* codes) {
  with_divider(x, scale, [&](const auto& divide) HWY_ATTR {
    const auto by = divide;
    uint8_t* to = codes;
    for (int64_t i = 0; i < n; i += pair_size()) {
      const Pair value = load_pair(x + i);
      store_nibbles({encode_int4(by(value.even)), encode_int4(by(value.odd))}, to + i / 2);
    }
  });
}

// What a block has beyond whole pairs goes to the reference: of the usual sizes only blocks of 16,
// with AVX-512.
void encode(Reals x, const Blocks& blocks, float* scales, uint8_t* codes) {
  const int64_t size = blocks.size, body = whole_pairs(size);
  visit(x, [&](const auto* p) {
    block_absmax(p, blocks.count, size, scales);
    for (int64_t b = 0; b < blocks.count; ++b) {
      const float scale = bounded_scale(scales[b], int4::kMax, x.type);
      scales[b] = scale;
      encode_block(p + b * size, body, scale, codes + b * size / 2);
      if (body == size) continue;
      const int64_t rest = b * size + body;
      reference::encode_run(offset(x, rest), size - body, scale, codes + rest / 2);
    }
  });
}

template <class T>
void decode_block(const uint8_t* codes, int64_t n, float scale, T* to) {
  const F by = all(scale);
  for (int64_t i = 0; i < n; i += pair_size()) {
    const Codes c = load_nibbles(codes + i / 2);
    store_pair({hn::Mul(decode_int4(c.even), by), hn::Mul(decode_int4(c.odd), by)}, to + i);
  }
}

void decode(const float* scales, const uint8_t* codes, const Blocks& blocks, RealsOut out) {
  const int64_t size = blocks.size, body = whole_pairs(size);
  visit(out, [&](auto* to) {
    for (int64_t b = 0; b < blocks.count; ++b) {
      decode_block(codes + b * size / 2, body, scales[b], to + b * size);
      if (body == size) continue;
      const int64_t rest = b * size + body;
      reference::decode_run(codes + rest / 2, size - body, scales[b], offset(out, rest));
    }
  });
}

#endif
}  // namespace mopt::int4::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mopt::int4 {

HWY_EXPORT(encode);
HWY_EXPORT(decode);

void encode(Reals x, const Blocks& blocks, float* scales, uint8_t* codes) {
  HWY_DYNAMIC_DISPATCH(encode)(x, blocks, scales, codes);
}
void decode(const float* scales, const uint8_t* codes, const Blocks& blocks, RealsOut out) {
  HWY_DYNAMIC_DISPATCH(decode)(scales, codes, blocks, out);
}

}  // namespace mopt::int4
#endif
