/* base.h: words shared by every header of the ABI: strings, errors, values, sizes.
 *
 * Rules for everything that crosses the boundary: C11 that is also valid C++11 to C++23,
 * fixed-width integers, 64-bit little-endian, explicit padding that is zero. Every struct that a
 * peer reads starts with struct_size; a member is read only after MOPT_HAS. ABI 0 requires an exact
 * match of version.
 */
#ifndef MOPT_BASE_H
#define MOPT_BASE_H

#include <stddef.h>
#include <stdint.h>

#define MOPT_ABI_MAJOR 0
#define MOPT_ABI_MINOR 1

#if defined(__cplusplus)
#  define MOPT_STATIC_ASSERT(condition) static_assert(condition, #  condition)
#  define MOPT_EXTERN_C extern "C"
#else
#  define MOPT_STATIC_ASSERT(condition) _Static_assert(condition, #  condition)
#  define MOPT_EXTERN_C
#endif

/* A function pointer of the ABI is noexcept where the language has such types (C++17): a thunk that
 * may throw does not compile. */
#if defined(__cplusplus) && __cplusplus >= 201703L
#  define MOPT_NOEXCEPT noexcept
#else
#  define MOPT_NOEXCEPT
#endif

#define MOPT_EXPORT MOPT_EXTERN_C __attribute__((visibility("default")))

/* True when the peer's struct is long enough to hold `member`. */
#define MOPT_HAS(ptr, type, member) \
  ((ptr)->struct_size >= offsetof(type, member) + sizeof((ptr)->member))

MOPT_STATIC_ASSERT(sizeof(void*) == 8);

/* UTF-8, not terminated; valid for the call unless the member that holds it says otherwise. */
typedef struct mopt_str {
  const char* ptr;
  uint64_t len;
} mopt_str;
MOPT_STATIC_ASSERT(sizeof(mopt_str) == 16);

typedef uint32_t mopt_code;
enum {
  MOPT_INVALID_ARGUMENT = 1, /* the user's recipe */
  MOPT_NOT_FOUND = 2,
  MOPT_UNSUPPORTED = 3,         /* a normal answer, not a fault */
  MOPT_FAILED_PRECONDITION = 4, /* called out of order */
  MOPT_OUT_OF_MEMORY = 5,
  MOPT_CANCELLED = 6,
  MOPT_IO = 7,
  MOPT_DATA_LOSS = 8, /* a file is damaged */
  MOPT_DEVICE = 9,    /* the device is lost for this process */
  MOPT_INTERNAL = 10, /* a bug */
  MOPT_ABI_MISMATCH = 11
};

/* NULL means success. The side that fails builds it, the side that receives it calls release once.
 */
typedef struct mopt_error mopt_error;
struct mopt_error {
  uint32_t struct_size;
  mopt_code code;
  mopt_str message;        /* one sentence: expected, found, remedy; no trailing newline */
  mopt_str where;          /* tensor, file or option that it is about; may be empty */
  const mopt_error* cause; /* owned by this error; may be NULL */
  void (*release)(mopt_error*) MOPT_NOEXCEPT;
};
MOPT_STATIC_ASSERT(sizeof(mopt_error) == 56);

typedef uint32_t mopt_type;
enum {
  MOPT_NONE = 0, /* absent */
  MOPT_BOOL = 1,
  MOPT_INT = 2,
  MOPT_FLOAT = 3,
  MOPT_STR = 4,
  MOPT_LIST = 5, /* of mopt_value */
  MOPT_MAP = 6   /* only in model configurations: read through its dotted path */
};

/* A tagged value. Lists are borrowed like strings. */
typedef struct mopt_value {
  mopt_type type;
  uint32_t count; /* MOPT_LIST: number of elements */
  union {
    int64_t i; /* MOPT_BOOL (0, 1) and MOPT_INT */
    double f;
    mopt_str s;
    const struct mopt_value* list;
  } as;
} mopt_value;
MOPT_STATIC_ASSERT(sizeof(mopt_value) == 24);

/* The plugin's object behind an interface; the host never looks inside. */
typedef struct mopt_instance mopt_instance;

#endif
