#include "tests/emulated_device/recording_kernels.hpp"

#include <array>
#include <mutex>
#include <utility>

namespace mopt::compute::test {
namespace {

// A row of a table is plain functions: what they tell is of the process.
std::mutex mutex;
Recorded recorded;

std::string text_of(const LinearCall& p) {
  return "linear " + text(p.x) + " " + text(p.weight) + " " + text(p.y);
}
std::string text_of(const AttentionProblem& p) {
  return "attention " + text(p.q) + " " + text(p.k);
}

void run_reference(const LinearCall& p, Queue& queue) {
  reference_kernels().linear.back().run(p, queue);
}
void run_reference(const AttentionProblem& p, Queue& queue) {
  reference_kernels().attention.back().run(p, queue);
}

template <class Problem>
std::string_view ask(const Problem& p, const DeviceInfo&) {
  const std::lock_guard lock(mutex);
  recorded.asked.push_back(text_of(p));
  return {};
}
template <class Problem>
void run(const Problem& p, Queue& queue) {
  {
    const std::lock_guard lock(mutex);
    recorded.run.push_back(text_of(p));
  }
  run_reference(p, queue);
}

constexpr std::array kLinear{
    DeviceKernel<LinearCall>{"linear.recorded", ask<LinearCall>, run<LinearCall>}};
constexpr std::array kAttention{DeviceKernel<AttentionProblem>{
    "attention.recorded", ask<AttentionProblem>, run<AttentionProblem>}};

}  // namespace

const DeviceKernels& recording_kernels() {
  static const DeviceKernels kernels = [] {
    DeviceKernels made = reference_kernels();
    made.linear = kLinear;
    made.attention = kAttention;
    return made;
  }();
  return kernels;
}

Recorded take_recorded() {
  const std::lock_guard lock(mutex);
  return std::exchange(recorded, {});
}

}  // namespace mopt::compute::test
