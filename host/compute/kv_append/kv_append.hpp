// kv_append: new keys and values go to their places in a cache.
#pragma once

#include "host/compute/dispatch.hpp"
#include "host/compute/view.hpp"

namespace mopt::compute {

struct KvAppendProblem {
  View k, v;          // [B,T,K,D], f32 or bf16
  View positions;     // i64 [B,T], below S and each only once in a row
  View keys, values;  // [B,S,K,D]; what stands at other positions stays
};

void kv_append(const KvAppendProblem& problem, const Options& options = {});

std::vector<std::string_view> kv_append_kernels();
void kv_append_reference(const KvAppendProblem&);

}  // namespace mopt::compute
