#include "nvfp4_cuda.hpp"

#include "mopt/cuda_nibbles.hpp"

namespace mopt::nvfp4::device {
namespace {

using cuda::kRun;
using cuda::Nibbles;
using cuda::Raw;

// kKnown: by the host, before the kernel starts.
template <bool kKnown>
struct Format {
  using Stored = uint8_t;
  using Codes = Nibbles;
  struct Scale {
    uint8_t stored;
    float step;  // what one step of E2M1 is worth
    // A step of zero takes every element to zero.
    __device__ float divisor() const { return step > 0 ? step : std::bit_cast<float>(0x7F800000u); }
  };

  cuda::SharedScale global;
  float* global_out;  // null: not wanted

  // The global scale, what a block's range is divided by, one by that, and up to which range the
  // product with it serves (-1: never).
  float by = 0, most_by = 0, inverse = 0, up_to = -1;

  explicit Format(const cuda::SharedScale& scale, float* out = nullptr)
      : global(scale), global_out(out) {
    if (kKnown) divide_by(global.value);
  }
  __host__ __device__ void divide_by(float scale) {
    by = scale;
    most_by = e2m1::kMax * scale;
    inverse = 1.0f / most_by;
    up_to = most_by >= 0x1p-80f && most_by <= 1.0f ? 0x1p99f * most_by : -1.0f;
  }

  __device__ void start() {
    if constexpr (!kKnown) divide_by(global.get());
  }
  __device__ void publish() const {
    if (global_out != nullptr) *global_out = by;
  }

  __device__ Scale scale(float absmax) const {
    const float exact = absmax <= up_to ? cuda::ByProduct<float>{most_by, inverse}(absmax)
                                        : __fdiv_rn(absmax, most_by);
    const float held = exact == 0 ? 1.0f : fminf(fmaxf(exact, e4m3::kMin), e4m3::kMax);
    const uint32_t code = cuda::e4m3_two(held, 0);
    float value, unused;
    cuda::e4m3_values(code, value, unused);
    return {static_cast<uint8_t>(code), __fmul_rn(value, by)};
  }

  // Calls fn with the quotients, zeros without a sign, and whether they are all below 7: then, and
  // only then, they are given times `unit`.
  template <class T, class Fn>
  static __device__ void with_quotients(const Raw<T>& raw, const Scale& scale, float absmax,
                                        float unit, const Fn& fn) {
    float q[kRun];
    unpack(raw, q);
    const float inverse = cuda::reciprocal(scale.step);
    constexpr float kMost = sizeof(T) == 4 ? 1.0f : 0x1p10f;
    // Unless the global scale was chosen below the range, no quotient is beyond 6.4.
    if (scale.step >= 0x1p-80f && scale.step <= kMost && __fmul_rn(absmax, inverse) < 6.9f) {
      const cuda::ByProduct<T> divide{__fmul_rn(scale.step, 1 / unit), __fmul_rn(inverse, unit)};
#pragma unroll
      for (int i = 0; i < kRun; ++i)
        q[i] = divide(q[i]);
      fn(q, std::true_type());
    } else {
      const float by = scale.divisor();
#pragma unroll
      for (int i = 0; i < kRun; ++i)
        q[i] = __fadd_rn(__fdiv_rn(q[i], by), 0.0f);
      fn(q, std::false_type());
    }
  }

  template <class T>
  __device__ Nibbles encode_run(const Raw<T>& raw, const Scale& scale, float absmax) const {
    Nibbles codes;
    const auto encode = [&]<class Bounded>(const float(&q)[kRun], Bounded) {
      for (int i = 0; i < 2; ++i)
        codes.at[i] =
            Bounded::value ? cuda::e2m1_eight_units(q, 8 * i) : cuda::e2m1_eight(q, 8 * i);
    };
    with_quotients<T>(raw, scale, absmax, cuda::kE2m1Unit, encode);
    return codes;
  }

  template <class T>
  __device__ Raw<T> round_run(const Raw<T>& raw, const Scale& scale, float absmax) const {
    const float unit = this->unit(scale.stored);
    Raw<T> values;
    with_quotients<T>(raw, scale, absmax, 1.0f, [&](float(&q)[kRun], auto) {
#pragma unroll
      for (int i = 0; i < kRun; ++i)
        q[i] = __fmul_rn(cuda::e2m1_round(q[i]), unit);
      values = cuda::pack<T>(q);
    });
    return values;
  }

  __device__ uint8_t encode(float x, const Scale& scale) const {
    return e2m1::encode(__fdiv_rn(x, scale.divisor()));
  }
  __device__ float decode(uint8_t code) const {
    return e2m1::decode(code);
  }
  __device__ void decode_run(const Nibbles& codes, float (&x)[kRun]) const {
    cuda::e2m1_values(codes, x);
  }
  __device__ float unit(uint8_t stored) const {
    float value, unused;
    cuda::e4m3_values(stored, value, unused);
    return __fmul_rn(value, by);
  }
};

// Blocks of 16 and of 32: one lane or two.
using Known = Format<true>;
using Stored = Format<false>;
template <class Format>
using Kernels = cuda::Blocks<Format, 1, 2>;

}  // namespace

void encode(const Exec& exec, Reals x, const Blocks& blocks, const Codes& to) {
  Kernels<Known>::encode(exec, x, {blocks.count, blocks.size},
                         Known(cuda::SharedScale::known(blocks.global), to.global), to.scales,
                         to.payload);
}

void decode(const Exec& exec, const Codes& from, const Blocks& blocks, RealsOut out) {
  const auto global = cuda::SharedScale::stored(from.global);
  Kernels<Stored>::decode(exec, from.payload, from.scales, {blocks.count, blocks.size},
                          Stored(global), out);
}

void round_trip(const Exec& exec, Reals x, const Blocks& blocks, RealsOut out) {
  Kernels<Known>::round_trip(exec, x, {blocks.count, blocks.size},
                             Known(cuda::SharedScale::known(blocks.global)), out);
}

void round_trip_by_range(const Exec& exec, Reals x, const Blocks& blocks, float divisor,
                         RealsOut out) {
  const Tensor range = cuda::absmax_of(exec, x, blocks.count * blocks.size);
  const auto global = cuda::SharedScale::of_range(range, divisor);
  Kernels<Stored>::round_trip(exec, x, {blocks.count, blocks.size}, Stored(global), out);
}

}  // namespace mopt::nvfp4::device
