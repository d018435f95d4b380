// rope: rotary position embedding in the NeoX layout (halves rotated), with the scalings and the
// rounding of Hugging Face's modeling_rope_utils.
#pragma once

#include <optional>

#include "host/compute/dispatch.hpp"
#include "host/compute/view.hpp"

namespace mopt::compute {

enum class RopeScaling { kNone, kLinear, kLlama3, kYarn, kDynamic };

// "none", "linear", "llama3", "yarn", "dynamic".
RopeScaling rope_scaling(std::string_view name);

// Attributes of the op; what a scaling does not use is ignored.
struct RopeAttrs {
  double theta = 10000.0;
  int64_t rotary_dim = 0;  // even; the first dimensions of a head, the others pass unchanged
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;
  double low_freq_factor = 1.0, high_freq_factor = 4.0;
  double original_max_position = 0.0;  // llama3, yarn
  double beta_fast = 32.0, beta_slow = 1.0;
  std::optional<double> attention_factor;  // yarn; default 0.1 ln(factor) + 1
  double max_position = 0.0;               // dynamic: positions from here on raise theta
  bool operator==(const RopeAttrs&) const = default;
};

struct RopeTable {
  RopeAttrs attrs;
  std::vector<float> inv_freq;  // [rotary_dim / 2], for sequences of up to max_position tokens
  float attention_factor = 1.0f;
};

RopeTable make_rope_table(const RopeAttrs& attrs);

// Frequencies for a sequence of `length` tokens; only "dynamic" depends on it.
std::vector<float> rope_frequencies(const RopeAttrs& attrs, int64_t length);

// Cosines and sines of every position, times attention_factor and rounded to the model's type. The
// same for all layers and for queries and keys: worth keeping for a whole forward pass.
struct RopeAngles {
  int64_t half = 0;             // rotary_dim / 2
  std::vector<float> cos, sin;  // [B*T, half]
};
RopeAngles rope_angles(const RopeTable& table, const View& positions, DLDataType dtype);

struct RopeProblem {
  View x;                    // [B, T, H, D]
  const RopeAngles* angles;  // of B*T positions
  View y;                    // x's shape and type; may be x
};

// In bf16 both products are rounded, then their sum, as the original does.
void rope(const RopeProblem& problem, const Options& options = {});

// The same on a device, where a table of all positions is kept.
struct RopeLookup {
  View x;          // [B, T, H, D]
  View cos, sin;   // f32 [S, half]: of positions 0 to S-1
  View positions;  // i64 [B, T], below S
  View y;          // x's shape and type; may be x
};
void rope(const RopeLookup& problem, const Options& options);

std::vector<std::string_view> rope_kernels();
void rope_highway(const RopeProblem&);
void rope_reference(const RopeProblem&);

}  // namespace mopt::compute
