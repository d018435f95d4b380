#include "int8.hpp"

// AVX2 and AVX-512 on x86; a machine without them runs the reference.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "int8.cpp"
#include "hwy/foreach_target.h"  // must come before lanes-inl.hpp
#include "mopt/numeric/lanes-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace mopt::int8::HWY_NAMESPACE {
#if MOPT_NO_LANES

using reference::absmax;
using reference::decode;
using reference::encode;
using reference::round_trip;

#else

using namespace mopt::HWY_NAMESPACE;  // NOLINT: the vector functions of lanes-inl.hpp

// The largest multiple of lanes() in n; the rest goes to the reference.
HWY_INLINE int64_t whole(int64_t n) {
  return n / lanes() * lanes();
}

float absmax(Reals x, int64_t n) {
  return visit(x, [n](const auto* p) { return mopt::HWY_NAMESPACE::absmax(p, n); });
}

void encode(Reals x, int64_t n, float scale, int8_t* codes) {
  const int64_t body = whole(n);
  visit(x, [&](const auto* p) {
    auto* to = reinterpret_cast<uint8_t*>(codes);
    with_divider(p, scale, [&](const auto& divide) HWY_ATTR {
      for (int64_t i = 0; i < body; i += lanes()) {
        store_bytes(encode_int8(divide(load(p + i))), to + i);
      }
    });
  });
  reference::encode(offset(x, body), n - body, scale, codes + body);
}

void decode(const int8_t* codes, int64_t n, float scale, RealsOut out) {
  const int64_t body = whole(n);
  visit(out, [&](auto* to) {
    const auto* from = reinterpret_cast<const uint8_t*>(codes);
    for (int64_t i = 0; i < body; i += lanes()) {
      store(hn::Mul(decode_int8(load_bytes(from + i)), all(scale)), to + i);
    }
  });
  reference::decode(codes + body, n - body, scale, offset(out, body));
}

void round_trip(Reals x, int64_t n, float scale, RealsOut out) {
  const int64_t body = whole(n);
  visit(x, [&](const auto* p) {
    visit(out, [&](auto* to) {
      with_divider(p, scale, [&](const auto& divide) HWY_ATTR {
        for (int64_t i = 0; i < body; i += lanes()) {
          store(hn::Mul(round_int8(divide(load(p + i))), all(scale)), to + i);
        }
      });
    });
  });
  reference::round_trip(offset(x, body), n - body, scale, offset(out, body));
}

#endif
}  // namespace mopt::int8::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mopt::int8 {

HWY_EXPORT(absmax);
HWY_EXPORT(encode);
HWY_EXPORT(decode);
HWY_EXPORT(round_trip);

float absmax(Reals x, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(absmax)(x, n);
}
void encode(Reals x, int64_t n, float scale, int8_t* codes) {
  HWY_DYNAMIC_DISPATCH(encode)(x, n, scale, codes);
}
void decode(const int8_t* codes, int64_t n, float scale, RealsOut out) {
  HWY_DYNAMIC_DISPATCH(decode)(codes, n, scale, out);
}
void round_trip(Reals x, int64_t n, float scale, RealsOut out) {
  HWY_DYNAMIC_DISPATCH(round_trip)(x, n, scale, out);
}

}  // namespace mopt::int8
#endif
