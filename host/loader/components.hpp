// The host's side of each interface: an instance that is destroyed with its wrapper, errors as
// exceptions, tensors with owners.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "host/loader/decl_list.hpp"
#include "host/loader/registry.hpp"
#include "mopt/mopt.h"
#include "mopt/quantizer.hpp"

namespace mopt {

// A tensor under a role or name.
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

// A component's instance with its function table.
template <class Table>
class Instance {
 public:
  Instance() = default;
  Instance(const Table* table, mopt_instance* self, void (*destroy)(mopt_instance*) noexcept)
      : table_(table), self_(self, Destroy{destroy}) {}
  explicit operator bool() const { return self_ != nullptr; }
  const Table& table() const { return *table_; }
  mopt_instance* self() const { return self_.get(); }

 private:
  struct Destroy {
    void (*destroy)(mopt_instance*) noexcept = nullptr;
    void operator()(mopt_instance* self) const { destroy(self); }
  };
  const Table* table_ = nullptr;
  std::unique_ptr<mopt_instance, Destroy> self_;
};

template <class Table>
const Table* table_of(const Component& c) {
  const auto* table = static_cast<const Table*>(c.entry->vtable);
  if (table->struct_size < sizeof(Table)) {
    throw Error(MOPT_ABI_MISMATCH, "its function table is too short; rebuild it against this SDK",
                c.file.string());
  }
  return table;
}

// Throws INTERNAL when a plugin said that it made an instance and made none.
inline void require_instance(const mopt_instance* self, const Component& c) {
  if (self != nullptr) return;
  throw Error(MOPT_INTERNAL,
              "component '" + std::string(c.name()) +
                  "' made no instance and gave no reason; report it to its author",
              c.file.string());
}

template <class Table>
Instance<Table> create_instance(const Registry& registry, const Component& c,
                                std::span<const mopt_setting> settings) {
  const Table* table = table_of<Table>(c);
  mopt_instance* self = nullptr;
  check(table->create(registry.services().host(), settings.data(), settings.size(), &self));
  require_instance(self, c);
  return Instance<Table>(table, self, table->destroy);
}

class Quantizer {
 public:
  Quantizer() = default;
  Quantizer(const Registry&, const Component&, std::span<const mopt_setting>);
  // The first loaded quantizer that knows the scheme; empty optional when none does.
  static std::optional<Quantizer> open(const Registry&, const mopt_scheme&);

  std::optional<mopt_scheme> scheme(mopt_operand) const;  // nullopt: it cannot hold this operand
  // Whether it works on tensors of such a device. On the CPU every one does.
  bool serves(DLDeviceType device) const {
    return device == kDLCPU || (device == kDLCUDA && (flags_ & MOPT_SERVES_CUDA) != 0);
  }
  DeclList plan(const mopt_weight_view&) const;
  std::vector<NamedTensor> quantize(const mopt_exec*, const mopt_weight_job&) const;
  void dequantize(const mopt_exec*, const mopt_qtensor&, DLTensor* out) const;
  float input_scale(mopt_operand, float absmax) const;
  void quantize_input(const mopt_exec*, mopt_operand, const DLTensor* x, const float* scale,
                      DLTensor* out) const;
  // Whether it has codes of the inputs that it quantizes.
  bool encodes_inputs() const { return (flags_ & MOPT_ENCODES_INPUTS) != 0; }
  void encode_input(const mopt_exec*, const DLTensor* x, const float* scale, DLTensor* codes,
                    DLTensor* scales) const;

 private:
  Instance<mopt_quantizer> instance_;
  mopt_component_flags flags_ = 0;
};

class Calibrator {
 public:
  Calibrator(const Registry&, const Component&, std::span<const mopt_setting>);
  std::vector<std::string> plan(const mopt_site&);
  float solve(const mopt_exec*, const mopt_site&, std::span<const mopt_named_tensor> stats);

 private:
  Instance<mopt_calibrator> instance_;
};

class Pruner {
 public:
  Pruner(const Registry&, const Component&, std::span<const mopt_setting>);
  void plan(const mopt_weight_view&) const;
  Tensor mask(const mopt_exec*, const mopt_weight_job&) const;  // u8 [rows, cols]

 private:
  Instance<mopt_pruner> instance_;
};

// A finding of an exporter about a checkpoint.
struct CheckpointProblem {
  mopt_severity severity;
  std::string code, file, tensor, message, remedy;
};

// A quantized parameter of a checkpoint that is read back.
struct StoredParam {
  std::string name, role, fuse_group;
  std::optional<mopt_scheme> weight, input,
      kv;  // their names live as long as the exporter's plugin
  int64_t rows = 0, cols = 0;
  std::map<std::string, std::string> roles;  // role -> stored tensor
  mopt_param_kind kind = MOPT_PARAM_LINEAR;
  mopt_param to_abi() const;  // borrows from this
};

struct ReadResult {
  std::vector<StoredParam> params;
  std::vector<CheckpointProblem> problems;
};

struct EngineVerdict {
  std::string engine, verdict, reason;
};

class Exporter {
 public:
  Exporter(const Registry&, const Component&, std::span<const mopt_setting>);
  DeclList plan(const mopt_param&, const DeclList& by_role) const;
  std::vector<NamedTensor> put(const mopt_exec*, const mopt_param&,
                               std::span<const mopt_named_tensor> by_role) const;
  std::map<std::string, std::string> finish(const mopt_export&);  // file name -> text
  std::vector<EngineVerdict> engines(const mopt_export&);
  ReadResult read(std::span<const mopt_tensor_decl> tensors,
                  const std::function<std::string_view(std::string_view)>& document);
  Tensor unpack(const mopt_exec*, const mopt_param&, std::string_view role, const DLTensor*) const;

 private:
  Instance<mopt_exporter> instance_;
};

}  // namespace mopt
