// The list of ops: one entry each.
#include <array>
#include <cmath>
#include <cstring>

#include "host/compute/absmax/absmax.hpp"
#include "tests/ops/problems.hpp"

namespace mopt::ops {
namespace {

using Names = std::vector<std::string_view>;

Names nowhere() {
  return {};
}
Names nowhere_on_device(const DeviceKernels&) {
  return {};
}
template <auto kTable>
Names of_device(const DeviceKernels& kernels) {
  return compute::names(kernels.*kTable);
}

using K = DeviceKernels;
constexpr std::array kOps{
    Op{"absmax", compute::absmax_kernels, nowhere_on_device, absmax_problems, absmax_layer},
    Op{"activation", compute::activation_kernels, of_device<&K::activation>, activation_problems,
       activation_layer},
    Op{"attention", compute::attention_kernels, of_device<&K::attention>, attention_problems,
       attention_layer},
    Op{"cast", compute::cast_kernels, of_device<&K::cast>, cast_problems, cast_layer},
    Op{"divergence", compute::divergence_kernels, of_device<&K::divergence>, divergence_problems,
       divergence_layer},
    Op{"elementwise", compute::elementwise_kernels, of_device<&K::elementwise>,
       elementwise_problems, elementwise_layer},
    Op{"embedding", compute::embedding_kernels, of_device<&K::embedding>, embedding_problems,
       embedding_layer},
    Op{"gate", compute::gate_kernels, of_device<&K::gate>, gate_problems, gate_layer},
    Op{"kv_append", compute::kv_append_kernels, of_device<&K::kv_append>, kv_append_problems,
       kv_append_layer},
    Op{"linear", compute::linear_kernels, of_device<&K::linear>, linear_problems, linear_layer},
    Op{"nll", compute::nll_kernels, of_device<&K::nll>, nll_problems, nll_layer},
    Op{"range", nowhere, of_device<&K::range>, range_problems, range_layer},
    Op{"rms_norm", compute::rms_norm_kernels, of_device<&K::rms_norm>, rms_norm_problems,
       rms_norm_layer},
    Op{"rope", compute::rope_kernels, of_device<&K::rope>, rope_problems, rope_layer},
    Op{"squared_error", nowhere, of_device<&K::squared_error>, squared_error_problems,
       squared_error_layer},
};

}  // namespace

std::span<const Op> all_ops() {
  return kOps;
}

std::vector<int64_t> awkward_columns(Extent extent) {
  if (extent != Extent::kUsual) return {0, 1, 3, 17, 4097};
  return {0, 1, 3, 17, 4095, 4097, 128256};
}

std::string Label::text() const {
  std::string out(what);
  if (!out.empty()) out += " ";
  out += dtype_name(dtype) + " " + shape_text(shape) + " " + std::string(name_of(content));
  if (shift != 0) out += " shifted by " + std::to_string(shift);
  return out;
}

void set_tolerance(Case& c, std::string_view op, DLDataType dtype, float scale) {
  const compute::Tolerance t = compute::tolerance(op, dtype);
  c.relative = t.relative;
  c.absolute = t.absolute * scale;
}

std::string judge_range(const HostTensor& got, const HostTensor& expected) {
  const auto found = [](const HostTensor& t) {
    std::vector<uint32_t> parts(t.bytes.size() / 4);
    std::memcpy(parts.data(), t.bytes.data(), t.bytes.size());
    return compute::range_of(parts);
  };
  const compute::RangeFound a = found(got), b = found(expected);
  const bool equal = a.absmax == b.absmax || (std::isnan(a.absmax) && std::isnan(b.absmax));
  if (equal && a.seen == b.seen) return {};
  return "a range of " + std::to_string(a.absmax) + ", expected " + std::to_string(b.absmax);
}

double all_bytes(const Case& c) {
  double bytes = 0;
  for (const Operand& operand : c.operands)
    bytes += static_cast<double>(operand.tensor.bytes.size());
  return bytes;
}

void emit_layer(const Emit& emit, Case c, const std::string& label, double flops) {
  c.label = label;
  c.flops = flops;
  if (c.bytes == 0) c.bytes = all_bytes(c);
  emit(std::move(c));
}

}  // namespace mopt::ops
