#include "kernels.hpp"

#include "mopt/cuda.hpp"
#include "tests/fake_host.hpp"

namespace mopt::test {
namespace {

__global__ void sum_kernel(const float* x, float* sums) {
  __shared__ float warps[3];
  float sum = x[mopt::cuda::global_thread()];
  for (int step = 16; step > 0; step /= 2)
    sum += __shfl_down_sync(0xFFFFFFFFu, sum, static_cast<unsigned>(step));
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) sums[blockIdx.x] = warps[0] + warps[1] + warps[2];
}

__global__ void reverse_kernel(const int* x, int* y) {
  extern __shared__ int held[];
  held[threadIdx.x] = x[mopt::cuda::global_thread()];
  __syncthreads();
  y[mopt::cuda::global_thread()] = held[blockDim.x - 1 - threadIdx.x];
}

__global__ void shuffle_kernel(int* out) {
  const auto lane = static_cast<int>(threadIdx.x);
  out += lane * 4;
  out[0] = __shfl_sync(0xFFFFFFFFu, lane, 3, 8);
  out[1] = __shfl_xor_sync(0xFFFFFFFFu, lane, 5);
  out[2] = __shfl_up_sync(0xFFFFFFFFu, lane, 2, 8);
  out[3] = __shfl_down_sync(0xFFFFFFFFu, lane, 2, 8);
}

__global__ void vote_kernel(unsigned* out) {
  if (threadIdx.x < 32) {
    const unsigned ballot = __ballot_sync(0xFFFFFFFFu, threadIdx.x % 2);
    const unsigned most = __reduce_max_sync(0xFFFFFFFFu, threadIdx.x % 2 != 0 ? threadIdx.x : 0u);
    if (threadIdx.x == 0) {
      out[0] = ballot;
      out[1] = most;
    }
  }
  const int voted = __syncthreads_count(threadIdx.x % 3 == 0);
  if (threadIdx.x == 0) out[2] = static_cast<unsigned>(voted);
  atomicAdd(out + 3, threadIdx.x + 1);
}

__global__ void half_kernel() {
  if (threadIdx.x < 16) return;
  __syncthreads();
}

__global__ void different_kernel() {
  if (threadIdx.x < 16) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void uneven_kernel() {
  for (unsigned i = 0; i < 2 + threadIdx.x / 32; ++i)
    __syncthreads();
}

__global__ void absent_kernel() {
  if (threadIdx.x >= 8) return;
  __shfl_xor_sync(0xFFFFFFFFu, 1, 1);
}

__global__ void write_kernel(int* memory, int64_t index) {
  memory[index] = 1;
}

__global__ void write_shared_kernel(int64_t index) {
  __shared__ int held[10];
  held[index] = 1;
  __syncthreads();
  if (held[index] != 1) __syncwarp(0);  // never: it would wait for nobody
}

template <class... Params, class... Args>
void start(void (*kernel)(Params...), mopt::cuda::Grid grid, Args... args) {
  const FakeHost host(FakeHost::On::kEmulatedCuda);
  mopt::cuda::launch(kernel, grid, Exec(host.exec()), args...);
}

}  // namespace

void sum_blocks(const float* x, int64_t blocks, float* sums) {
  start(sum_kernel, {blocks, 96}, x, sums);
}
void reverse(const int* x, int64_t blocks, int threads, int* y) {
  start(reverse_kernel, {blocks, threads, threads * 4}, x, y);
}
void shuffle_lanes(int* out) {
  start(shuffle_kernel, {1, 32}, out);
}
void vote(unsigned* out) {
  start(vote_kernel, {1, 70}, out);
}
void half_at_the_barrier() {
  start(half_kernel, {1, 32});
}
void different_barriers() {
  start(different_kernel, {1, 32});
}
void barrier_in_a_loop_of_uneven_length() {
  start(uneven_kernel, {1, 64});
}
void shuffle_with_absent_lanes() {
  start(absent_kernel, {1, 32});
}
void write_at(int* memory, int64_t index) {
  start(write_kernel, {1, 1}, memory, index);
}
void write_shared_at(int64_t index) {
  start(write_shared_kernel, {1, 1}, index);
}

}  // namespace mopt::test
