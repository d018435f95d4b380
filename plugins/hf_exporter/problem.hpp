// A finding about a checkpoint, before it crosses the ABI.
#pragma once

#include <string>

#include "mopt/exporter.hpp"

namespace mopt::hf {

inline constexpr std::string_view kQuantFile = "hf_quant_config.json", kConfigFile = "config.json";

struct Problem {
  std::string code, file, tensor, message, remedy;
  mopt_severity severity = MOPT_SEVERITY_ERROR;
};

inline void report(const ReadSink& sink, const Problem& p) {
  sink.problem({sizeof(mopt_problem), p.severity, str(p.code), str(p.file), str(p.tensor),
                str(p.message), str(p.remedy)});
}

}  // namespace mopt::hf
