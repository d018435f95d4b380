// Commands whose part of the pipeline is not there yet; each is refused by its name.
#include "host/cli/arguments.hpp"
#include "host/cli/commands.hpp"

namespace mopt::cli {

Exit run_job(App&, const JobOptions&) {
  usage_error("the main job is not yet available", "a later version has it");
}
Exit run_verify(App&, const VerifyOptions&) {
  usage_error("'verify' is not yet available", "a later version has it");
}
Exit run_eval(App&, const EvalOptions&) {
  usage_error("'eval' is not yet available", "a later version has it");
}
Exit run_logits(App&, const LogitsOptions&) {
  usage_error("'logits' is not yet available", "a later version has it");
}
Exit run_generate(App&, const GenerateOptions&) {
  usage_error("'generate' is not yet available", "a later version has it");
}

}  // namespace mopt::cli
