// Rows of tokens as the text that an unfinished run keeps.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "host/pipeline/stream.hpp"

namespace mopt::pipeline {

std::string rows_text(const TokenRows&);
// The rows of an interrupted run, when they were written for the same key.
std::optional<TokenRows> saved_text(const std::filesystem::path&, const std::string& key);

}  // namespace mopt::pipeline
