// The plan: every decision before a weight is read. What happens to each tensor and why, in which
// order it is done, what it will be called, and what it will cost. A plain value.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "host/graph/graph.hpp"
#include "host/loader/container.hpp"
#include "host/recipe/recipe.hpp"

namespace mopt::plan {

// A [format.ID] of the recipe, ready to use.
struct Format {
  std::string id;
  Quantizer quantizer;
  std::optional<mopt_scheme> weight, input, kv;  // nullopt: it cannot hold this operand
};

// Declarations that items of one shape have in common; never changed, so sharing cannot be seen.
class Parts {
 public:
  Parts() = default;
  explicit Parts(DeclList list) : list_(std::make_shared<const DeclList>(std::move(list))) {}
  const DeclList& list() const {
    static const DeclList kNone;
    return list_ == nullptr ? kNone : *list_;
  }
  size_t size() const { return list().size(); }
  auto begin() const { return list().begin(); }
  auto end() const { return list().end(); }
  DeclView operator[](size_t i) const { return list()[i]; }

 private:
  std::shared_ptr<const DeclList> list_;  // NULL: none
};

// Keeps what is said of many items; its strings stay where they are when it is moved.
class Reasons {
 public:
  Reasons() = default;
  Reasons(Reasons&&) = default;
  Reasons& operator=(Reasons&&) = default;
  std::string_view keep(std::string text) { return *texts_.insert(std::move(text)).first; }

 private:
  std::unordered_set<std::string> texts_;
};

enum class Outcome { kCopied, kQuantized, kTransformed, kDropped };

constexpr int kNoFormat = -1;

// A tensor of the source and what becomes of it.
struct Item {
  std::string name;    // in the output; an untied head has a name of its own
  std::string source;  // in the source
  mopt_param_kind kind = MOPT_PARAM_OTHER;
  std::string role, fuse_group;
  DLDataType dtype{};
  std::vector<int64_t> shape;
  int layer = -1;
  Outcome outcome = Outcome::kCopied;
  std::string rule;  // id of the rule that decided, or the name of a built-in one; may be empty
  std::string_view reason;  // why it is as it is, for people; kept by the plan
  int weight = kNoFormat, input = kNoFormat, kv = kNoFormat;  // index into Plan::formats
  bool pruned = false;
  bool known = false;  // the graph computes with it
  Parts parts;         // by role, as the quantizer and the host make them
  DeclList outputs;    // as the exporter names and packs them

  int64_t rows() const { return shape.empty() ? 1 : shape[0]; }
  int64_t cols() const { return shape.size() < 2 ? 1 : shape[1]; }
  uint64_t bytes() const { return mopt_nbytes(static_cast<uint64_t>(elements(shape)), dtype); }
  // Its bytes go from the source to the output as they are, and nothing else is made of it.
  bool plain_copy() const { return outcome == Outcome::kCopied && parts.size() <= 1; }
  // Its values are worked on, not only passed on or left out.
  bool worked_on() const { return outcome != Outcome::kDropped && outcome != Outcome::kCopied; }
};

// What is read, solved, encoded, written and journaled together.
struct Unit {
  std::string name;  // "decoder.3", "rest"
  int block = -1;    // of the graph; -1: none
  std::vector<size_t> items;
};

// A range to be calibrated: a layer's input, or K or V.
struct Site {
  std::string name;  // "model.layers.3.self_attn.q_proj:input"
  std::string role;
  size_t item = 0;
  mopt_operand operand = MOPT_OPERAND_INPUT;
  const mopt_scheme* scheme = nullptr;
  graph::ValueId value = 0;  // what to observe
  int block = -1;
  int64_t channels = 0;
  std::vector<std::vector<std::string>> stats;  // what each calibrator asked for
};

struct Cost {
  uint64_t peak_memory = 0, block_memory = 0;
  uint64_t output_bytes = 0, scratch_bytes = 0;
  double seconds = 0;
};

struct Plan {
  std::vector<std::shared_ptr<const Format>> formats;  // shared with the run that carries it out
  std::vector<Item> items;                             // in the order of the model
  Reasons reasons;                                     // the items' reasons
  std::vector<Unit> units;
  std::vector<Site> sites;
  int last_forward_block = -1;  // blocks up to this one are run on the calibration rows; -1: none
  int kv = kNoFormat;
  bool untied_head = false;
  Cost cost;
  std::vector<EngineVerdict> engines;
  std::vector<Diagnostic> warnings;

  bool needs_data() const { return last_forward_block >= 0; }
  // Every tensor that will be written, in the order of the units.
  std::vector<TensorDecl> outputs() const;
  // The same, borrowed from the items.
  std::vector<mopt_tensor_decl> declarations() const;
};

// A parameter as the exporter is told of it; borrows from both.
mopt_param abi_param(const Plan&, const Item&);
// All of them, for the exporter's finish and engines; valid as long as `plan` and `config` are.
struct ExportJob {
  std::vector<mopt_param> params;
  mopt_export abi{};
};
void fill_export_job(ExportJob&, const Plan&, std::string_view config);

struct PlanInput {
  const Recipe& recipe;
  const Registry& registry;
  const Container& source;
  const graph::Model* graph = nullptr;  // NULL: adapter = "none"
  std::string_view config;              // config.json of the source
  DLDataType activations = kBf16;       // of a forward through it
  int threads = 1;
  uint64_t resident_bytes = 0;  // of this process, with all that was opened for the plan
};

// Throws Failure with everything that is wrong at this stage: rules that match nothing, tensors
// that a format cannot hold, groups that rules split, data that is needed but not given.
Plan make_plan(const PlanInput&, Exporter&, std::vector<Calibrator>&, Pruner*);

}  // namespace mopt::plan
