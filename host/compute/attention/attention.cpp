#include "host/compute/attention/attention.hpp"

#include "host/compute/device_kernels.hpp"

#include <array>

namespace mopt::compute {
namespace {

constexpr std::array kKernels{
    Kernel<AttentionProblem>{"attention.avx512_bf16", attention_avx512_bf16_refuses,
                             attention_avx512_bf16},
    Kernel<AttentionProblem>{"attention.highway", attention_highway_refuses, attention_highway},
    Kernel<AttentionProblem>{"attention.reference", accept_any<AttentionProblem>,
                             attention_reference},
};

void check(const AttentionProblem& p) {
  require(p.q.ndim == 4 && (is_f32(p.q) || is_bf16(p.q)), "attention",
          "queries [B, T, H, D] in f32 or bf16", p.q);
  const auto [batch, t, heads, d] = p.q.shape;
  require(p.k.ndim == 4 && p.k.shape[0] == batch && p.k.shape[1] >= t && p.k.shape[2] > 0 &&
              heads % p.k.shape[2] == 0 && p.k.shape[3] == d && same(p.k.dtype, p.q.dtype),
          "attention",
          "keys of " + std::to_string(batch) + " sequences of at least " + std::to_string(t) +
              " positions, with a divisor of " + std::to_string(heads) + " heads of " +
              std::to_string(d),
          p.k);
  require(p.v.ndim == 4 && p.v.shape == p.k.shape && same(p.v.dtype, p.k.dtype), "attention",
          "values like the keys, " + text(p.k), p.v);
  require(p.y.elements() == p.q.elements() && same(p.y.dtype, p.q.dtype), "attention",
          "an output like " + text(p.q), p.y);
  if (p.positions) {
    require(same(p.positions->dtype, kI64) && p.positions->elements() == batch * t, "attention",
            "positions of " + std::to_string(batch * t) + " queries in i64", *p.positions);
  }
  if (p.window < 0) bad_operands("attention", "expected a window from 0, found a negative one");
}

}  // namespace

void attention(const AttentionProblem& p, const Options& options) {
  check(p);
  if (options.queue != nullptr) return run_on_device(&DeviceKernels::attention, p, options);
  run_on_cpu(kKernels, p, options);
}

std::vector<std::string_view> attention_kernels() {
  return names(kKernels);
}

}  // namespace mopt::compute
