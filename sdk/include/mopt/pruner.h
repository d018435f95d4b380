/* pruner.h: "mopt.pruner/1", a rule that sets weights to zero. */
#ifndef MOPT_PRUNER_H
#define MOPT_PRUNER_H

#include "mopt/quantizer.h"

#define MOPT_PRUNER_INTERFACE "mopt.pruner/1"

typedef struct mopt_pruner {
  uint32_t struct_size;
  uint32_t reserved0;
  mopt_error* (*create)(const mopt_host*, const mopt_setting*, uint64_t n,
                        mopt_instance** out)MOPT_NOEXCEPT;
  void (*destroy)(mopt_instance*) MOPT_NOEXCEPT;
  /* Why this weight cannot be pruned, or NULL. No weight is read. [concurrent] */
  mopt_error* (*plan)(mopt_instance*, const mopt_weight_view*)MOPT_NOEXCEPT;
  /* mask [rows, cols] u8, 1 = kept, 0 = becomes zero; allocated by the host. [concurrent] */
  mopt_error* (*mask)(mopt_instance*, const mopt_exec*, const mopt_weight_job*,
                      DLTensor* mask)MOPT_NOEXCEPT;
} mopt_pruner;
MOPT_STATIC_ASSERT(sizeof(mopt_pruner) == 40);

#endif
