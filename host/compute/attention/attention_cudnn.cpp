// attention on cuDNN 9: flash attention in bf16, scores and sums in fp32.
#include <cudnn_frontend.h>

#include <map>
#include <mutex>
#include <tuple>

#include "host/compute/cuda/cudnn_part.hpp"

namespace mopt::compute::cuda {
namespace {

namespace fe = cudnn_frontend;

enum Tensor : int64_t { kQ = 1, kK, kV, kY };

using Key = std::tuple<std::array<int64_t, 4>, std::array<int64_t, 4>, float, int64_t>;

Key key_of(const AttentionProblem& p) {
  return {p.q.shape, p.k.shape, p.scale, p.window};
}

struct Plan {
  fe::graph::Graph graph;
  int64_t workspace = 0;
  std::string refusal;  // empty: it is ready
};

class Cudnn {
 public:
  static Cudnn& get() {
    static Cudnn cudnn;
    return cudnn;
  }
  // Made at the first problem of its shape.
  Plan& plan(const AttentionProblem& p) {
    const std::lock_guard lock(mutex_);
    const auto [entry, fresh] = plans_.try_emplace(key_of(p));
    if (fresh) {
      entry->second = std::make_unique<Plan>();
      build(p, *entry->second);
    }
    return *entry->second;
  }
  void run(const CudnnCall& call) {
    Plan& chosen = plan(call.problem);
    const AttentionProblem& p = call.problem;
    std::unordered_map<int64_t, void*> memory{
        {kQ, p.q.data}, {kK, p.k.data}, {kV, p.v.data}, {kY, p.y.data}};
    void* workspace = chosen.workspace > 0 ? call.workspace(chosen.workspace) : nullptr;
    const std::lock_guard lock(mutex_);
    cudnnSetStream(handle_, static_cast<cudaStream_t>(call.stream));
    auto status = chosen.graph.execute(handle_, memory, workspace);
    if (status.is_bad()) throw Error(MOPT_DEVICE, "attention failed: " + status.get_message());
  }

 private:
  Cudnn() {
    const cudnnStatus_t status = cudnnCreate(&handle_);
    if (status != CUDNN_STATUS_SUCCESS) {
      throw Error(MOPT_DEVICE,
                  std::string("cuDNN cannot be started: ") + cudnnGetErrorString(status));
    }
  }
  void build(const AttentionProblem&, Plan&);

  std::mutex mutex_;
  cudnnHandle_t handle_ = nullptr;
  std::map<Key, std::unique_ptr<Plan>> plans_;
};

// [batch, heads, tokens, d] over memory [batch, tokens, heads, d].
fe::graph::Tensor_attributes heads_of(const View& v, const char* name, int64_t uid) {
  const auto [batch, tokens, heads, d] = v.shape;
  return fe::graph::Tensor_attributes()
      .set_name(name)
      .set_uid(uid)
      .set_dim({batch, heads, tokens, d})
      .set_stride({tokens * heads * d, d, heads * d, 1});
}

fe::graph::SDPA_attributes attributes_of(const AttentionProblem& p) {
  fe::graph::SDPA_attributes attributes;
  attributes.set_name("attention").set_generate_stats(false).set_attn_scale(p.scale);
  const bool square = p.q.shape[1] == p.k.shape[1];
  attributes.set_diagonal_alignment(square ? fe::DiagonalAlignment_t::TOP_LEFT
                                           : fe::DiagonalAlignment_t::BOTTOM_RIGHT);
  attributes.set_diagonal_band_right_bound(0);
  if (p.window > 0) attributes.set_diagonal_band_left_bound(static_cast<int>(p.window));
  return attributes;
}

void Cudnn::build(const AttentionProblem& p, Plan& plan) {
  fe::graph::Graph& graph = plan.graph;
  graph.set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  const auto q = graph.tensor(heads_of(p.q, "q", kQ));
  const auto k = graph.tensor(heads_of(p.k, "k", kK));
  const auto v = graph.tensor(heads_of(p.v, "v", kV));
  const auto [y, stats] = graph.sdpa(q, k, v, attributes_of(p));
  const auto [batch, tokens, heads, d] = p.q.shape;
  y->set_output(true)
      .set_uid(kY)
      .set_dim({batch, heads, tokens, d})
      .set_stride({tokens * heads * d, d, heads * d, 1});
  auto status = graph.build(handle_, {fe::HeurMode_t::A});
  if (status.is_bad()) {
    plan.refusal = "cuDNN " + std::to_string(cudnnGetVersion()) + ": " + status.get_message();
  } else if (graph.get_workspace_size(plan.workspace).is_bad()) {
    plan.refusal = "cuDNN does not say what memory it needs";
  }
}

std::string_view refuses(const AttentionProblem& p) {
  try {
    return Cudnn::get().plan(p).refusal;
  } catch (const Error& e) {
    static const std::string reason = e.what();
    return reason;
  }
}

void run(const CudnnCall& call) {
  Cudnn::get().run(call);
}

}  // namespace
}  // namespace mopt::compute::cuda

extern "C" __attribute__((visibility("default")))
const mopt::compute::cuda::CudnnPart mopt_cudnn_part;
const mopt::compute::cuda::CudnnPart mopt_cudnn_part{
    MOPT_BUILD_ID " " __VERSION__, mopt::compute::cuda::refuses, mopt::compute::cuda::run};
