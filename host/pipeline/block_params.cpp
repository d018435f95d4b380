#include "host/pipeline/block_params.hpp"

namespace mopt::pipeline {

ForwardOptions BlockParams::options() {
  ForwardOptions options = options_;
  if (options.on_device != nullptr)
    options.param = [this](const std::string& name) { return upload(name); };
  return options;
}

compute::View BlockParams::upload(const std::string& name) {
  const auto known = params_.find(name);
  if (known != params_.end()) return known->second.view;
  const PreScale where = options_.quantize_inputs ? PreScale::kApart : PreScale::kFolded;
  const ParamData data = checkpoint_.load(name, options_.dtype, where);
  Param param{options_.on_device->upload(data.view.data, data.view.bytes()), data.view};
  checkpoint_.release(name);
  param.view.data = param.memory.get();
  return params_.emplace(name, std::move(param)).first->second.view;
}

}  // namespace mopt::pipeline
