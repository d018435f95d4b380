// `mopt-host verify`.
#include "host/pipeline/verify.hpp"

#include "host/cli/commands.hpp"
#include "host/cli/engines_text.hpp"
#include "host/cli/models.hpp"
#include "host/report/json.hpp"

namespace mopt::cli {
namespace {

// Something that is no checkpoint at all is a wrong path, not a checkpoint that fails.
void require_checkpoint(App& app, const std::filesystem::path& directory) {
  try {
    Container::open(app.registry(), directory);
  } catch (const Error& e) {
    const bool is_none =
        e.code() == MOPT_NOT_FOUND || e.code() == MOPT_UNSUPPORTED || e.code() == MOPT_EXECUTABLE;
    if (is_none && e.where() == directory.string())
      throw Failure(pipeline::model_fault(directory.string(), e));
  }
}

std::string page(const Report::Verify& v, int width) {
  std::string out;
  for (const Diagnostic& d : v.problems)
    out += format(d) + "\n";
  if (!v.engines.empty()) out += engines_text(v.engines, width);
  return out + (v.ok ? "ok: " : "not ok: ") + printable(v.format) + "\n";
}

}  // namespace

Exit run_verify(App& app, const VerifyOptions& options) {
  require_checkpoint(app, options.directory);
  std::unique_ptr<pipeline::Checkpoint> source;
  if (options.source) source = open_tensors(app, *options.source);
  const Report::Verify v = pipeline::verify({app.registry(),
                                             options.directory,
                                             options.engines,
                                             source.get(),
                                             {},
                                             pipeline::Depth::kFull});
  if (app.json()) {
    app.console().document(
        json_page({{"ok", v.ok}, {"format", v.format}, {"problems", json_problems(v.problems)}}));
  } else {
    app.console().text(page(v, app.console().width()));
  }
  return v.ok ? Exit::kDone : Exit::kVerify;
}

}  // namespace mopt::cli
