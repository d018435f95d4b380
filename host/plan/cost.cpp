#include "host/plan/cost.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "host/plan/forward_cost.hpp"

namespace mopt::plan {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
// Rates of two cores with AVX-512, rounded down; see tests/bench.
constexpr double kEncodeBytesPerSecond = 1e9, kFlopsPerSecond = 3e11;
// Code and small blocks that come with the first block, and with the first forward.
constexpr uint64_t kLoopBytes = 7 * kMiB / 2, kForwardBytes = 4 * kMiB;
// The records of an item: journal, ledger, report.
constexpr uint64_t kRecordBytes = 2 << 10;

uint64_t window(uint64_t bytes) {
  return std::min(bytes, kWindowBytes);
}

uint64_t sum_of_largest(std::vector<uint64_t> bytes, int count) {
  const size_t n = std::min(bytes.size(), static_cast<size_t>(count));
  std::partial_sort(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n), bytes.end(),
                    std::greater<>());
  uint64_t sum = 0;
  for (size_t i = 0; i < n; ++i)
    sum += bytes[i];
  return sum;
}

// Of each thread while a unit's tensors are hashed and searched.
uint64_t scan_memory(const PlanInput& in, const Plan& plan, const Unit& unit) {
  std::vector<uint64_t> windows;
  for (const size_t i : unit.items) {
    const Item& item = plan.items[i];
    const bool plain = in.source.find(item.source)->plain;
    windows.push_back(window(item.bytes()) * (plain ? 1 : 2));
  }
  return sum_of_largest(std::move(windows), in.threads);
}

// An exporter passes on what it stores as it is; what it rearranges has other rows.
bool is_rearranged(const Item& item, size_t part) {
  if (item.outputs.size() != item.parts.size()) return false;
  const auto &from = item.parts[part].shape, &to = item.outputs[part].shape;
  return !from.empty() && !to.empty() && from[0] != to[0];
}

// While one tensor is encoded: its source, its parts, and what its errors are measured on.
uint64_t encode_memory(const Plan& plan, const Item& item) {
  if (item.outcome == Outcome::kDropped) return 0;
  if (item.plain_copy()) return window(item.bytes());
  uint64_t held = item.bytes(), packed = 0;
  if (item.pruned) held += item.bytes() + static_cast<uint64_t>(elements(item.shape));
  for (size_t i = 0; i < item.parts.size(); ++i) {
    if (item.outcome == Outcome::kQuantized) held += item.parts[i].bytes();
    if (is_rearranged(item, i)) packed += item.parts[i].bytes();
  }
  const bool measured = item.outcome == Outcome::kQuantized && plan.needs_data();
  return held + std::max(packed, measured ? 3 * window(item.bytes()) : 0);
}

// What a thread keeps for pieces of dequantized weights.
uint64_t piece_memory(const Plan& plan) {
  uint64_t bytes = 0;
  for (const Item& item : plan.items) {
    if (item.outcome == Outcome::kQuantized)
      bytes = std::max(bytes, static_cast<uint64_t>(elements(item.shape)) * sizeof(float));
  }
  return std::min(bytes, kCacheBytes);
}

uint64_t encode_memory(const Plan& plan, const Unit& unit) {
  uint64_t peak = 0;
  for (const size_t i : unit.items)
    peak = std::max(peak, encode_memory(plan, plan.items[i]));
  return peak;
}

// Each thread passes over a tensor of the output; later one copied tensor is compared with its
// source.
uint64_t verify_memory(const PlanInput& in, const Plan& plan) {
  std::vector<uint64_t> windows;
  uint64_t compared = 0;
  for (const Item& item : plan.items) {
    for (const DeclView out : item.outputs)
      windows.push_back(window(out.bytes()));
    if (item.outcome == Outcome::kCopied || item.outcome == Outcome::kTransformed)
      compared = std::max(compared, 2 * window(item.bytes()));
  }
  return std::max(compared, sum_of_largest(std::move(windows), in.threads));
}

// Side files that a container keeps inside itself (GGUF: the tokenizer) are written as text of
// their own: bytes while they are made, and afterwards.
struct Texts {
  uint64_t peak = 0, kept = 0;
};

Texts text_memory(const Container& source) {
  namespace fs = std::filesystem;
  constexpr const char* kSmallest = "tokenizer_config.json";
  std::error_code failed;
  if (fs::is_directory(source.path(), failed) ||
      fs::exists(source.path().parent_path() / kSmallest, failed) ||
      source.document(kSmallest).empty() || source.tensors().empty()) {
    return {};
  }
  uint64_t head = UINT64_MAX;
  for (const StoredTensor& t : source.tensors())
    head = std::min(head, t.offset);
  // Measured with vocabularies of 49,152 tokens: the tree that the text is made from takes as much
  // as the text.
  return {head * 13 / 2, head * 10 / 3};
}

// Rows of their inputs that each block's layers are measured on, bytes.
std::map<int, uint64_t> sample_memory(const PlanInput& in, const Plan& plan) {
  std::set<std::pair<int, graph::ValueId>> seen;
  std::map<int, uint64_t> bytes;
  for (const Site& site : plan.sites) {
    if (!seen.emplace(site.block, site.value).second) continue;
    bytes[site.block] +=
        mopt_nbytes(static_cast<uint64_t>(kSampleTokens * site.channels), in.activations);
  }
  return bytes;
}

uint64_t unit_bytes(const Plan& plan, const Unit& unit) {
  uint64_t bytes = 0;
  for (const size_t i : unit.items)
    bytes += plan.items[i].bytes();
  return bytes;
}

// The whole model in the kernels' layout, with the keys and values of a batch.
uint64_t own_text_memory(const PlanInput& in, int64_t samples, int64_t tokens) {
  const graph::Model& model = *in.graph;
  const auto rows = static_cast<uint64_t>(std::min(samples, kSelfTextRows));
  const ForwardEnd all{model.blocks.size() - 1, {}};
  uint64_t weights = 0, peak = 0;
  for (size_t b = 0; b < model.blocks.size(); ++b) {
    const BlockWeights block = block_weights(model, in.source, b, in.activations, all);
    peak = std::max(peak, weights + block.peak);
    weights += block.prepared;
  }
  const ForwardMemory step =
      forward_memory(model, {static_cast<int64_t>(rows), 1, in.threads, in.activations}, all)
          .back();
  const auto vocabulary = static_cast<uint64_t>(
      std::max<int64_t>(0, model.values[model.outputs.find("logits")->second].dims.back()));
  const uint64_t logits = rows * vocabulary * (sizeof(float) + mopt_nbytes(1, in.activations)) +
                          static_cast<uint64_t>(in.threads) * vocabulary * sizeof(float);
  const uint64_t caches =
      rows * static_cast<uint64_t>(tokens) * cache_bytes_per_token(model, in.activations);
  return std::max(peak, weights + caches + logits + step.held);
}

// What is held while blocks are run and encoded.
struct Loop {
  uint64_t peak = 0, block = 0, saved = 0;
};

// The forward that calibrates: its last block is run up to what is observed.
ForwardEnd calibration_end(const Plan& plan) {
  ForwardEnd end{static_cast<size_t>(plan.last_forward_block), {}};
  for (const Site& site : plan.sites) {
    if (site.block == plan.last_forward_block) end.values.push_back(site.value);
  }
  return end;
}

Loop loop_memory(const PlanInput& in, const Plan& plan) {
  Loop out;
  ForwardEnd end;
  std::vector<ForwardMemory> forward;
  if (plan.needs_data()) {
    const Calibration& c = *in.recipe.calibration;
    end = calibration_end(plan);
    forward = forward_memory(*in.graph,
                             {c.samples.value, c.seq_len.value, in.threads, in.activations}, end);
  }
  std::map<int, uint64_t> samples = sample_memory(in, plan);
  uint64_t held = 0;  // by the forward so far
  for (const Unit& unit : plan.units) {
    uint64_t work = std::max(scan_memory(in, plan, unit), encode_memory(plan, unit));
    if (unit.block >= 0 && unit.block <= plan.last_forward_block) {
      const auto block = static_cast<size_t>(unit.block);
      const BlockWeights weights = block_weights(*in.graph, in.source, block, in.activations, end);
      out.peak = std::max(out.peak, held + weights.peak);
      held = forward[block].held;
      work = std::max(work, weights.prepared) + samples[unit.block];
      out.saved = std::max(out.saved, forward[block].live);
      out.block = std::max(out.block, weights.peak);
    }
    out.block = std::max(out.block, work);
    out.peak = std::max(out.peak, held + work);
  }
  return out;
}

}  // namespace

bool writes_own_text(const Recipe& recipe) {
  return recipe.calibration && recipe.calibration->data.size() == 1 &&
         recipe.calibration->data[0].value == "self";
}

uint64_t fixed_memory(const PlanInput& in, const Plan& plan) {
  return kLoopBytes + plan.items.size() * kRecordBytes + text_memory(in.source).kept +
         verify_memory(in, plan);
}

Cost estimate(const PlanInput& in, const Plan& plan) {
  const Loop loop = loop_memory(in, plan);
  const Texts texts = text_memory(in.source);
  uint64_t peak = std::max({loop.peak, texts.peak, texts.kept + verify_memory(in, plan)});
  double flops = 0;
  uint64_t total = 0;
  for (const Unit& unit : plan.units)
    total += unit_bytes(plan, unit);
  if (plan.needs_data()) {
    const Calibration& c = *in.recipe.calibration;
    if (writes_own_text(in.recipe))
      peak = std::max(peak, own_text_memory(in, c.samples.value, c.seq_len.value));
    flops = static_cast<double>(c.samples.value * c.seq_len.value) * static_cast<double>(total);
  }
  Cost cost;
  cost.block_memory = loop.block;
  cost.peak_memory = in.resident_bytes + kLoopBytes + (plan.needs_data() ? kForwardBytes : 0) +
                     static_cast<uint64_t>(in.threads) * piece_memory(plan) +
                     plan.items.size() * kRecordBytes + peak;
  cost.scratch_bytes = loop.saved;
  cost.seconds = static_cast<double>(total) / kEncodeBytesPerSecond + flops / kFlopsPerSecond;
  return cost;
}

}  // namespace mopt::plan
