#include "scheme.hpp"

#include <algorithm>
#include <array>
#include <cctype>

namespace mopt::hf {
namespace {

constexpr uint32_t bits(Kind kind) {
  return static_cast<uint32_t>(kind);
}
constexpr uint32_t operator|(Kind a, Kind b) {
  return bits(a) | bits(b);
}

struct Row {
  Kind weight;
  uint32_t inputs;  // bits of Kind
  std::string_view name;
  Fields fields;
};
// quant-formats 1.9 and 2, in upstream's order of decision.
constexpr std::array kRows{
    Row{Kind::kInt4Block, bits(Kind::kNone), "W4A16_AWQ", Fields::kGroupAwq},
    Row{Kind::kInt8Channel, bits(Kind::kInt8Tensor), "W8A8_SQ_PER_CHANNEL", Fields::kNone},
    Row{Kind::kInt8Channel, bits(Kind::kNone), "W8A16", Fields::kNone},
    Row{Kind::kMxfp8, Kind::kMxfp8 | Kind::kNone, "MXFP8", Fields::kGroup},
    Row{Kind::kFp8Tile, bits(Kind::kNone), "fp8_pb_wo", Fields::kNone},
    Row{Kind::kFp8Channel, Kind::kFp8Token | Kind::kNone, "FP8_PER_CHANNEL_PER_TOKEN",
        Fields::kNone},
    Row{Kind::kFp8Tensor, Kind::kFp8Tensor | Kind::kNone, "FP8", Fields::kNone},
    Row{Kind::kNvfp4, bits(Kind::kNone), "W4A16_NVFP4", Fields::kGroup},
    Row{Kind::kNvfp4, bits(Kind::kFp8Tensor), "W4A8_NVFP4_FP8", Fields::kGroup},
    Row{Kind::kNvfp4, bits(Kind::kNvfp4), "NVFP4", Fields::kGroup},
    Row{Kind::kMxfp4, Kind::kFp8Tensor | Kind::kFp8TensorRun, "W4A8_MXFP4_FP8", Fields::kGroup},
    Row{Kind::kMxfp4, Kind::kMxfp4 | Kind::kNone, "mxfp4", Fields::kNone},
};

// Names that a reader gives a meaning: no other structure may be written under them.
constexpr std::array<std::string_view, 8> kTaken{"W4A8_AWQ",        "NVFP4_AWQ", "NVFP4_SVD",
                                                 "MIXED_PRECISION", "FP8_PB_WO", "FP8_PB_REAL",
                                                 "MXFP4",           "NO_QUANT"};

// Upstream's presets give these inputs a format, so that a reader takes them for quantized.
bool implies_input(Kind weight) {
  return weight == Kind::kFp8Channel || weight == Kind::kMxfp4 || weight == Kind::kMxfp8;
}

bool taken(std::string_view name) {
  return std::ranges::find(kTaken, name) != kTaken.end() ||
         std::ranges::find(kRows, name, &Row::name) != kRows.end();
}

bool has(const mopt_scheme& s, uint32_t flag) {
  return (s.flags & flag) != 0;
}

Kind fp8_kind(const mopt_scheme& s) {
  const bool run_time = has(s, MOPT_SCHEME_DYNAMIC);
  switch (s.granularity) {
    case MOPT_PER_TENSOR:
      return run_time ? Kind::kFp8TensorRun : Kind::kFp8Tensor;
    case MOPT_PER_CHANNEL:
      return run_time ? Kind::kOther : Kind::kFp8Channel;
    case MOPT_PER_TOKEN:
      return run_time ? Kind::kFp8Token : Kind::kOther;
    case MOPT_PER_BLOCK:
      return s.block_rows == 128 && s.block_cols == 128 && !run_time ? Kind::kFp8Tile
                                                                     : Kind::kOther;
    default:
      return Kind::kOther;
  }
}

Kind int8_kind(const mopt_scheme& s) {
  if (has(s, MOPT_SCHEME_DYNAMIC)) return Kind::kOther;
  if (s.granularity == MOPT_PER_TENSOR) return Kind::kInt8Tensor;
  return s.granularity == MOPT_PER_CHANNEL ? Kind::kInt8Channel : Kind::kOther;
}

}  // namespace

std::string upper(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return std::toupper(c); });
  return out;
}

Kind kind_of(const mopt_scheme* scheme) {
  if (scheme == nullptr) return Kind::kNone;
  const mopt_scheme& s = *scheme;
  const bool two_level = has(s, MOPT_SCHEME_GLOBAL_SCALE);
  const bool row_blocks = s.granularity == MOPT_PER_BLOCK && s.block_rows == 1 && s.block_cols > 1;
  if (same(s.element, kE2m1) && same(s.scale, kE4m3) && two_level && row_blocks) {
    return Kind::kNvfp4;
  }
  if (two_level) return Kind::kOther;
  if (same(s.scale, kE8m0) && row_blocks && s.block_cols == 32) {
    if (same(s.element, kE2m1)) return Kind::kMxfp4;
    if (same(s.element, kE4m3)) return Kind::kMxfp8;
  }
  if (!same(s.scale, kF32)) return Kind::kOther;
  if (same(s.element, kE4m3)) return fp8_kind(s);
  if (same(s.element, kI8)) return int8_kind(s);
  if (same(s.element, kI4) && row_blocks && !has(s, MOPT_SCHEME_DYNAMIC)) return Kind::kInt4Block;
  return Kind::kOther;
}

Algorithm algorithm(const mopt_scheme& weight, const mopt_scheme* input) {
  const Kind w = kind_of(&weight);
  const uint32_t in = bits(kind_of(input));
  const uint32_t group = weight.granularity == MOPT_PER_BLOCK ? weight.block_cols : 0;
  for (const Row& row : kRows) {
    if (row.weight == w && (row.inputs & in) != 0) {
      return {std::string(row.name),
              row.fields,
              group,
              input == nullptr && implies_input(w),
              true,
              nullptr};
    }
  }
  const std::string name = upper(view(weight.name));
  if (name.empty() || taken(name)) {
    const std::string with = input == nullptr
                                 ? "inputs kept as they are"
                                 : "inputs in '" + std::string(view(input->name)) + "'";
    throw Error(MOPT_UNSUPPORTED,
                "the hf layout has no quant_algo for weights in '" +
                    std::string(view(weight.name)) + "' with these options and " + with +
                    ", and '" + name +
                    "' already means another structure; choose the input format that belongs to "
                    "the weights, or input = \"none\"");
  }
  return {name,  group != 0 ? Fields::kGroup : Fields::kNone,
          group, false,
          false, Json{{"weight", describe(&weight)}, {"input", describe(input)}}};
}

Json describe(const mopt_scheme* scheme) {
  if (scheme == nullptr) return nullptr;
  return Json{{"name", std::string(view(scheme->name))},
              {"granularity", scheme->granularity},
              {"element", {scheme->element.code, scheme->element.bits}},
              {"scale", {scheme->scale.code, scheme->scale.bits}},
              {"block", {scheme->block_rows, scheme->block_cols}},
              {"flags", scheme->flags}};
}

Json layer_entry(const Algorithm& a) {
  Json entry{{"quant_algo", a.name}};
  if (a.fields != Fields::kNone) entry["group_size"] = a.group_size;
  if (a.fields == Fields::kGroupAwq) {
    entry["has_zero_point"] = false;
    entry["pre_quant_scale"] = true;
  }
  if (a.input_kept) entry["weight_only"] = true;
  if (!a.named) entry["mopt_scheme"] = a.schemes;
  return entry;
}

std::string kv_algorithm(const mopt_scheme& kv) {
  switch (kind_of(&kv)) {
    case Kind::kFp8Tensor:
      return "FP8";
    case Kind::kNvfp4:
      return "NVFP4";
    default:
      throw Error(
          MOPT_UNSUPPORTED,
          "the hf layout describes a KV cache in FP8 (one scale per tensor) or NVFP4, found '" +
              std::string(view(kv.name)) +
              "'; set [quantize] kv_cache to one of these or \"none\"");
  }
}

}  // namespace mopt::hf
