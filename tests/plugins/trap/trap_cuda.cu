#include "trap_cuda.hpp"

#include "mopt/cuda.hpp"
#include "mopt/numeric/int8.hpp"
#include "mopt/numeric/range.hpp"

namespace mopt::trap::device {
namespace {

// A block of threads a row.
template <class T>
__global__ void encode_row(const T* w, int64_t cols, Real type, int broken, float* scales,
                           int8_t* codes) {
  const T* row = w + int64_t{blockIdx.x} * cols;
  float most = 0;
  for (int64_t i = threadIdx.x; i < cols; i += blockDim.x)
    most = fmaxf(most, fabsf(to_float(row[i])));
  const float scale = bounded_scale(cuda::block_max(most), int8::kMax, type);
  if (threadIdx.x == 0) scales[blockIdx.x] = scale;
#if defined(__CUDA_ARCH__)
  // Like a write out of bounds, but whatever lies there.
  if (broken != 0) __trap();
#else
  if (broken != 0) return;
#endif
  for (int64_t i = threadIdx.x; i < cols; i += blockDim.x)
    codes[int64_t{blockIdx.x} * cols + i] = int8::encode(__fdiv_rn(to_float(row[i]), scale));
}

template <class T>
__global__ void decode_all(const int8_t* codes, const float* scales, int64_t n, int64_t cols,
                           T* out) {
  const int64_t i = cuda::global_thread();
  if (i < n) put(__fmul_rn(int8::decode(codes[i]), scales[i / cols]), out[i]);
}

}  // namespace

void encode(const Exec& exec, Reals w, int64_t rows, int64_t cols, Kernel kernel, float* scales,
            int8_t* codes) {
  visit(w, [&](const auto* p) {
    cuda::launch(encode_row<std::remove_cvref_t<decltype(*p)>>, {rows, cuda::kThreads}, exec, p,
                 cols, w.type, kernel == Kernel::kBroken ? 1 : 0, scales, codes);
  });
}

void decode(const Exec& exec, const int8_t* codes, const float* scales, int64_t rows, int64_t cols,
            RealsOut out) {
  visit(out, [&](auto* to) {
    cuda::launch(decode_all<std::remove_cvref_t<decltype(*to)>>, cuda::grid_of(rows * cols), exec,
                 codes, scales, rows * cols, cols, to);
  });
}

}  // namespace mopt::trap::device
