#include "int4_cuda.hpp"

#include "mopt/cuda_blocks.hpp"
#include "mopt/numeric/int4.hpp"

namespace mopt::int4::device {
namespace {

using cuda::kRun;
using cuda::Nibbles;
using cuda::Raw;

struct Format {
  using Stored = float;
  using Codes = Nibbles;
  struct Scale {
    float stored;
  };

  cuda::ScaleRule rule;

  __device__ void start(int64_t) const {}
  __device__ Scale scale(float absmax) const { return {rule(absmax)}; }

  // No quotient is beyond 7: the scale is of the block's own range. 1.5 * 2^23 added leaves the
  // nearest integer, and 8 more a nibble above zero, whose upper bit the last step turns.
  static __device__ uint32_t eight(const float (&q)[kRun], int first) {
    constexpr uint32_t kMagic = 0x4B400000u;
    uint32_t codes = 0;
#pragma unroll
    for (int i = first + 7; i >= first; --i)
      codes = codes * 16 + std::bit_cast<uint32_t>(__fadd_rn(q[i], 0x1.8p23f));
    return (codes - (kMagic - 8) * 0x11111111u) ^ 0x88888888u;
  }
  template <class T>
  __device__ Nibbles encode_run(const Raw<T>& raw, const Scale& scale, float absmax) const {
    Nibbles codes;
    cuda::with_divider<T>(scale.stored, absmax, [&](const auto& divide) {
      float q[kRun];
      unpack(raw, q);
#pragma unroll
      for (int i = 0; i < kRun; ++i)
        q[i] = divide(q[i]);
      codes = {{eight(q, 0), eight(q, 8)}};
    });
    return codes;
  }

  __device__ uint8_t encode(float x, const Scale& scale) const {
    return int4::encode(__fdiv_rn(x, scale.stored));
  }
  __device__ float decode(uint8_t code) const {
    return int4::decode(code);
  }
  // A code with its upper bit turned counts from -8 on; beside the exponent of 2^23 it is a number.
  __device__ void decode_run(const Nibbles& codes, float (&x)[kRun]) const {
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
      const uint32_t nibble = (codes.at[i / 8] ^ 0x88888888u) >> (i % 8 * 4) & 15u;
      x[i] = __fsub_rn(std::bit_cast<float>(nibble | 0x4B000000u), 0x1p23f + 8);
    }
  }
  __device__ float unit(float stored) const {
    return stored;
  }
};

// Blocks up to 512, whose 32 lanes are a warp.
using Kernels = cuda::Blocks<Format, 1, 32>;

}  // namespace

void encode(const Exec& exec, Reals x, const Blocks& blocks, float* scales, uint8_t* codes) {
  Kernels::encode(exec, x, {blocks.count, blocks.size},
                  Format{cuda::ScaleRule::bounded(kMax, x.type)}, scales, codes);
}

void decode(const Exec& exec, const float* scales, const uint8_t* codes, const Blocks& blocks,
            RealsOut out) {
  Kernels::decode(exec, codes, scales, {blocks.count, blocks.size}, Format{}, out);
}

}  // namespace mopt::int4::device
