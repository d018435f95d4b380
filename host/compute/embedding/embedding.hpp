// embedding: y[..., C] = the rows of weight[V, C] that ids name.
#pragma once

#include "host/compute/dispatch.hpp"
#include "host/compute/view.hpp"

namespace mopt::compute {

// ids i64 [...], weight [V, C], y [..., C] of the weight's type.
void embedding(const View& ids, const View& weight, const View& y, const Options& options = {});

struct EmbeddingProblem {
  View ids, weight, y;
};
std::vector<std::string_view> embedding_kernels();
void embedding_reference(const EmbeddingProblem&);

}  // namespace mopt::compute
