#include "host/pipeline/block_params.hpp"

namespace mopt::pipeline {

ForwardOptions BlockParams::options() {
  ForwardOptions options = options_;
  if (options.on_device == nullptr) return options;
  options.param = [this](const std::string& name) { return upload(name); };
  options.codes = [this](const std::string& name) { return upload_codes(name); };
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

compute::Codes BlockParams::upload_codes(const std::string& name) {
  const auto known = codes_.find(name);
  if (known != codes_.end()) return known->second.view;
  const WeightCodes weight = checkpoint_.codes(name);
  const DLTensor& codes = *weight.codes.get();
  const auto bytes = static_cast<int64_t>(nbytes(codes));
  const auto count = static_cast<int64_t>(weight.scales.size());
  OnDevice& on = *options_.on_device;
  CodedWeight coded{on.upload(weight.codes.data<std::byte>(), bytes),
                    on.upload(weight.scales.data(), count * 4),
                    {}};
  checkpoint_.release(name);
  coded.view = {compute::view_of(coded.memory.get(), kE4m3, shape(codes)),
                compute::view_of(coded.scales.get(), kF32, {count})};
  return codes_.emplace(name, std::move(coded)).first->second.view;
}

}  // namespace mopt::pipeline
