/* adapter.h: "mopt.adapter/1", an architecture: from a model's configuration to its graph. */
#ifndef MOPT_ADAPTER_H
#define MOPT_ADAPTER_H

#include "mopt/graph.h"

#define MOPT_ADAPTER_INTERFACE "mopt.adapter/1"

/* The model's config.json. */
typedef struct mopt_config {
  uint32_t struct_size;
  uint32_t reserved0;
  void* ctx;
  /* By dotted path ("rope_scaling.factor"); type MOPT_NONE when it is absent or null. Values live
   * until the call that was given this config returns. */
  mopt_value (*get)(void* ctx, mopt_str path) MOPT_NOEXCEPT;
  /* 1 when the checkpoint holds a tensor of that name. */
  int32_t (*has_tensor)(void* ctx, mopt_str name) MOPT_NOEXCEPT;
} mopt_config;
MOPT_STATIC_ASSERT(sizeof(mopt_config) == 32);

typedef struct mopt_adapter {
  uint32_t struct_size;
  uint32_t reserved0;
  /* 0: not mine; the highest answer wins. [load] */
  int32_t (*match)(const mopt_config*) MOPT_NOEXCEPT;
  /* Builds the forward graph: inputs "ids" [B,T] i64 and "positions" [B,T] i64, output "logits"
   * [B,T,V]. An error names a setting of the configuration that it does not know how to honour. */
  mopt_error* (*build)(const mopt_config*, mopt_builder*)MOPT_NOEXCEPT;
} mopt_adapter;
MOPT_STATIC_ASSERT(sizeof(mopt_adapter) == 24);

#endif
