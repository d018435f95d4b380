#include "host/compute/kv_append/kv_append.hpp"

#include <array>

#include "host/compute/device_kernels.hpp"

namespace mopt::compute {
namespace {

constexpr std::array kKernels{Kernel<KvAppendProblem>{
    "kv_append.reference", accept_any<KvAppendProblem>, kv_append_reference}};

void check(const KvAppendProblem& p) {
  require(p.k.ndim == 4 && (is_f32(p.k) || is_bf16(p.k)), "kv_append",
          "keys [B, T, K, D] in f32 or bf16", p.k);
  const auto [batch, t, heads, d] = p.k.shape;
  require(p.v.shape == p.k.shape && same(p.v.dtype, p.k.dtype), "kv_append",
          "values like the keys, " + text(p.k), p.v);
  require(same(p.positions.dtype, kI64) && p.positions.elements() == batch * t, "kv_append",
          std::to_string(batch * t) + " positions in i64", p.positions);
  require(p.keys.ndim == 4 && p.keys.shape[0] == batch && p.keys.shape[1] >= t &&
              p.keys.shape[2] == heads && p.keys.shape[3] == d && same(p.keys.dtype, p.k.dtype),
          "kv_append", "a cache with room for " + text(p.k), p.keys);
  require(p.values.shape == p.keys.shape && same(p.values.dtype, p.keys.dtype), "kv_append",
          "a cache of values like that of the keys, " + text(p.keys), p.values);
}

}  // namespace

void kv_append(const KvAppendProblem& p, const Options& options) {
  check(p);
  if (options.queue != nullptr) return run_on_device(&DeviceKernels::kv_append, p, options);
  run_on_cpu(kKernels, p, options);
}

std::vector<std::string_view> kv_append_kernels() {
  return names(kKernels);
}

}  // namespace mopt::compute
