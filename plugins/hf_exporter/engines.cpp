#include "engines.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

namespace mopt::hf {
namespace {

struct Answer {
  std::string_view verdict, reason;
};
constexpr Answer kTakes{"takes", ""};

struct Row {
  std::string_view algorithm;
  Answer vllm, sglang, tensorrt;
};

constexpr Answer kVllmRefuses{
    "refuses",
    "its modelopt loader knows FP8, FP8_PER_CHANNEL_PER_TOKEN, FP8_PB_WO, "
    "NVFP4, W4A16_NVFP4, MXFP8 and MIXED_PRECISION only"};
constexpr Answer kSglangRefuses{"refuses", "it does not recognise this quant_algo"};
constexpr Answer kSglangStatic{"refuses", "its modelopt_fp8 reads static per-tensor scales only"};
constexpr Answer kTensorrtEnum{
    "unknown",
    "it has a name for the algorithm, but its loader was not seen reading "
    "this layout"};
constexpr Answer kTensorrtNewer{"takes", "newer releases only"};
constexpr Answer kTensorrtUnknown{"unknown", "nobody is known to have loaded it there"};

// consumers 0.4, 1.2, 4.1, 4.2, 5.2.
constexpr std::array kRows{
    Row{"FP8", kTakes, kTakes, kTakes},
    Row{"FP8_PER_CHANNEL_PER_TOKEN", kTakes, kSglangStatic, kTensorrtEnum},
    Row{"fp8_pb_wo", kTakes, kSglangStatic, {"takes", "as FP8_BLOCK_SCALES"}},
    Row{"NVFP4", kTakes, kTakes, kTakes},
    Row{"W4A16_NVFP4",
        {"takes", "newer releases only"},
        {"refuses", "its modelopt_fp4 wants the quant_algo NVFP4"},
        {"unknown", "newer releases name it, for experts on Hopper"}},
    Row{"MXFP8",
        {"takes", "newer releases only"},
        {"refuses", "it reads MXFP8 under its own method 'mxfp8', not under modelopt"},
        kTensorrtNewer},
    Row{"W4A16_AWQ", kVllmRefuses, kSglangRefuses, kTakes},
    Row{"W8A8_SQ_PER_CHANNEL", kVllmRefuses, kSglangRefuses, kTakes},
    Row{"W8A16", kVllmRefuses, kSglangRefuses, kTensorrtEnum},
    Row{"W4A8_NVFP4_FP8", kVllmRefuses, kSglangRefuses, kTensorrtEnum},
    Row{"W4A8_MXFP4_FP8", kVllmRefuses, kSglangRefuses, kTensorrtEnum},
    Row{"mxfp4", kVllmRefuses, kSglangRefuses, kTensorrtUnknown},
};

constexpr Answer kNobody{"unknown", "nobody is known to read this quant_algo"};

const Row* find(std::string_view algorithm) {
  const auto row = std::ranges::find(kRows, algorithm, &Row::algorithm);
  return row == kRows.end() ? nullptr : &*row;
}

// Algorithms that an engine accepts beside each other in MIXED_PRECISION.
bool mixable(std::string_view engine, std::string_view algorithm) {
  if (engine == "tensorrt-llm") return true;
  return algorithm == "FP8" || algorithm == "NVFP4" ||
         (engine == "vllm" && algorithm == "W4A16_NVFP4");
}

// Why an engine does not take this layer; nothing when it does.
std::optional<Answer> objection(std::string_view engine, const Answer& known, const Layer& layer) {
  const std::string& algorithm = layer.algorithm.name;
  if (known.verdict != "takes") return known;
  const bool tensorrt = engine == "tensorrt-llm";
  const std::string_view no = tensorrt ? "unknown" : "refuses";
  if (algorithm.find("NVFP4") != std::string::npos && layer.algorithm.group_size != 16) {
    return Answer{no, "its kernels expect blocks of 16"};
  }
  if (algorithm == "FP8" && layer.weight_only) {
    return Answer{no, "it wants an input_scale, and only the weights are quantized"};
  }
  return std::nullopt;
}

// What is worth knowing about a checkpoint that an engine takes.
std::string notes(std::string_view engine, Answer Row::*column, const Description& d) {
  std::string out;
  const auto add = [&](const std::string& note) {
    if (out.find(note) == std::string::npos) out += (out.empty() ? "" : "; ") + note;
  };
  for (const Layer& layer : d.layers) {
    const Answer& known = find(layer.algorithm.name)->*column;
    if (!known.reason.empty()) add(layer.algorithm.name + ": " + std::string(known.reason));
    if (layer.algorithm.input_kept) {
      add(layer.algorithm.name + ": it quantizes the inputs too, which the recipe kept");
    }
  }
  if (engine == "vllm" && d.kv && *d.kv != "FP8") add("it ignores the " + *d.kv + " KV cache");
  if (!out.empty()) return out;
  return "reads " + (d.mixed() ? std::string("MIXED_PRECISION") : d.layers.front().algorithm.name);
}

Verdict judge(std::string_view engine, Answer Row::*column, const Description& d,
              const std::string& uneven_tile) {
  const auto say = [&](std::string_view verdict, const std::string& reason) {
    return Verdict{std::string(engine), std::string(verdict), reason};
  };
  if (!d.class_named) {
    return say("refuses",
               "config.json has no architectures, by which it chooses the model's class");
  }
  if (d.empty()) return say("takes", "nothing is quantized");
  if (d.layers.empty()) {
    return say("unknown", "only the KV cache is quantized, and no quant_algo names the rest");
  }
  const bool mixed = d.mixed();
  for (const Layer& layer : d.layers) {
    const std::string& algorithm = layer.algorithm.name;
    if (mixed && !mixable(engine, algorithm)) {
      return say("refuses",
                 layer.module + ": " + algorithm + " has no place in its MIXED_PRECISION");
    }
    const Row* row = find(algorithm);
    const Answer& known = row == nullptr ? kNobody : row->*column;
    if (const auto no = objection(engine, known, layer)) {
      return say(no->verdict, layer.module + ": " + algorithm + ": " + std::string(no->reason));
    }
  }
  if (engine == "vllm" && !uneven_tile.empty()) {
    return say("refuses", uneven_tile + ": its fp8_pb_wo needs both sides to be multiples of 128");
  }
  return say("takes", notes(engine, column, d));
}

}  // namespace

std::vector<Verdict> verdicts(const Description& d, const std::string& uneven_tile) {
  std::vector<Verdict> out{judge("vllm", &Row::vllm, d, uneven_tile),
                           judge("sglang", &Row::sglang, d, uneven_tile),
                           judge("tensorrt-llm", &Row::tensorrt, d, uneven_tile)};
  if (d.empty()) {
    out.push_back({"transformers", "takes", "nothing is quantized"});
  } else {
    out.push_back({"transformers", "refuses",
                   "it does not know quant_method modelopt and, without an error, would take the "
                   "codes for weights"});
  }
  out.push_back({"llama.cpp", "refuses", "it reads GGUF, not safetensors"});
  return out;
}

}  // namespace mopt::hf
