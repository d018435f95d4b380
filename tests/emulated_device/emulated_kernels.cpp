#include "tests/emulated_device/emulated_kernels.hpp"

#include "host/compute/cuda/kernels.hpp"
#include "tests/emulated_device/operands.hpp"

namespace mopt::compute {
namespace cuda {

void emulate(Queue& queue, std::function<void()> work) {
  test::emulated_queue(queue).submit(std::move(work));
}

std::string_view linear_cublaslt_refuses(const LinearCall&, const DeviceInfo&) {
  return "cuBLASLt runs on a device only";
}
void linear_cublaslt(const LinearCall&, Queue&) {
  throw Error(MOPT_INTERNAL, "cuBLASLt was called although it refuses");
}
std::string_view attention_cudnn_refuses(const AttentionProblem&, const DeviceInfo&) {
  return "cuDNN runs on a device only";
}
void attention_cudnn(const AttentionProblem&, Queue&) {
  throw Error(MOPT_INTERNAL, "cuDNN was called although it refuses");
}

}  // namespace cuda

namespace test {
namespace {

constexpr size_t kMostRows = 4;

// Rows of kTable that look at their operands first.
template <auto kTable>
struct Checked;
template <class Problem, DeviceRows<Problem> DeviceKernels::*kTable>
struct Checked<kTable> {
  template <size_t kRow>
  static void run(const Problem& problem, Queue& queue) {
    require_on_device(problem, queue);
    (cuda::cuda_kernels().*kTable)[kRow].run(problem, queue);
  }
  static DeviceRows<Problem> rows() {
    static const std::vector<DeviceKernel<Problem>> made =
        make(std::make_index_sequence<kMostRows>());
    return made;
  }
  template <size_t... kRow>
  static std::vector<DeviceKernel<Problem>> make(std::index_sequence<kRow...>) {
    const auto table = cuda::cuda_kernels().*kTable;
    if (table.size() > kMostRows) throw Error(MOPT_INTERNAL, "a table has more rows than expected");
    constexpr std::array<void (*)(const Problem&, Queue&), kMostRows> kRuns{run<kRow>...};
    std::vector<DeviceKernel<Problem>> out(table.begin(), table.end());
    for (size_t i = 0; i < out.size(); ++i)
      out[i].run = kRuns[i];
    return out;
  }
};

}  // namespace

const DeviceKernels& emulated_kernels() {
  using K = DeviceKernels;
  static const DeviceKernels kernels{
      Checked<&K::activation>::rows(),  Checked<&K::attention>::rows(),
      Checked<&K::cast>::rows(),        Checked<&K::divergence>::rows(),
      Checked<&K::elementwise>::rows(), Checked<&K::embedding>::rows(),
      Checked<&K::gate>::rows(),        Checked<&K::kv_append>::rows(),
      Checked<&K::linear>::rows(),      Checked<&K::nll>::rows(),
      Checked<&K::range>::rows(),       Checked<&K::rms_norm>::rows(),
      Checked<&K::rope>::rows(),        Checked<&K::squared_error>::rows()};
  return kernels;
}

}  // namespace test
}  // namespace mopt::compute
