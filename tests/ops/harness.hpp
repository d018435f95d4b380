// The op harness: problems for every op, run by each of its kernels on one device, compared with
// the reference kernel on the CPU, or timed.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "host/compute/device_kernels.hpp"
#include "host/compute/tolerance.hpp"

namespace mopt::ops {

using compute::DeviceKernels;
using compute::Options;
using compute::View;

struct HostTensor {
  DLDataType dtype = kF32;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;

  HostTensor() = default;
  HostTensor(DLDataType type, std::vector<int64_t> extents);
  View view() const { return compute::view_of(bytes.data(), dtype, shape); }
};

enum class Role {
  kIn,
  kOut,    // begins as poison
  kInOut,  // begins with the tensor's bytes, is compared afterwards
};
struct Operand {
  Role role;
  HostTensor tensor;
  int64_t shift = 0;  // elements behind an address aligned to 256 bytes
};

using Run = std::function<void(std::span<const View>, const Options&)>;

struct Case {
  std::string label;
  std::vector<Operand> operands;
  // The op, by its kernel that `Options` forces; operands are memory of the queue's device, if any.
  Run run;
  // On the CPU; empty: `run` with the reference kernel.
  std::function<void(std::span<const View>)> expect;
  // |got - expected| <= relative * |expected| + absolute; both 0: the same bits, or NaN in both.
  float relative = 0, absolute = 0;
  // In place of that: empty when `got` will do. Both hold the operands that are not inputs.
  std::function<std::string(std::span<const HostTensor> got, std::span<const HostTensor> expected)>
      judge;
  double bytes = 0, flops = 0;  // moved and done at least; for timing
};
using Emit = std::function<void(Case)>;

enum class Extent { kEmulated, kQuick, kUsual };

struct Problems {
  Extent extent = Extent::kUsual;
  uint64_t seed = 1;
};

struct Op {
  std::string_view name;
  // Names of kernels, fastest first; empty: it does not run there.
  std::vector<std::string_view> (*on_cpu)();
  std::vector<std::string_view> (*on_device)(const DeviceKernels&);
  void (*problems)(const Problems&, const Emit&);
  void (*layer)(const Emit&);  // of an 8B model, for timing
};
std::span<const Op> all_ops();

// Where kernels run.
struct Target {
  std::string name = "cpu";
  compute::Queue* queue = nullptr;  // NULL: the CPU
};

// ---- tensors -----------------------------------------------------------------------------------

enum class Content {
  kNoise,      // in (-1, 1)
  kSpecial,    // noise with NaN, infinities, zeros of both signs, huge and subnormal numbers
  kNotFinite,  // noise with NaN and infinities
  kLarge,      // up to 1e16
  kSmall,      // down to 1e-30
};
struct Fill {
  Content content = Content::kNoise;
  uint64_t seed = 1;
  float scale = 1;
  int64_t rarity = 29;  // one special number among so many
};
// Of a type of floats, or e4m3, which has no infinity: 448 stands for it.
HostTensor filled(DLDataType, std::vector<int64_t> shape, const Fill&);
// Whole numbers of [0, end).
HostTensor indices(std::vector<int64_t> shape, int64_t end, uint64_t seed);
HostTensor zeros(DLDataType, std::vector<int64_t> shape);
float value_at(const HostTensor&, int64_t i);
std::string_view name_of(Content);

// Empty, or what is wrong with the worst element.
std::string compare(const HostTensor& got, const HostTensor& expected, float relative,
                    float absolute);

// ---- running -----------------------------------------------------------------------------------

// Operands in memory of a target, with a guard on both sides.
class Placed {
 public:
  Placed(const Target&, std::span<const Operand>);
  std::span<const View> views() const { return views_; }
  // Waits for the target. Operands that are not inputs; an input that changed or a guard that was
  // written to goes into `damage`.
  std::vector<HostTensor> results(std::string& damage) const;

 private:
  Target target_;
  std::vector<Operand> operands_;
  std::vector<compute::Buffer> memory_;
  std::vector<View> views_;
};

std::vector<HostTensor> expected_of(const Op&, const Case&);
// Empty, or why `got` is not what the case expects.
std::string judge(const Case&, std::span<const HostTensor> got,
                  std::span<const HostTensor> expected);

struct Selection {
  std::string op, kernel;  // empty: all
};

struct Score {
  int64_t passed = 0, failed = 0, refused = 0;
};

}  // namespace mopt::ops
