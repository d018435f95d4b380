// Kernels that use what cuda_emulation.hpp supports, or do what it has to find.
#pragma once

#include <cstdint>

namespace mopt::test {

// Device memory throughout. sums[b]: of block b's 96 elements, through warps and shared memory.
void sum_blocks(const float* x, int64_t blocks, float* sums);
// y = x reversed within each block of `threads`, through dynamic shared memory.
void reverse(const int* x, int64_t blocks, int threads, int* y);
// out[lane * 4 ...]: what shuffles of each kind bring, among lanes of groups of 8.
void shuffle_lanes(int* out);
// out[0]: ballot of the odd lanes; [1]: maximum of their numbers; [2]: how many of 70 threads voted
// at a barrier; [3]: the sum of 1 to 70 by an atomic.
void vote(unsigned* out);

// Faults.
void half_at_the_barrier();
void different_barriers();
void barrier_in_a_loop_of_uneven_length();
void shuffle_with_absent_lanes();
void write_at(int* memory, int64_t index);
void write_shared_at(int64_t index);  // of 10 elements

}  // namespace mopt::test
