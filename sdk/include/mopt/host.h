/* host.h: what a plugin may ask of the host. Everything here may be called from any thread. */
#ifndef MOPT_HOST_H
#define MOPT_HOST_H

#include "mopt/tensor.h"

typedef int32_t mopt_log_level;
enum { MOPT_LOG_DEBUG = 0, MOPT_LOG_INFO = 1, MOPT_LOG_WARN = 2, MOPT_LOG_ERROR = 3 };

/* The host; lives until after the last shutdown. */
typedef struct mopt_host mopt_host;
struct mopt_host {
  uint32_t struct_size;
  uint16_t abi_major, abi_minor;
  const char *name, *version;
  /* A service table by id, NULL if this host has none of that id. */
  const void* (*get_service)(const mopt_host*, const char* id)MOPT_NOEXCEPT;
  /* One line, no newline, no colour. A warning becomes part of the run's report. */
  void (*log)(const mopt_host*, mopt_log_level, mopt_str component, mopt_str message) MOPT_NOEXCEPT;
};
MOPT_STATIC_ASSERT(sizeof(mopt_host) == 40);

/* Where a call runs. Inputs are ready in the stream's order and outputs must be too; on the CPU the
 * stream is NULL and calls are synchronous. */
typedef struct mopt_exec {
  uint32_t struct_size;
  uint32_t reserved0;
  DLDevice device;
  void* stream; /* CUstream, or NULL */
  const mopt_host* host;
} mopt_exec;
MOPT_STATIC_ASSERT(sizeof(mopt_exec) == 32);

/* "mopt.memory/1": tensors owned by the host's pool, contiguous, aligned to 256 bytes,
 * uninitialized. */
#define MOPT_MEMORY_SERVICE "mopt.memory/1"
typedef struct mopt_memory {
  uint32_t struct_size;
  uint32_t reserved0;
  mopt_error* (*alloc)(const mopt_exec*, DLDataType, int32_t ndim, const int64_t* shape,
                       DLManagedTensorVersioned** out)MOPT_NOEXCEPT;
} mopt_memory;
MOPT_STATIC_ASSERT(sizeof(mopt_memory) == 16);

/* "mopt.parallel/1": the host's threads. Plugins create none of their own. */
#define MOPT_PARALLEL_SERVICE "mopt.parallel/1"
typedef struct mopt_parallel {
  uint32_t struct_size;
  uint32_t reserved0;
  /* Calls body(ctx, begin, end) for the chunks [0, grain), [grain, 2 grain), ... of [0, n). The
   * chunks do not depend on the number of threads. Returns the error of the first failed chunk. A
   * nested call runs inline. */
  mopt_error* (*for_each)(int64_t n, int64_t grain,
                          mopt_error* (*body)(void* ctx, int64_t begin, int64_t end)MOPT_NOEXCEPT,
                          void* ctx)MOPT_NOEXCEPT;
} mopt_parallel;
MOPT_STATIC_ASSERT(sizeof(mopt_parallel) == 16);

/* "mopt.progress/1": poll at least every second; answer MOPT_CANCELLED when it is not 0. */
#define MOPT_PROGRESS_SERVICE "mopt.progress/1"
typedef struct mopt_progress {
  uint32_t struct_size;
  uint32_t reserved0;
  int32_t (*cancelled)(void) MOPT_NOEXCEPT;
} mopt_progress;
MOPT_STATIC_ASSERT(sizeof(mopt_progress) == 16);

#endif
