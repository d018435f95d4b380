#include "host/cli/models.hpp"

namespace mopt::cli {

std::unique_ptr<pipeline::Checkpoint> open_model(App& app, const std::filesystem::path& path) {
  auto checkpoint = pipeline::Checkpoint::open(app.registry(), path);
  app.console().detail(path.string() + ": " + std::string(checkpoint->container().format()) +
                       ", adapter " + checkpoint->required_graph().architecture);
  return checkpoint;
}

std::unique_ptr<pipeline::Checkpoint> open_tensors(App& app, const std::filesystem::path& path) {
  return pipeline::Checkpoint::open(app.registry(), path, "none");
}

pipeline::ForwardOptions forward_options(App& app, const pipeline::Checkpoint& checkpoint,
                                         Precision precision) {
  pipeline::ForwardOptions options;
  // A float16 model is computed in float32: activations outgrow its range.
  const bool bf16 = precision == Precision::kBf16 ||
                    (precision == Precision::kModel && same(checkpoint.dtype(), kBf16));
  options.dtype = bf16 ? kBf16 : kF32;
  options.kernels = app.kernels();
  return options;
}

}  // namespace mopt::cli
