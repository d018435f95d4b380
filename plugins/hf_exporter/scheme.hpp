// What ModelOpt calls a pair of schemes: the table between mopt_scheme and quant_algo.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "mopt/quantizer.h"
#include "mopt/tensor.hpp"

namespace mopt::hf {

using Json = nlohmann::ordered_json;  // of what is written; finds and inserts keys by walking them
using Tree = nlohmann::json;          // of what is read, which may have a key per layer

// The structures that the layout tells apart; every other one is kOther.
enum class Kind : uint32_t {
  kNone = 1 << 0,          // no scheme
  kFp8Tensor = 1 << 1,     // E4M3, one stored F32 scale
  kFp8TensorRun = 1 << 2,  // E4M3, one scale found at run time
  kFp8Channel = 1 << 3,    // E4M3, F32 scale per row
  kFp8Token = 1 << 4,      // E4M3, scale per token, found at run time
  kFp8Tile = 1 << 5,       // E4M3, F32 scale per 128x128 tile
  kInt8Tensor = 1 << 6,    // INT8, one stored F32 scale
  kInt8Channel = 1 << 7,   // INT8, F32 scale per row
  kInt4Block = 1 << 8,     // INT4, F32 scale per block of a row
  kNvfp4 = 1 << 9,         // E2M1, E4M3 scale per block of a row, F32 scale over all
  kMxfp4 = 1 << 10,        // E2M1, E8M0 scale per 32 of a row
  kMxfp8 = 1 << 11,        // E4M3, E8M0 scale per 32 of a row
  kOther = 1 << 12,
};
Kind kind_of(const mopt_scheme* scheme);

// Which keys of a layer's description stand beside quant_algo.
enum class Fields { kNone, kGroup, kGroupAwq };

struct Algorithm {
  std::string name;  // quant_algo
  Fields fields = Fields::kNone;
  uint32_t group_size = 0;  // of the weight's blocks; 0: none
  bool input_kept = false;  // the name stands for quantized inputs, and these are not
  bool named = true;        // false: ModelOpt has no name for the pair; it is the scheme's own
  Json schemes;  // of an algorithm without a name: both schemes, so that it can be read back
};
// Throws MOPT_UNSUPPORTED when the pair has no name and the scheme's own name means something else.
Algorithm algorithm(const mopt_scheme& weight, const mopt_scheme* input);

// {"quant_algo": "NVFP4", "group_size": 16}: one layer, as quantized_layers lists it.
Json layer_entry(const Algorithm& algorithm);

// What a layer entry stands for; the inverse of algorithm() and layer_entry().
struct Schemes {
  mopt_scheme weight{};
  std::optional<mopt_scheme> input;
  bool static_input = false;  // an input_scale is stored
};
enum class InputScales { kStored, kAbsent };
// `scales`: whether layers of this algorithm store input scales, where the name leaves it open.
// Empty for an algorithm that is not known. Throws nlohmann's exceptions when a member has the
// wrong type.
std::optional<Schemes> schemes_of(const Tree& layer_entry, InputScales scales);

// The scheme of a KV cache algorithm; empty when it is not known.
std::optional<mopt_scheme> kv_scheme_of(std::string_view algorithm);

// "fp8_pb_wo" -> "FP8_PB_WO": engines compare algorithm names without regard to case.
std::string upper(std::string_view text);

// {"name": "int8", "element": [0, 8], ...}: a scheme, member by member; null for none.
Json describe(const mopt_scheme* scheme);

// "FP8", "NVFP4". Throws MOPT_UNSUPPORTED for a KV cache that the layout cannot describe.
std::string kv_algorithm(const mopt_scheme& kv);

}  // namespace mopt::hf
