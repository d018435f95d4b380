/* A small plugin in C, and its broken relatives: CMakeLists.txt builds it once as it is and once
 * per fault, each with one of the macros below set. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mopt/pruner.h"

#ifndef ID
#  define ID "org.example.keep_all"
#endif
#ifndef VERSION
#  define VERSION "1.0.0"
#endif
#ifndef NAME
#  define NAME "keep_all"
#endif
#ifndef ENTRY
#  define ENTRY mopt_plugin_entry_v0
#endif
#ifndef STRUCT_SIZE
#  define STRUCT_SIZE sizeof(mopt_plugin)
#endif
#ifndef COMPONENT_SIZE
#  define COMPONENT_SIZE sizeof(mopt_component)
#endif
#ifndef TABLE_SIZE
#  define TABLE_SIZE sizeof(mopt_pruner)
#endif
#ifndef MAJOR
#  define MAJOR MOPT_ABI_MAJOR
#endif
#ifndef MINOR
#  define MINOR MOPT_ABI_MINOR
#endif
#ifndef RESERVED
#  define RESERVED 0
#endif
#ifndef COMPONENTS
#  define COMPONENTS 1
#endif
#ifndef TABLE
#  define TABLE &keep_all
#endif
#ifndef RESULT
#  define RESULT &plugin
#endif
#ifndef INIT
#  define INIT NULL
#endif

static mopt_error* create(const mopt_host* host, const mopt_setting* settings, uint64_t n,
                          mopt_instance** out) {
  static char instance;
  (void)host, (void)settings, (void)n;
  *out = (mopt_instance*)&instance;
  return NULL;
}
static void destroy(mopt_instance* self) {
  (void)self;
}
static mopt_error* plan(mopt_instance* self, const mopt_weight_view* weight) {
  (void)self, (void)weight;
  return NULL;
}
static mopt_error* mask(mopt_instance* self, const mopt_exec* exec, const mopt_weight_job* job,
                        DLTensor* out) {
  (void)self, (void)exec, (void)job;
  memset((char*)out->data + out->byte_offset, 1, (size_t)(out->shape[0] * out->shape[1]));
  return NULL;
}

static const mopt_pruner keep_all = {TABLE_SIZE, 0, create, destroy, plan, mask};
static const mopt_component component = {COMPONENT_SIZE,
                                         MOPT_SERVES_CPU | MOPT_CONCURRENT,
                                         "mopt.pruner/1",
                                         NAME,
                                         "sets nothing to zero",
                                         NULL,
                                         0,
                                         TABLE};

static void release(mopt_error* error) {
  (void)error;
}
static mopt_error* fail(const mopt_host* host) {
  static mopt_error error = {
      sizeof(mopt_error), MOPT_DEVICE, {"it needs a device that is not here", 34},
      {NULL, 0},          NULL,        release};
  (void)host;
  return &error;
}

static const mopt_plugin plugin = {STRUCT_SIZE, MAJOR,   MINOR,     RESERVED,     0,
                                   ID,          VERSION, "example", "Apache-2.0", &component,
                                   COMPONENTS,  INIT,    NULL};

#ifdef AT_LOAD
__attribute__((constructor)) static void at_load(void) {
  AT_LOAD;
}
#endif

#ifdef CALLS
void CALLS(void);
#endif

MOPT_EXPORT const mopt_plugin* ENTRY(void);
MOPT_EXPORT const mopt_plugin* ENTRY(void) {
#ifdef CALLS
  CALLS();
#endif
  (void)fail, (void)&keep_all, (void)&plugin;
  return RESULT;
}
