// What stands beside the weights of a converted model: configuration, tokenizer, licence.
#pragma once

#include <filesystem>
#include <vector>

#include "host/loader/components.hpp"
#include "host/pipeline/checkpoint.hpp"

namespace mopt::cli {

enum class Weights { kAsStored, kPlain };  // kPlain: of one float type, no longer quantized

// Copies the source's side files; config.json says the new type and, for plain weights, nothing of
// quantization.
void write_side_files(const pipeline::Checkpoint& source, Weights,
                      const std::vector<TensorDecl>& written,
                      const std::filesystem::path& directory);

}  // namespace mopt::cli
