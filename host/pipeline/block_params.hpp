// Parameters of blocks in a device's memory.
#pragma once

#include <map>
#include <string>

#include "host/pipeline/forward.hpp"

namespace mopt::pipeline {

// Uploads what programs ask for, each parameter once, and keeps it for as long as it lives. It
// stays where it is: the programs' options point to it.
class BlockParams {
 public:
  BlockParams(const Checkpoint& checkpoint, ForwardOptions options)
      : checkpoint_(checkpoint), options_(std::move(options)) {}
  BlockParams(const BlockParams&) = delete;
  BlockParams& operator=(const BlockParams&) = delete;
  // The options with which a block's program finds them.
  ForwardOptions options();

 private:
  struct Param {
    compute::Buffer memory;
    compute::View view;
  };
  struct CodedWeight {
    compute::Buffer memory, scales;
    compute::Codes view;
  };
  compute::View upload(const std::string& name);
  compute::Codes upload_codes(const std::string& name);

  const Checkpoint& checkpoint_;
  ForwardOptions options_;
  std::map<std::string, Param> params_;
  std::map<std::string, CodedWeight> codes_;
};

}  // namespace mopt::pipeline
