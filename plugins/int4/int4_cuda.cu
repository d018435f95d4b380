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

  __device__ void start() const {}
  __device__ void publish() const {}
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
  // Codes with their upper bit turned count from -8 on; beside the exponent of 2^7 they are bf16
  // numbers, two of a word at once.
  __device__ void decode_run(const Nibbles& codes, float (&x)[kRun]) const {
#pragma unroll
    for (int w = 0; w < 2; ++w) {
      const uint32_t turned = codes.at[w] ^ 0x88888888u;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const uint32_t two = less_136(lower_nibbles(turned >> (4 * i)));
        x[8 * w + i] = std::bit_cast<float>(two << 16);
        x[8 * w + i + 4] = std::bit_cast<float>(two & 0xFFFF0000u);
      }
    }
  }
  // The lowest nibble of each half as 2^7 and more, in bf16.
  static __device__ uint32_t lower_nibbles(uint32_t word) {
#if defined(__CUDA_ARCH__)
    uint32_t two;  // one instruction, which the compiler makes two
    asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(two) : "r"(word), "n"(0x000F000F), "n"(0x43004300));
    return two;
#else
    return (word & 0x000F000Fu) | 0x43004300u;
#endif
  }
  static __device__ uint32_t less_136(uint32_t two) {
#if defined(__CUDA_ARCH__)
    uint32_t less;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;"
        : "=r"(less)
        : "r"(two), "r"(0x3F803F80u), "r"(0xC308C308u));
    return less;
#else
    const float low = std::bit_cast<float>(two << 16) - 136.0f;
    const float high = std::bit_cast<float>(two & 0xFFFF0000u) - 136.0f;
    return cuda::pack_two<Bf16>(low, high);
#endif
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
