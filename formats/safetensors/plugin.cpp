#include "mopt/format.hpp"
#include "reader.hpp"
#include "writer.hpp"

namespace {
using SafetensorsFormat =
    mopt::FormatComponent<mopt::safetensors::Reader, mopt::safetensors::Writer>;
}

MOPT_PLUGIN("org.mopt.safetensors", "0.1.0", SafetensorsFormat::value)
