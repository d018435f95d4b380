#include "hf_exporter.hpp"

#include "engines.hpp"
#include "layout.hpp"
#include "metadata.hpp"
#include "reader.hpp"

namespace mopt::hf {

void HfExporter::note_tiles(const mopt_param& param, int64_t rows, int64_t cols) const {
  if (kind_of(param.weight) != Kind::kFp8Tile || (rows % 128 == 0 && cols % 128 == 0)) return;
  const std::string name(view(param.name));
  const std::lock_guard lock(mutex_);
  if (uneven_tile_.empty() || name < uneven_tile_) uneven_tile_ = name;
}

void HfExporter::plan(const mopt_param& param, std::span<const mopt_tensor_decl> decls,
                      const DeclSink& sink) const {
  if (param.weight != nullptr) algorithm(*param.weight, param.input);
  if (param.kv != nullptr) kv_algorithm(*param.kv);
  for (const mopt_tensor_decl& decl : decls) {
    const std::span<const int64_t> extents(decl.shape, static_cast<size_t>(decl.ndim));
    const Stored to = stored(param, view(decl.name), decl.dtype, extents);
    if (view(decl.name) == MOPT_ROLE_PAYLOAD && extents.size() == 2) {
      note_tiles(param, extents[0], extents[1]);
    }
    sink.put(to.name, to.dtype, to.shape);
  }
}

void HfExporter::put(const Exec& exec, const mopt_param& param,
                     std::span<const mopt_named_tensor> tensors, const TensorSink& sink) const {
  for (const mopt_named_tensor& tensor : tensors) {
    const std::string_view role = view(tensor.name);
    const Stored to = stored(param, role, tensor.tensor->dtype, shape(*tensor.tensor));
    sink.put(to.name, pack(exec, param, role, *tensor.tensor));
  }
}

void HfExporter::finish(const mopt_export& job, const TextSink& sink) {
  const Json config = parse_config(view(job.config));
  const Description description = describe(job, config);
  if (!description.empty()) {
    sink.put("hf_quant_config.json", json_text(hf_quant_config(description), 4));
  }
  if (config.is_null()) return;
  sink.put("config.json", description.empty() ? std::string(view(job.config))
                                              : config_text(job, config, description));
  const std::string generation = generation_config_text(config);
  if (!generation.empty()) sink.put("generation_config.json", generation);
}

void HfExporter::engines(const mopt_export& job, const VerdictSink& sink) {
  const Description description = describe(job, parse_config(view(job.config)));
  for (const Verdict& v : verdicts(description, uneven_tile_)) {
    sink.put(v.engine, v.verdict, v.reason);
  }
}

void HfExporter::read(const Checkpoint& checkpoint, const ReadSink& sink) {
  read_checkpoint(checkpoint, {sink, [this](const mopt_param& param, int64_t rows, int64_t cols) {
                                 note_tiles(param, rows, cols);
                               }});
}

Tensor HfExporter::unpack(const Exec& exec, const mopt_param& param, std::string_view role,
                          const DLTensor& stored) const {
  return hf::unpack(exec, param, role, stored);
}

}  // namespace mopt::hf
