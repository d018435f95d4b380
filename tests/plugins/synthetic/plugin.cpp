#include "mopt/format.hpp"
#include "reader.hpp"

namespace {
using SyntheticFormat = mopt::FormatComponent<mopt::synthetic::Reader>;
}

MOPT_PLUGIN("org.mopt.test.synthetic", "0.1.0", SyntheticFormat::value)
