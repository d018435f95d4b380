/* quantizer.h: "mopt.quantizer/1", a number format: weights to codes and back, activations as an
 * engine quantizes them. */
#ifndef MOPT_QUANTIZER_H
#define MOPT_QUANTIZER_H

#include "mopt/plugin.h"

#define MOPT_QUANTIZER_INTERFACE "mopt.quantizer/1"

/* What is stored in the format. */
typedef uint32_t mopt_operand;
enum { MOPT_OPERAND_WEIGHT = 1, MOPT_OPERAND_INPUT = 2, MOPT_OPERAND_KV = 3 };

/* A linear's weight [rows, cols] = [out, in], before it is read. */
typedef struct mopt_weight_view {
  uint32_t struct_size;
  DLDataType dtype; /* bf16, f16 or f32 */
  mopt_str name;
  int64_t rows, cols;
} mopt_weight_view;
MOPT_STATIC_ASSERT(sizeof(mopt_weight_view) == 40);

/* One weight to encode. */
typedef struct mopt_weight_job {
  uint32_t struct_size;
  uint32_t reserved0;
  mopt_str name;
  const DLTensor* weight; /* [rows, cols], row-major, read-only, finite */
  float absmax;           /* max |w| of this weight */
  float group_absmax;     /* maximum over its fuse group (itself, when alone) */
} mopt_weight_job;
MOPT_STATIC_ASSERT(sizeof(mopt_weight_job) == 40);

/* A quantized weight as read from a checkpoint. */
typedef struct mopt_qtensor {
  uint32_t struct_size;
  uint32_t n_tensors;
  mopt_str name;
  int64_t rows, cols;
  const mopt_named_tensor* tensors; /* by role */
} mopt_qtensor;
MOPT_STATIC_ASSERT(sizeof(mopt_qtensor) == 48);

typedef struct mopt_quantizer {
  uint32_t struct_size;
  uint32_t reserved0;
  /* Cheap: no device work, no files. */
  mopt_error* (*create)(const mopt_host*, const mopt_setting*, uint64_t n,
                        mopt_instance** out)MOPT_NOEXCEPT;
  void (*destroy)(mopt_instance*) MOPT_NOEXCEPT;
  /* An instance for a scheme found in a checkpoint; MOPT_UNSUPPORTED when it is not this format's.
   */
  mopt_error* (*open)(const mopt_host*, const mopt_scheme*, mopt_instance** out)MOPT_NOEXCEPT;
  /* How it stores this operand; MOPT_UNSUPPORTED when it cannot hold one. [concurrent] */
  mopt_error* (*scheme)(mopt_instance*, mopt_operand, mopt_scheme* out)MOPT_NOEXCEPT;
  /* The tensors that quantize will emit for this weight, by role; or why it cannot hold it (a block
   * that does not divide the columns). No weight is read. [concurrent] */
  mopt_error* (*plan)(mopt_instance*, const mopt_weight_view*, mopt_decl_sink)MOPT_NOEXCEPT;
  /* Emits exactly the tensors that plan declared. [concurrent] */
  mopt_error* (*quantize)(mopt_instance*, const mopt_exec*, const mopt_weight_job*,
                          mopt_tensor_sink)MOPT_NOEXCEPT;
  /* out [rows, cols], f32 or bf16 (one rounding of the f32 value). [concurrent] */
  mopt_error* (*dequantize)(mopt_instance*, const mopt_exec*, const mopt_qtensor*,
                            DLTensor* out)MOPT_NOEXCEPT;
  /* Range -> the scale stored for a static input or KV cache; finite and above zero. [concurrent]
   */
  mopt_error* (*input_scale)(mopt_instance*, mopt_operand, float absmax, float* scale)MOPT_NOEXCEPT;
  /* x [rows, cols], f32 or bf16 -> out of the same type: quantized and back, as an engine with
   * native support does to a layer's input (or to K and V). scale NULL: none is stored. In place
   * allowed. [concurrent] */
  mopt_error* (*quantize_input)(mopt_instance*, const mopt_exec*, mopt_operand, const DLTensor* x,
                                const float* scale, DLTensor* out)MOPT_NOEXCEPT;
  /* The same for products of codes: x [rows, cols] -> codes [rows, cols] of the scheme's element,
   * and f32 scales [1], or [rows] where each token has its own. What a code stands for times its
   * scale, rounded to x's type, is what quantize_input gives. MOPT_UNSUPPORTED without the flag
   * MOPT_ENCODES_INPUTS. [concurrent] */
  mopt_error* (*encode_input)(mopt_instance*, const mopt_exec*, const DLTensor* x,
                              const float* scale, DLTensor* codes, DLTensor* scales)MOPT_NOEXCEPT;
} mopt_quantizer;
MOPT_STATIC_ASSERT(sizeof(mopt_quantizer) == 88);

#endif
