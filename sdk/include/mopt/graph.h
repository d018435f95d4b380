/* graph.h: how an adapter describes a model: ops on values, in blocks. The host owns the graph. */
#ifndef MOPT_GRAPH_H
#define MOPT_GRAPH_H

#include "mopt/plugin.h"

/* A value of the graph; 0 is invalid. */
typedef uint32_t mopt_val;

/* Negative extents are symbols. */
enum { MOPT_DIM_BATCH = -1, MOPT_DIM_TIME = -2 };

typedef struct mopt_attr {
  mopt_str name;
  mopt_value value;
} mopt_attr;
MOPT_STATIC_ASSERT(sizeof(mopt_attr) == 40);

/* Builds one graph. A bad call returns 0, later calls ignore 0, and the first fault (op, label,
 * shapes) is reported when the adapter's build returns: adapter code needs no checks.
 *
 * Opset 1 (T = tokens; x is [B, T, C] unless stated; attributes have the defaults given):
 *   embedding(ids [B,T], weight [V,C]) -> [B,T,C]
 *   linear(x [...,in], weight [out,in], bias [out]?) -> [...,out]
 *   rms_norm(x [...,C], weight [C]; eps) -> x / sqrt(mean(x^2) + eps), rounded, times weight
 *   reshape(x; dims) -> same elements; 0 keeps an extent, -1 infers one
 *   rope(x [B,T,H,D], positions [B,T]; theta, rotary_dim = D, scaling = "none" | "linear" |
 * "llama3" | "yarn" | "dynamic", factor, low_freq_factor, high_freq_factor, original_max_position,
 *        beta_fast, beta_slow, attention_factor, max_position) -> halves rotated (NeoX layout)
 *   attention(q [B,T,H,D], k [B,T,K,D], v [B,T,K,D]; scale, window = 0) -> [B,T,H,D], causal; a
 * window of w sees the w newest positions, itself included activation(x; kind = "silu" | "gelu" |
 * "gelu_tanh" | "relu") -> x's shape add(a, b), mul(a, b) -> same shape
 */
typedef struct mopt_builder mopt_builder;
struct mopt_builder {
  uint32_t struct_size;
  uint32_t opset;
  mopt_val (*input)(mopt_builder*, mopt_str name, DLDataType, int32_t ndim,
                    const int64_t* dims) MOPT_NOEXCEPT;
  /* A parameter under its checkpoint name ("model.norm.weight"). Asking twice for a name gives the
   * same value: a tied head asks for the embedding. */
  mopt_val (*param)(mopt_builder*, mopt_str checkpoint_name, int32_t ndim,
                    const int64_t* dims) MOPT_NOEXCEPT;
  /* Appends an op of the opset; its only result, or 0. */
  mopt_val (*op)(mopt_builder*, mopt_str kind, mopt_str label, const mopt_val* in, uint32_t n_in,
                 const mopt_attr* attrs, uint32_t n_attrs) MOPT_NOEXCEPT;
  /* Blocks do not nest; roles: "embed", "decoder", "head". The host finds live-ins and live-outs.
   */
  void (*begin_block)(mopt_builder*, mopt_str role, int64_t index) MOPT_NOEXCEPT;
  void (*end_block)(mopt_builder*) MOPT_NOEXCEPT;
  /* A parameter's role ("attn.q", "norm", "embed", "lm_head"), or a value's ("residual"). */
  void (*tag)(mopt_builder*, mopt_val, mopt_str role) MOPT_NOEXCEPT;
  /* Parameters that engines merge into one (q, k and v; gate and up). */
  void (*fuse_group)(mopt_builder*, mopt_str name, const mopt_val* params,
                     uint32_t n) MOPT_NOEXCEPT;
  void (*output)(mopt_builder*, mopt_str name, mopt_val) MOPT_NOEXCEPT;
};
MOPT_STATIC_ASSERT(sizeof(mopt_builder) == 72);

#endif
