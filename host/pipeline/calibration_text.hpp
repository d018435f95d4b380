// Calibration rows as text: what a run hashes, and what it keeps of the rows that a model wrote
// itself. A row is a line of ids, each with a space behind it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "host/pipeline/stream.hpp"

namespace mopt::pipeline {

std::string rows_text(const TokenRows&);
// The rows of a file that begins with a line `key`; none when it has another key or is not there.
std::optional<TokenRows> saved_rows(const std::filesystem::path&, const std::string& key);

}  // namespace mopt::pipeline
