/* tensor.h: quantized tensors: a scheme, and plain tensors under roles. */
#ifndef MOPT_TENSOR_H
#define MOPT_TENSOR_H

#include "mopt/base.h"
#include "mopt/dlpack.h"

/* Bytes of `elements` packed elements; DLPack's own formula over-counts sub-byte types. */
static inline uint64_t mopt_nbytes(uint64_t elements, DLDataType dtype) {
  return (elements * dtype.bits * dtype.lanes + 7) / 8;
}

/* How many elements share one scale. */
typedef uint32_t mopt_granularity;
enum {
  MOPT_PER_TENSOR = 1,
  MOPT_PER_CHANNEL = 2, /* one per output row of a weight [out, in] */
  MOPT_PER_TOKEN = 3,   /* activations: one per row, computed at run time */
  MOPT_PER_BLOCK = 4 /* block_rows x block_cols elements of a weight; the last block may be cut */
};

typedef uint32_t mopt_scheme_flags;
enum {
  MOPT_SCHEME_GLOBAL_SCALE = 1, /* a second, per-tensor F32 scale multiplies every block scale */
  MOPT_SCHEME_DYNAMIC = 2       /* activations: scales are computed at run time, none is stored
                                   (with a global scale: only that one is stored) */
};

/* How a weight, an activation or a KV cache is stored. Pure data: exporters choose names and
 * engines by it, readers choose the quantizer by it. */
typedef struct mopt_scheme {
  uint32_t struct_size;
  mopt_granularity granularity;
  mopt_str name;                   /* component that makes it, e.g. "nvfp4"; static lifetime */
  DLDataType element;              /* of the payload */
  DLDataType scale;                /* of the (block) scales; F32 where there is one level */
  uint32_t block_rows, block_cols; /* MOPT_PER_BLOCK, else 0 */
  mopt_scheme_flags flags;
  uint32_t reserved0;
} mopt_scheme;
MOPT_STATIC_ASSERT(sizeof(mopt_scheme) == 48);

/* Roles of the tensors that a quantized tensor consists of.
 *   payload       codes in logical row-major order [out, in]; packing for an engine is the
 * exporter's scale         per tensor [], per channel [out], blocks [ceil(out/block_rows),
 * ceil(in/block_cols)] global_scale  F32 [] input_scale   F32 []: scale of the layer's input
 *   k_scale, v_scale  F32 []: KV cache scales, on the parameters attn.k and attn.v
 *   bias, weight  tensors that are not quantized */
#define MOPT_ROLE_PAYLOAD "payload"
#define MOPT_ROLE_SCALE "scale"
#define MOPT_ROLE_GLOBAL_SCALE "global_scale"
#define MOPT_ROLE_INPUT_SCALE "input_scale"
#define MOPT_ROLE_K_SCALE "k_scale"
#define MOPT_ROLE_V_SCALE "v_scale"

/* A tensor that will exist: its role or name, type and shape. */
typedef struct mopt_tensor_decl {
  uint32_t struct_size;
  DLDataType dtype;
  mopt_str name; /* a role, or a checkpoint name */
  const int64_t* shape;
  int32_t ndim;
  uint32_t reserved0;
} mopt_tensor_decl;
MOPT_STATIC_ASSERT(sizeof(mopt_tensor_decl) == 40);

/* A tensor under a role or name; borrowed. */
typedef struct mopt_named_tensor {
  mopt_str name;
  const DLTensor* tensor;
} mopt_named_tensor;
MOPT_STATIC_ASSERT(sizeof(mopt_named_tensor) == 24);

/* The host's receivers. `ctx` is passed back; strings and shapes are copied before the call
 * returns. */
typedef struct mopt_decl_sink {
  void* ctx;
  mopt_error* (*put)(void* ctx, const mopt_tensor_decl*)MOPT_NOEXCEPT;
} mopt_decl_sink;

typedef struct mopt_tensor_sink {
  void* ctx;
  /* Takes ownership of `tensor`, also when it fails. */
  mopt_error* (*put)(void* ctx, mopt_str name, DLManagedTensorVersioned* tensor)MOPT_NOEXCEPT;
} mopt_tensor_sink;

typedef struct mopt_text_sink {
  void* ctx;
  mopt_error* (*put)(void* ctx, mopt_str name, mopt_str text)MOPT_NOEXCEPT;
} mopt_text_sink;

#endif
