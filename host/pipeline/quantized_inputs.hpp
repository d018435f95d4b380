// What a checkpoint's formats make of the inputs of linears and of K and V, while a block runs.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "host/pipeline/checkpoint.hpp"
#include "host/pipeline/on_device.hpp"

namespace mopt::pipeline {

// The copies of one run: siblings (q, k, v) with one format share one.
class QuantizedInputs {
 public:
  // Memory of where the block runs.
  using Take = std::function<std::shared_ptr<std::byte>(int64_t bytes)>;

  // on_device: NULL on the CPU, whose context `cpu` is.
  QuantizedInputs(const mopt_exec* cpu, OnDevice* on_device, Take take)
      : cpu_(cpu), on_(on_device), take_(std::move(take)) {}

  // Whether the plugin makes them on the device; it makes others on the CPU, from a copy.
  static bool made_there(const OnDevice&, const InputFormat&);

  // The value quantized and back, in its type.
  compute::View values(graph::ValueId, const compute::View&, const InputFormat&);
  // The value as codes [rows, columns]; on a device only, and of a format that has them.
  compute::Codes codes(graph::ValueId, const compute::View&, const InputFormat&);
  // Nobody needs the value any longer.
  void forget(graph::ValueId);

 private:
  struct Part {
    std::shared_ptr<std::byte> memory;
    compute::View view;
  };
  struct Copy {
    graph::ValueId value;
    const InputFormat* format;
    Part main;    // values, or codes
    Part scales;  // of codes
  };
  const Copy* known(graph::ValueId, const InputFormat&, DLDataType) const;
  Part make(DLDataType, std::span<const int64_t> shape) const;

  const mopt_exec* cpu_;
  OnDevice* on_;
  Take take_;
  std::vector<Copy> copies_;
};

}  // namespace mopt::pipeline
