// attention: causal softmax(scale * q k^T) v with grouped heads and an optional window.
#pragma once

#include <optional>

#include "host/compute/dispatch.hpp"
#include "host/compute/view.hpp"

namespace mopt::compute {

// q and y [B,T,H,D], k and v [B,S,K,D] with S >= T and H a multiple of K; one type. A query sees
// positions up to its own, or only the `window` newest of them (0: all). Without `positions` the T
// queries are the newest of S: query t stands at S-T+t. Scores, softmax and sums are fp32; in bf16
// the probabilities are rounded before they multiply v, and y once.
struct AttentionProblem {
  View q, k, v;
  float scale = 1.0f;
  int64_t window = 0;
  View y;
  // i64 [B,T]: where the queries stand, below S; what lies behind is not looked at. For caches with
  // room for more, of which the device knows how far they are filled.
  std::optional<View> positions = std::nullopt;
};

void attention(const AttentionProblem& problem, const Options& options = {});

std::vector<std::string_view> attention_kernels();
std::string_view attention_avx512_bf16_refuses(const AttentionProblem&);
void attention_avx512_bf16(const AttentionProblem&);
std::string_view attention_highway_refuses(const AttentionProblem&);
void attention_highway(const AttentionProblem&);
void attention_reference(const AttentionProblem&);

// First key that the query at `position` sees.
inline int64_t first_key(const AttentionProblem& p, int64_t position) {
  return p.window > 0 && position >= p.window ? position - p.window + 1 : 0;
}

}  // namespace mopt::compute
