#include "host/compute/embedding/embedding.hpp"

#include "host/compute/device_kernels.hpp"

#include <array>

namespace mopt::compute {
namespace {

// Copying rows is bound by memory: the reference is also the fastest.
constexpr std::array kKernels{
    Kernel<EmbeddingProblem>{"embedding.reference", accept_any<EmbeddingProblem>,
                             embedding_reference},
};

}  // namespace

void embedding(const View& ids, const View& weight, const View& y, const Options& options) {
  require(same(ids.dtype, kI64), "embedding", "ids in i64", ids);
  require(weight.ndim == 2, "embedding", "a weight [vocabulary, width]", weight);
  require(
      same(y.dtype, weight.dtype) && y.columns() == weight.shape[1] && y.rows() == ids.elements(),
      "embedding", "an output of " + std::to_string(ids.elements()) + " rows of " + text(weight),
      y);
  const EmbeddingProblem problem{ids, weight, y};
  if (options.queue != nullptr) return run_on_device(&DeviceKernels::embedding, problem, options);
  run_on_cpu(kKernels, problem, options);
}

std::vector<std::string_view> embedding_kernels() {
  return names(kKernels);
}

}  // namespace mopt::compute
