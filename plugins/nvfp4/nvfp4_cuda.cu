#include "nvfp4_cuda.hpp"

#include "mopt/cuda_nibbles.hpp"

namespace mopt::nvfp4::device {
namespace {

using cuda::kRun;
using cuda::Nibbles;
using cuda::Raw;

struct Format {
  using Stored = uint8_t;
  using Codes = Nibbles;
  struct Scale {
    uint8_t stored;
    float step;  // what one step of E2M1 is worth; infinity where that is zero
  };

  cuda::SharedScale global;
  float* global_out;  // null: not wanted

  __device__ void start(int64_t thread) const {
    if (thread == 0 && global_out != nullptr) *global_out = global.get();
  }

  __device__ Scale scale(float absmax) const {
    const float by = global.get();
    const float exact = __fdiv_rn(absmax, __fmul_rn(e2m1::kMax, by));
    const float held = exact == 0 ? 1.0f : fminf(fmaxf(exact, e4m3::kMin), e4m3::kMax);
    const uint32_t code = cuda::e4m3_two(held, 0);
    float value, unused;
    cuda::e4m3_values(code, value, unused);
    const float step = __fmul_rn(value, by);
    return {static_cast<uint8_t>(code), step > 0 ? step : std::bit_cast<float>(0x7F800000u)};
  }

  // Calls fn with the quotients, zeros without a sign, and whether they are all below 7.
  template <class T, class Fn>
  static __device__ void with_quotients(const Raw<T>& raw, const Scale& scale, float absmax,
                                        const Fn& fn) {
    float q[kRun];
    unpack(raw, q);
    const float inverse = __frcp_rn(scale.step);
    constexpr float kMost = sizeof(T) == 4 ? 1.0f : 0x1p10f;
    // Unless the global scale was chosen below the range, no quotient is beyond 6.4.
    if (scale.step >= 0x1p-80f && scale.step <= kMost && __fmul_rn(absmax, inverse) < 6.9f) {
      const cuda::ByProduct<T> divide{scale.step, inverse};
#pragma unroll
      for (int i = 0; i < kRun; ++i)
        q[i] = divide(q[i]);
      fn(q, std::true_type());
    } else {
#pragma unroll
      for (int i = 0; i < kRun; ++i)
        q[i] = __fadd_rn(__fdiv_rn(q[i], scale.step), 0.0f);
      fn(q, std::false_type());
    }
  }

  template <class T>
  __device__ Nibbles encode_run(const Raw<T>& raw, const Scale& scale, float absmax) const {
    Nibbles codes;
    with_quotients<T>(raw, scale, absmax, [&]<class Bounded>(const float(&q)[kRun], Bounded) {
      codes.at[0] = cuda::e2m1_eight<Bounded::value>(q, 0);
      codes.at[1] = cuda::e2m1_eight<Bounded::value>(q, 8);
    });
    return codes;
  }

  template <class T>
  __device__ Raw<T> round_run(const Raw<T>& raw, const Scale& scale, float absmax) const {
    const float unit = this->unit(scale.stored);
    Raw<T> values;
    with_quotients<T>(raw, scale, absmax, [&](float(&q)[kRun], auto) {
#pragma unroll
      for (int i = 0; i < kRun; ++i)
        q[i] = __fmul_rn(cuda::e2m1_round(q[i]), unit);
      values = cuda::pack<T>(q);
    });
    return values;
  }

  __device__ uint8_t encode(float x, const Scale& scale) const {
    return e2m1::encode(__fdiv_rn(x, scale.step));
  }
  __device__ float decode(uint8_t code) const {
    return e2m1::decode(code);
  }
  __device__ void decode_run(const Nibbles& codes, float (&x)[kRun]) const {
    cuda::e2m1_values(codes, x);
  }
  __device__ float unit(uint8_t stored) const {
    return __fmul_rn(e4m3::decode(stored), global.get());
  }
};

// Blocks of 16 and of 32: one lane or two.
using Kernels = cuda::Blocks<Format, 1, 2>;

}  // namespace

void encode(const Exec& exec, Reals x, const Blocks& blocks, const Codes& to) {
  Kernels::encode(exec, x, {blocks.count, blocks.size},
                  Format{cuda::SharedScale::known(blocks.global), to.global}, to.scales,
                  to.payload);
}

void decode(const Exec& exec, const Codes& from, const Blocks& blocks, RealsOut out) {
  const auto global = cuda::SharedScale::stored(from.global);
  Kernels::decode(exec, from.payload, from.scales, {blocks.count, blocks.size},
                  Format{global, nullptr}, out);
}

void round_trip(const Exec& exec, Reals x, const Blocks& blocks, RealsOut out) {
  Kernels::round_trip(exec, x, {blocks.count, blocks.size},
                      Format{cuda::SharedScale::known(blocks.global), nullptr}, out);
}

void round_trip_by_range(const Exec& exec, Reals x, const Blocks& blocks, float divisor,
                         RealsOut out) {
  const Tensor range = cuda::absmax_of(exec, x, blocks.count * blocks.size);
  const auto global = cuda::SharedScale::of_range(range, divisor);
  Kernels::round_trip(exec, x, {blocks.count, blocks.size}, Format{global, nullptr}, out);
}

}  // namespace mopt::nvfp4::device
