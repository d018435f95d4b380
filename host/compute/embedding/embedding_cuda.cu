#include <array>

#include "host/compute/cuda/kernels.hpp"
#include "host/compute/cuda/launch.cuh"

namespace mopt::compute::cuda {
namespace {

// One block of threads copies one row, `Word` by `Word`. An id outside of the table, which the host
// refuses before, gives NaN.
template <class Word>
__global__ void copy_rows(const int64_t* ids, const Word* table, int64_t vocabulary, int64_t words,
                          Word* y) {
  const int64_t row = blockIdx.x, id = ids[row];
  const bool known = id >= 0 && id < vocabulary;
  for (int64_t i = threadIdx.x; i < words; i += blockDim.x) {
    Word word;
    memset(&word, 0xFF, sizeof(word));
    if (known) word = table[id * words + i];
    y[row * words + i] = word;
  }
}

void run(const EmbeddingProblem& p, Queue& queue) {
  const int64_t rows = p.ids.elements(), vocabulary = p.weight.shape[0];
  const int64_t row_bytes = vocabulary == 0 ? 0 : p.weight.bytes() / vocabulary;
  const auto* ids = static_cast<const int64_t*>(p.ids.data);
  if (row_bytes % 16 == 0 && aligned(p.weight.data) && aligned(p.y.data)) {
    launch(copy_rows<uint4>, {rows, 128}, queue, ids, static_cast<const uint4*>(p.weight.data),
           vocabulary, row_bytes / 16, p.y.as<uint4>());
  } else {
    launch(copy_rows<uint16_t>, {rows, 128}, queue, ids,
           static_cast<const uint16_t*>(p.weight.data), vocabulary, row_bytes / 2,
           p.y.as<uint16_t>());
  }
}

constexpr std::array kRows{
    DeviceKernel<EmbeddingProblem>{"embedding.cuda", accept_any_on_device<EmbeddingProblem>, run}};

}  // namespace

DeviceRows<EmbeddingProblem> embedding_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
