/* exporter.h: "mopt.exporter/1", how a checkpoint names, packs and describes quantized tensors;
 * both ways, so that what was written can be read back. */
#ifndef MOPT_EXPORTER_H
#define MOPT_EXPORTER_H

#include "mopt/quantizer.h"

#define MOPT_EXPORTER_INTERFACE "mopt.exporter/1"

typedef uint32_t mopt_param_kind;
enum {
  MOPT_PARAM_LINEAR = 1, /* weight [out, in] of a matrix product */
  MOPT_PARAM_EMBEDDING = 2,
  MOPT_PARAM_OTHER = 3 /* norms, biases, whatever nobody claimed */
};

/* A source tensor and what becomes of it. */
typedef struct mopt_param {
  uint32_t struct_size;
  mopt_param_kind kind;
  mopt_str name;             /* checkpoint name, "model.layers.0.mlp.up_proj.weight" */
  mopt_str role;             /* "mlp.up"; empty if none */
  const mopt_scheme* weight; /* NULL: stored as it is */
  const mopt_scheme* input;  /* NULL: the layer's input is not quantized */
  const mopt_scheme* kv; /* set on attn.k and attn.v parameters when the KV cache is quantized */
  mopt_str fuse_group;   /* parameters that an engine merges share a name; empty if none */
} mopt_param;
MOPT_STATIC_ASSERT(sizeof(mopt_param) == 80);

/* What an exporter's finish derives its files from: the tensors as written. */
typedef struct mopt_export {
  uint32_t struct_size;
  uint32_t reserved0;
  mopt_str config;          /* the source's config.json; empty if there is none */
  const mopt_param* params; /* every parameter of the source, in model order */
  uint64_t n_params;
  const mopt_scheme* kv; /* NULL: KV cache not quantized */
  int32_t untied_head;   /* 1: a tied head was quantized and is now stored apart */
  uint32_t reserved1;
} mopt_export;
MOPT_STATIC_ASSERT(sizeof(mopt_export) == 56);

/* The stored tensors and texts of a checkpoint that is read back. */
typedef struct mopt_checkpoint {
  uint32_t struct_size;
  uint32_t reserved0;
  void* ctx;
  /* A text file of the checkpoint, e.g. "hf_quant_config.json"; empty when it is not there. */
  mopt_str (*document)(void* ctx, mopt_str name) MOPT_NOEXCEPT;
  const mopt_tensor_decl* tensors;
  uint64_t n_tensors;
} mopt_checkpoint;
MOPT_STATIC_ASSERT(sizeof(mopt_checkpoint) == 40);

/* Which stored tensor plays which role of a parameter. */
typedef struct mopt_stored_role {
  mopt_str role, name;
} mopt_stored_role;
MOPT_STATIC_ASSERT(sizeof(mopt_stored_role) == 32);

typedef uint32_t mopt_severity;
enum { MOPT_SEVERITY_WARNING = 1, MOPT_SEVERITY_ERROR = 2 };

/* A finding about a checkpoint. */
typedef struct mopt_problem {
  uint32_t struct_size;
  mopt_severity severity;
  mopt_str code;         /* "V103": see mopt-host explain */
  mopt_str file, tensor; /* may be empty */
  mopt_str message, remedy;
} mopt_problem;
MOPT_STATIC_ASSERT(sizeof(mopt_problem) == 88);

typedef struct mopt_read_sink {
  void* ctx;
  /* A quantized parameter: its logical shape and where its parts are. */
  mopt_error* (*param)(void* ctx, const mopt_param*, int64_t rows, int64_t cols,
                       const mopt_stored_role*, uint64_t n)MOPT_NOEXCEPT;
  mopt_error* (*problem)(void* ctx, const mopt_problem*)MOPT_NOEXCEPT;
} mopt_read_sink;

/* "takes", "refuses", "unknown" with the reason; engine names as in the contract. */
typedef struct mopt_verdict_sink {
  void* ctx;
  mopt_error* (*put)(void* ctx, mopt_str engine, mopt_str verdict, mopt_str reason)MOPT_NOEXCEPT;
} mopt_verdict_sink;

typedef struct mopt_exporter {
  uint32_t struct_size;
  uint32_t reserved0;
  mopt_error* (*create)(const mopt_host*, const mopt_setting*, uint64_t n,
                        mopt_instance** out)MOPT_NOEXCEPT;
  void (*destroy)(mopt_instance*) MOPT_NOEXCEPT;
  /* decls by role -> the checkpoint's names, types and shapes, in the same order. [concurrent] */
  mopt_error* (*plan)(mopt_instance*, const mopt_param*, const mopt_tensor_decl* decls, uint64_t n,
                      mopt_decl_sink)MOPT_NOEXCEPT;
  /* A tensor under its role -> as stored, in the order of plan. What is emitted may share the bytes
   * of what was given: the caller keeps that alive for as long. [concurrent] */
  mopt_error* (*put)(mopt_instance*, const mopt_exec*, const mopt_param*,
                     const mopt_named_tensor* tensors, uint64_t n, mopt_tensor_sink)MOPT_NOEXCEPT;
  /* The texts beside the weights (config.json, ...), by file name. [serial] */
  mopt_error* (*finish)(mopt_instance*, const mopt_export*, mopt_text_sink)MOPT_NOEXCEPT;
  /* Which engines take what finish would describe. [serial] */
  mopt_error* (*engines)(mopt_instance*, const mopt_export*, mopt_verdict_sink)MOPT_NOEXCEPT;
  /* Reads a checkpoint's description: every quantized parameter, and what contradicts. A checkpoint
   * that is not quantized yields nothing; MOPT_UNSUPPORTED when another layout wrote it. [serial]
   */
  mopt_error* (*read)(mopt_instance*, const mopt_checkpoint*, mopt_read_sink)MOPT_NOEXCEPT;
  /* A stored tensor -> the logical form of its role (undoes put's packing); may share its bytes.
   * [concurrent] */
  mopt_error* (*unpack)(mopt_instance*, const mopt_exec*, const mopt_param*, mopt_str role,
                        const DLTensor* stored, DLManagedTensorVersioned** out)MOPT_NOEXCEPT;
} mopt_exporter;
MOPT_STATIC_ASSERT(sizeof(mopt_exporter) == 72);

#endif
