#include <array>

#include "host/compute/cuda/kernels.hpp"
#include "host/compute/cuda/launch.cuh"

namespace mopt::compute::cuda {
namespace {

template <class Word>
struct Tokens {
  const Word *k, *v;
  Word *keys, *values;
  const int64_t* positions;
  int64_t t, s, words;  // words of a token
};

// One block of threads copies one token's keys and values.
template <class Word>
__global__ void append(Tokens<Word> p) {
  const int64_t token = blockIdx.x, position = p.positions[token];
  if (position < 0 || position >= p.s) return;
  const int64_t from = token * p.words, to = (token / p.t * p.s + position) * p.words;
  for (int64_t i = threadIdx.x; i < p.words; i += blockDim.x) {
    p.keys[to + i] = p.k[from + i];
    p.values[to + i] = p.v[from + i];
  }
}

template <class Word>
void launch_for(const KvAppendProblem& p, int64_t token_bytes, Queue& queue) {
  const Tokens<Word> tokens{static_cast<const Word*>(p.k.data),
                            static_cast<const Word*>(p.v.data),
                            p.keys.as<Word>(),
                            p.values.as<Word>(),
                            p.positions.as<int64_t>(),
                            p.k.shape[1],
                            p.keys.shape[1],
                            token_bytes / static_cast<int64_t>(sizeof(Word))};
  launch(append<Word>, {p.k.shape[0] * p.k.shape[1], 128}, queue, tokens);
}

void run(const KvAppendProblem& p, Queue& queue) {
  const int64_t bytes = p.k.shape[2] * p.k.shape[3] * p.k.dtype.bits / 8;
  const bool packed = bytes % 16 == 0 && aligned(p.k.data) && aligned(p.v.data) &&
                      aligned(p.keys.data) && aligned(p.values.data);
  if (packed) return launch_for<uint4>(p, bytes, queue);
  launch_for<uint16_t>(p, bytes, queue);
}

constexpr std::array kRows{
    DeviceKernel<KvAppendProblem>{"kv_append.cuda", accept_any_on_device<KvAppendProblem>, run}};

}  // namespace

DeviceRows<KvAppendProblem> kv_append_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
