// A host for plugins under test: memory that ends at an unreadable page, threads, read-only inputs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mopt/mopt.h"
#include "mopt/quantizer.hpp"

namespace mopt::conformance {

enum class Services { kAll, kNone };
enum class Threads { kInline, kTwo };

// The one host of this process, with these services.
const mopt_host* host(Services services, Threads threads = Threads::kInline);
mopt_exec exec_on(const mopt_host* host);

// Opens the plugin and calls its entry; throws Broken when that is not possible.
const mopt_plugin* open_plugin(const std::string& file);

// The options of a component with their defaults.
std::vector<mopt_setting> defaults(const mopt_component& component);

// Bytes that end just below an unreadable page, aligned to 256. Never freed: tests are short-lived.

void* guarded(uint64_t bytes);
void protect(void* guarded_bytes, uint64_t bytes);

// Throws Broken with the error's text, and releases it.
void expect_success(mopt_error* error, const std::string& what);
// The code of an error, which is released; 0 when there is none.
mopt_code code_of(mopt_error* error);

}  // namespace mopt::conformance
