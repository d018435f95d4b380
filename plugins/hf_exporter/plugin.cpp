// The ABI edge of the hf exporter.
#include "hf_exporter.hpp"

MOPT_PLUGIN("org.mopt.hf_exporter", "0.1.0", mopt::ExporterComponent<mopt::hf::HfExporter>::value)
