#include "int4.hpp"
#include "mopt/numeric/int4.hpp"
#include "mopt/numeric/range.hpp"

namespace mopt::int4::reference {

void encode_run(Reals x, int64_t n, float scale, uint8_t* codes) {
  visit(x, [&](const auto* p) {
    for (int64_t i = 0; i < n; i += 2) {
      const uint8_t low = int4::encode(to_float(p[i]) / scale);
      const uint8_t high = int4::encode(to_float(p[i + 1]) / scale);
      codes[i / 2] = static_cast<uint8_t>(low | high << 4);
    }
  });
}

void decode_run(const uint8_t* codes, int64_t n, float scale, RealsOut out) {
  visit(out, [&](auto* to) {
    for (int64_t i = 0; i < n; i += 2) {
      put(int4::decode(codes[i / 2] & 15) * scale, to[i]);
      put(int4::decode(codes[i / 2] >> 4) * scale, to[i + 1]);
    }
  });
}

void encode(Reals x, const Blocks& blocks, float* scales, uint8_t* codes) {
  for (int64_t b = 0; b < blocks.count; ++b) {
    const Reals block = offset(x, b * blocks.size);
    const float most = visit(block, [&](const auto* p) { return absmax_of(p, blocks.size); });
    scales[b] = bounded_scale(most, int4::kMax, x.type);
    encode_run(block, blocks.size, scales[b], codes + b * blocks.size / 2);
  }
}

void decode(const float* scales, const uint8_t* codes, const Blocks& blocks, RealsOut out) {
  for (int64_t b = 0; b < blocks.count; ++b) {
    decode_run(codes + b * blocks.size / 2, blocks.size, scales[b], offset(out, b * blocks.size));
  }
}

}  // namespace mopt::int4::reference
