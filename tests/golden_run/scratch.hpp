// A directory for one test, and the program run in it.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tests/recipe/process.hpp"
#include "tests/temp_directory.hpp"

namespace mopt::test {

// The program under test: what the build made, or MOPT_HOST.
std::string host_program();

class Scratch : public TempDir {
 public:
  // mopt-host WORDS here.
  Outcome host(std::vector<std::string> words) const;
};

// Files and folders of `from`, writable.
void copy_folder(const std::filesystem::path& from, const std::filesystem::path& to);

// Every file below `directory` by its relative name, with its content.
std::map<std::string, std::string> contents(const std::filesystem::path& directory);

// `contents` without the two files that tell times and machines.
std::map<std::string, std::string> lasting_contents(const std::filesystem::path& directory);

}  // namespace mopt::test
