// Rotary position settings of a config.json, in the spelling of transformers 4 (rope_theta,
// rope_scaling) and 5 (rope_parameters), and the op that applies them.
#pragma once

#include <cmath>

#include "mopt/adapter.hpp"

namespace mopt {

struct Rope {
  double theta = 10000.0;
  int64_t rotary_dim = 0;  // the leading part of a head that is rotated
  std::string scaling = "none";
  double factor = 1.0, low_freq_factor = 1.0, high_freq_factor = 4.0;
  double beta_fast = 32.0, beta_slow = 1.0, attention_factor = 1.0;
  int64_t original_max_position = 0, max_position = 0;
};

namespace detail {

// yarn's factor on cosine and sine, section 3.4 of the paper; DeepSeek divides two of them.
inline double yarn_attention_factor(const Config& config, const std::string& table, double factor) {
  const auto magnitude = [&](double scale) {
    return factor <= 1.0 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0;
  };
  if (config.has(table + "attention_factor")) return config.number(table + "attention_factor");
  const double one = config.number(table + "mscale", 0.0);
  const double all = config.number(table + "mscale_all_dim", 0.0);
  return one != 0.0 && all != 0.0 ? magnitude(one) / magnitude(all) : magnitude(1.0);
}

inline void read_yarn(const Config& config, const std::string& table, Rope& rope) {
  if (!config.flag(table + "truncate", true)) {
    throw Error(MOPT_UNSUPPORTED, "config.json: '" + table + "truncate' = false is not supported",
                table + "truncate");
  }
  rope.factor = config.has(table + "factor") ? config.number(table + "factor")
                                             : static_cast<double>(rope.max_position) /
                                                   static_cast<double>(rope.original_max_position);
  rope.attention_factor = yarn_attention_factor(config, table, rope.factor);
  const double fast = config.number(table + "beta_fast", 0.0);
  const double slow = config.number(table + "beta_slow", 0.0);
  rope.beta_fast = fast != 0.0 ? fast : 32.0;
  rope.beta_slow = slow != 0.0 ? slow : 1.0;
}

inline void read_llama3(const Config& config, const std::string& table, Rope& rope) {
  rope.factor = config.number(table + "factor");
  rope.low_freq_factor = config.number(table + "low_freq_factor");
  rope.high_freq_factor = config.number(table + "high_freq_factor");
}

}  // namespace detail

// Throws MOPT_UNSUPPORTED naming a scaling that opset 1 lacks.
inline Rope read_rope(const Config& config, int64_t head_size) {
  const bool old = config.has("rope_scaling.rope_type") || config.has("rope_scaling.type");
  const std::string table = old ? "rope_scaling." : "rope_parameters.";
  for (const char* nested : {"full_attention", "sliding_attention"}) {
    if (config.has(table + nested)) {
      throw Error(MOPT_UNSUPPORTED,
                  "config.json: rotary settings per kind of layer ('" + table + nested +
                      "') belong to another architecture",
                  table + nested);
    }
  }
  Rope rope;
  rope.theta = config.number(table + "rope_theta", config.number("rope_theta", 10000.0));
  const double part =
      config.number(table + "partial_rotary_factor", config.number("partial_rotary_factor", 1.0));
  rope.rotary_dim = static_cast<int64_t>(static_cast<double>(head_size) * part);
  rope.max_position = config.integer("max_position_embeddings", 2048);
  rope.original_max_position =
      config.integer("original_max_position_embeddings",
                     config.integer(table + "original_max_position_embeddings", rope.max_position));
  const std::string type = config.text(table + "rope_type", config.text(table + "type", "default"));
  if (type == "default" || type == "none") return rope;
  rope.scaling = type;
  if (type == "linear" || type == "dynamic") {
    rope.factor = config.number(table + "factor");
  } else if (type == "llama3") {
    detail::read_llama3(config, table, rope);
  } else if (type == "yarn") {
    detail::read_yarn(config, table, rope);
  } else {
    throw Error(
        MOPT_UNSUPPORTED,
        "config.json: expected the rope_type default, linear, dynamic, llama3 or yarn, found '" +
            type + "'",
        table + "rope_type");
  }
  return rope;
}

// x [B, T, H, D].
inline mopt_val apply_rope(Graph& g, mopt_val x, mopt_val positions, const Rope& rope) {
  return g.op(
      "rope", "", {x, positions},
      {attr("theta", rope.theta), attr("rotary_dim", rope.rotary_dim),
       attr("scaling", rope.scaling), attr("factor", rope.factor),
       attr("low_freq_factor", rope.low_freq_factor),
       attr("high_freq_factor", rope.high_freq_factor),
       attr("original_max_position", rope.original_max_position), attr("beta_fast", rope.beta_fast),
       attr("beta_slow", rope.beta_slow), attr("attention_factor", rope.attention_factor),
       attr("max_position", rope.max_position)});
}

}  // namespace mopt
