// ModelOpt's unified Hugging Face layout as a component.
#pragma once

#include <mutex>
#include <string>

#include "mopt/exporter.hpp"

namespace mopt::hf {

class HfExporter {
 public:
  static constexpr const char* name = "hf";
  static constexpr const char* summary =
      "ModelOpt's unified Hugging Face layout: safetensors, config.json, hf_quant_config.json";
  static constexpr bool concurrent = true;

  void plan(const mopt_param& param, std::span<const mopt_tensor_decl> decls,
            const DeclSink& sink) const;
  // What it emits may share the bytes of `tensors`: they must outlive it.
  void put(const Exec& exec, const mopt_param& param, std::span<const mopt_named_tensor> tensors,
           const TensorSink& sink) const;
  void finish(const mopt_export& job, const TextSink& sink);
  void engines(const mopt_export& job, const VerdictSink& sink);
  void read(const Checkpoint& checkpoint, const ReadSink& sink);
  // The result may share the bytes of `stored`, which must outlive it.
  Tensor unpack(const Exec& exec, const mopt_param& param, std::string_view role,
                const DLTensor& stored) const;

 private:
  // A weight in 128x128 tiles with a cut tile, as plan or read saw it; engines asks for it.
  void note_tiles(const mopt_param& param, int64_t rows, int64_t cols) const;

  mutable std::mutex mutex_;
  mutable std::string uneven_tile_;  // the smallest such name: plan runs in any order
};

}  // namespace mopt::hf
