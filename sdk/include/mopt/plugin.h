/* plugin.h: what a shared library exports: one function that returns static data. */
#ifndef MOPT_PLUGIN_H
#define MOPT_PLUGIN_H

#include "mopt/host.h"

typedef uint32_t mopt_option_flags;
enum {
  MOPT_OPTION_REQUIRED = 1,
  MOPT_OPTION_DEPRECATED = 2, /* still accepted, with a warning */
  MOPT_OPTION_HAS_MIN = 4,
  MOPT_OPTION_HAS_MAX = 8
};

/* An option of a component, declared as data: the host checks recipes, prints help and writes
 * documentation from it. Static lifetime. */
typedef struct mopt_option {
  uint32_t struct_size;
  mopt_type type; /* MOPT_BOOL, MOPT_INT, MOPT_FLOAT or MOPT_STR */
  const char *name, *help;
  mopt_option_flags flags;
  uint32_t n_choices; /* MOPT_STR: the values allowed; 0 = any */
  const char* const* choices;
  mopt_value def;  /* type MOPT_NONE: no default */
  double min, max; /* inclusive, for numbers */
} mopt_option;
MOPT_STATIC_ASSERT(sizeof(mopt_option) == 80);

/* A validated option value; the array given to create holds every option, defaults filled in. */
typedef struct mopt_setting {
  mopt_str name;
  mopt_value value;
} mopt_setting;
MOPT_STATIC_ASSERT(sizeof(mopt_setting) == 40);

typedef uint32_t mopt_component_flags;
enum {
  MOPT_SERVES_CPU = 1,
  MOPT_SERVES_CUDA = 2,
  MOPT_CONCURRENT = 4,    /* work members may run in parallel on one instance */
  MOPT_ENCODES_INPUTS = 8 /* a quantizer: encode_input works for each input that scheme allows */
};

/* Something that a recipe can name. `vtable` has the type that interface_id fixes, for instance
 * mopt_quantizer for "mopt.quantizer/1". */
typedef struct mopt_component {
  uint32_t struct_size;
  mopt_component_flags flags;
  const char *interface_id, *name, *summary;
  const mopt_option* options;
  uint64_t n_options;
  const void* vtable;
} mopt_component;
MOPT_STATIC_ASSERT(sizeof(mopt_component) == 56);

typedef struct mopt_plugin {
  uint32_t struct_size;
  uint16_t abi_major, abi_minor; /* of the headers it was built with */
  uint32_t reserved0, reserved1;
  const char *id, *version, *vendor, *license; /* id: reverse DNS, "org.mopt.nvfp4" */
  const mopt_component* components;
  uint64_t n_components;
  mopt_error* (*init)(const mopt_host*)MOPT_NOEXCEPT; /* [load] may be NULL */
  void (*shutdown)(void) MOPT_NOEXCEPT;               /* [load] may be NULL */
} mopt_plugin;
MOPT_STATIC_ASSERT(sizeof(mopt_plugin) == 80);

/* The one exported symbol. Pure: no allocation, no device, no environment, no output. */
#define MOPT_ENTRY_NAME "mopt_plugin_entry_v0"
MOPT_EXPORT const mopt_plugin* mopt_plugin_entry_v0(void) MOPT_NOEXCEPT;

/* Members of every vtable below carry a thread tag: [serial] one thread at a time per instance,
 * [concurrent] also in parallel when the component has MOPT_CONCURRENT. */

#endif
