// One tensor in a target's memory as plugins see it.
#pragma once

#include "mopt/tensor.hpp"
#include "tests/ops/harness.hpp"

namespace mopt::ops {

class PlacedTensor {
 public:
  PlacedTensor(const Target& target, HostTensor tensor, Role role, int64_t shift)
      : operand_{role, std::move(tensor), shift},
        placed_(target, {&operand_, 1}),
        ref_(placed_.views()[0].data, operand_.tensor.dtype, operand_.tensor.shape) {}
  PlacedTensor(const PlacedTensor&) = delete;
  PlacedTensor& operator=(const PlacedTensor&) = delete;

  DLTensor& tensor(DLDevice device) const { return *ref_.on(device).get(); }
  HostTensor result() const {
    std::string ignored;
    return placed_.results(ignored).at(0);
  }
  // Empty when nothing around it was written to, nor an input itself.
  std::string damage() const {
    std::string found;
    placed_.results(found);
    return found;
  }

 private:
  Operand operand_;
  Placed placed_;
  mutable TensorRef ref_;
};

}  // namespace mopt::ops
