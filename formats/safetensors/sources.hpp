// Which files a checkpoint consists of: one file, or a Hugging Face directory.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "index.hpp"

namespace mopt::safetensors {

struct Sources {
  std::filesystem::path directory;  // where side files stand
  std::vector<std::string> files;   // paths; as many as the index has, when there is one
  std::optional<Index> index;
};

// Finds the files of `path`. Refuses pickles and an index that leads out of the directory.
Sources find_sources(const std::string& path);

// How sure we are that `path` is ours: 0 not at all. Directories and pickles without safetensors
// count a little, so that opening them explains what is missing.
int probe(const std::filesystem::path& path, std::string_view head);

}  // namespace mopt::safetensors
