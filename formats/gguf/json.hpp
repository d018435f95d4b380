// Printing a document, compiled once.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "metadata.hpp"

namespace mopt::gguf {

// With a final newline; indent -1: on one line. Texts that are not UTF-8 are MOPT_UNSUPPORTED.
std::string json_text(const Metadata& metadata, const nlohmann::ordered_json& json, int indent);

}  // namespace mopt::gguf
