// Hugging Face tokenizer files from tokenizer.ggml.*.
#pragma once

#include <string>

#include "metadata.hpp"

namespace mopt::gguf {

// Empty when the file holds no tokenizer; MOPT_UNSUPPORTED names a kind that has no translation.
std::string tokenizer_json(const Metadata& metadata);
std::string tokenizer_config_json(const Metadata& metadata, const std::string& arch);

}  // namespace mopt::gguf
