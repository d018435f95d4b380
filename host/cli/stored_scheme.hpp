// Which tensors of a checkpoint belong to quantized parameters, whichever layout wrote it.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "host/loader/container.hpp"

namespace mopt::cli {

// The quantized parameters of a checkpoint with the exporter that understood it; an exporter's
// names live as long as its plugin.
struct StoredLayout {
  std::unique_ptr<Exporter> exporter;  // null: not quantized, or no loaded layout knows it
  ReadResult read;
};

StoredLayout read_layout(const Registry&, const Container&);

// Stored tensor -> scheme, such as "nvfp4" or "nvfp4, input nvfp4" for the payload and
// "nvfp4 scale" for what belongs to it.
std::unordered_map<std::string, std::string> scheme_names(const StoredLayout&);

}  // namespace mopt::cli
