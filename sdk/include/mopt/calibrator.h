/* calibrator.h: "mopt.calibrator/1", an algorithm that turns statistics into ranges. It declares
 * what it needs; the host computes that in its one pass over the model. */
#ifndef MOPT_CALIBRATOR_H
#define MOPT_CALIBRATOR_H

#include "mopt/quantizer.h"

#define MOPT_CALIBRATOR_INTERFACE "mopt.calibrator/1"

/* Statistics that a host may offer, by name. A calibrator asks by name and is told before the run
 * when the host has none of that name.
 *   absmax   F32 []: max |x| over every element that the site saw */
#define MOPT_STAT_ABSMAX "absmax"

/* One operand of one op that a rule quantizes with a stored range. */
typedef struct mopt_site {
  uint32_t struct_size;
  mopt_operand operand; /* MOPT_OPERAND_INPUT or MOPT_OPERAND_KV */
  mopt_str name;        /* "model.layers.3.self_attn.q_proj:input", "...self_attn.k_proj:kv" */
  mopt_str role;        /* "attn.q" */
  const mopt_scheme* scheme;
  int64_t channels;
} mopt_site;
MOPT_STATIC_ASSERT(sizeof(mopt_site) == 56);

typedef struct mopt_stat_sink {
  void* ctx;
  mopt_error* (*want)(void* ctx, mopt_str stat)MOPT_NOEXCEPT;
} mopt_stat_sink;

typedef struct mopt_range_sink {
  void* ctx;
  /* The range [-absmax, absmax] that the site's scale must cover. */
  mopt_error* (*put)(void* ctx, float absmax)MOPT_NOEXCEPT;
} mopt_range_sink;

typedef struct mopt_calibrator {
  uint32_t struct_size;
  uint32_t reserved0;
  mopt_error* (*create)(const mopt_host*, const mopt_setting*, uint64_t n,
                        mopt_instance** out)MOPT_NOEXCEPT;
  void (*destroy)(mopt_instance*) MOPT_NOEXCEPT;
  /* Names the statistics that it needs at this site. [serial] */
  mopt_error* (*plan)(mopt_instance*, const mopt_site*, mopt_stat_sink)MOPT_NOEXCEPT;
  /* `stats` holds what plan asked for, in that order. [serial] */
  mopt_error* (*solve)(mopt_instance*, const mopt_exec*, const mopt_site*,
                       const mopt_named_tensor* stats, uint64_t n, mopt_range_sink)MOPT_NOEXCEPT;
} mopt_calibrator;
MOPT_STATIC_ASSERT(sizeof(mopt_calibrator) == 40);

#endif
