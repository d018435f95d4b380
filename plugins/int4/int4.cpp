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

// The largest multiple of lanes() in n; the rest of a block goes to the reference.
HWY_INLINE int64_t whole(int64_t n) {
  return n / lanes() * lanes();
}

template <class T>
void encode_block(const T* x, int64_t n, float scale, uint8_t* codes) {
  with_divider(x, scale, [&](const auto& divide) HWY_ATTR {
    for (int64_t i = 0; i < n; i += lanes()) {
      store_nibbles(encode_int4(divide(load(x + i))), codes + i / 2);
    }
  });
}

void encode(Reals x, const Blocks& blocks, float* scales, uint8_t* codes) {
  const int64_t size = blocks.size, body = whole(size);
  visit(x, [&](const auto* p) {
    block_absmax(p, blocks.count, size, scales);
    for (int64_t b = 0; b < blocks.count; ++b) {
      scales[b] = bounded_scale(scales[b], int4::kMax, x.type);
      encode_block(p + b * size, body, scales[b], codes + b * size / 2);
      const int64_t rest = b * size + body;
      reference::encode_run(offset(x, rest), size - body, scales[b], codes + rest / 2);
    }
  });
}

void decode(const float* scales, const uint8_t* codes, const Blocks& blocks, RealsOut out) {
  const int64_t size = blocks.size, body = whole(size);
  visit(out, [&](auto* to) {
    for (int64_t b = 0; b < blocks.count; ++b) {
      const int64_t first = b * size;
      for (int64_t i = first; i < first + body; i += lanes()) {
        store(hn::Mul(decode_int4(load_nibbles(codes + i / 2)), all(scales[b])), to + i);
      }
      const int64_t rest = first + body;
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
