// An open model, a source or something we wrote: its tensors, configuration, graph, and how its
// quantized parameters are stored.
#pragma once

#include <deque>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "host/compute/linear/linear.hpp"
#include "host/graph/adapt.hpp"
#include "host/loader/container.hpp"
#include "host/recipe/diagnostic.hpp"
#include "host/text/tokenizer.hpp"

namespace mopt::pipeline {

// A parameter as a kernel takes it: owned, or borrowed from the container's map.
struct ParamData {
  compute::View view;
  Tensor owned;
};

using CodeScales = compute::CodesProblem::Scales;

// What happens to a linear's input, or to K and V, at run time: first scaled per channel, then
// quantized.
struct InputFormat {
  const Quantizer* quantizer = nullptr;  // NULL: it is only scaled
  mopt_operand operand = MOPT_OPERAND_INPUT;
  std::optional<float> scale;    // absent: dynamic
  std::vector<float> pre_scale;  // per channel; empty: none
  // Absent: there are no codes of it for a product of codes. Else which scales those have.
  std::optional<CodeScales> codes;
};

// A weight as a product of codes takes it: E4M3 [N, K], with one scale or one for each row.
struct WeightCodes {
  Tensor codes;
  std::vector<float> scales;
};

// Where the factors that a smoothed layer (AWQ, SmoothQuant) applies to its input go.
enum class PreScale {
  kFolded,  // into the weight's columns: the matrix that the layer stands for
  kApart    // nowhere: input_format() has them
};

class Checkpoint {
 public:
  // adapter: "auto", "none", or a component. With "none" there is no graph, until build_graph is
  // called. Throws Failure.
  static std::unique_ptr<Checkpoint> open(const Registry&, const std::filesystem::path&,
                                          std::string_view adapter = "auto");

  void build_graph(std::string_view adapter);

  const Registry& registry() const { return registry_; }
  const Container& container() const { return container_; }
  const graph::ModelConfig* config() const { return config_ ? &*config_ : nullptr; }
  const graph::Model* graph() const { return graph_ ? &*graph_ : nullptr; }
  const graph::Model& required_graph() const;
  // The type that most of its matrices are stored in; BF16 for a quantized checkpoint's.
  DLDataType dtype() const { return dtype_; }
  bool quantized() const { return !stored_.empty(); }
  const ReadResult& description() const { return description_; }
  const StoredParam* stored(std::string_view parameter) const;
  int64_t parameter_count() const;
  uint64_t bytes() const;

  // A parameter in `dtype` (bf16 or f32), dequantized when it is stored quantized.
  ParamData load(const std::string& parameter, DLDataType dtype,
                 PreScale pre_scale = PreScale::kFolded) const;
  // Which scales the codes of a weight have, where it is stored as a product of codes takes it.
  std::optional<CodeScales> code_scales(const std::string& parameter) const;
  WeightCodes codes(const std::string& parameter) const;
  void release(const std::string& parameter) const;
  void prefetch(const std::string& parameter) const;
  // What an engine does to the input of the linear with this weight; nullopt: nothing.
  std::optional<InputFormat> input_format(const std::string& weight) const;
  // What happens to K (role attn.k) or V (attn.v) of the layer that this weight belongs to.
  std::optional<InputFormat> kv_format(const std::string& weight) const;

  // Throws Failure D106 when the checkpoint has none.
  const text::Tokenizer& tokenizer() const;
  std::vector<int64_t> eos_ids() const;
  std::optional<int64_t> bos_id() const;

 private:
  Checkpoint(const Registry& registry, Container container)
      : registry_(registry), container_(std::move(container)) {}
  void read_description();
  Diagnostic graph_fault(std::string code, const Error&) const;
  // `parameter`: for messages.
  const Quantizer& quantizer_for(const mopt_scheme&, const std::string& parameter) const;
  float scalar(const std::string& tensor) const;
  std::vector<float> pre_scale(const StoredParam&) const;
  std::vector<NamedTensor> weight_parts(const StoredParam&) const;
  Tensor dequantize(const StoredParam&, DLDataType) const;

  const Registry& registry_;
  Container container_;
  std::optional<graph::ModelConfig> config_;
  std::optional<graph::Model> graph_;
  std::optional<Exporter> layout_;
  ReadResult description_;
  std::unordered_map<std::string, const StoredParam*> stored_;
  DLDataType dtype_ = kBf16;
  // Filled on first use, from one thread at a time.
  // References that were given out stay valid.
  mutable std::deque<std::pair<mopt_scheme, Quantizer>> quantizers_;
  mutable std::optional<text::Tokenizer> tokenizer_;
};

// What a plugin or container says about the model at `file`, with its code (M101 to M107, M207).
Diagnostic model_fault(const std::string& file, const Error&);

// Runs fn; a mopt::Error of a plugin or container becomes a Failure about the model (M101 to M108).
void as_model_failure(const std::string& file, const std::function<void()>& fn);

}  // namespace mopt::pipeline
