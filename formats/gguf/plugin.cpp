#include "mopt/format.hpp"
#include "reader.hpp"

namespace {
using GgufFormat = mopt::FormatComponent<mopt::gguf::Reader>;
}

MOPT_PLUGIN("org.mopt.gguf", "0.1.0", GgufFormat::value)
