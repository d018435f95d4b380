// One function per command: prints its result, answers the exit code, throws Failure or
// mopt::Error.
#pragma once

#include "host/cli/app.hpp"
#include "host/cli/options.hpp"
#include "host/recipe/diagnostic.hpp"

namespace mopt::cli {

Exit run_job(App&, const JobOptions&);
Exit run_plugins(App&, const PluginsOptions&);
Exit run_explain(App&, const ExplainOptions&);
Exit run_inspect(App&, const InspectOptions&);
Exit run_verify(App&, const VerifyOptions&);
Exit run_eval(App&, const EvalOptions&);
Exit run_logits(App&, const LogitsOptions&);
Exit run_generate(App&, const GenerateOptions&);
Exit run_tokenize(App&, const TokenizeOptions&);
Exit run_convert(App&, const ConvertOptions&);
Exit run_diff(App&, const DiffOptions&);

}  // namespace mopt::cli
