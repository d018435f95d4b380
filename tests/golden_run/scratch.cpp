#include "tests/golden_run/scratch.hpp"

#include <cstdlib>

#include "tests/golden.hpp"

namespace mopt::test {

namespace fs = std::filesystem;

std::string host_program() {
  const char* other = std::getenv("MOPT_HOST");
  return other != nullptr ? other : MOPT_HOST;
}

Outcome Scratch::host(std::vector<std::string> words) const {
  words.insert(words.begin(), host_program());
  Command command;
  command.directory = path().string();
  command.words = std::move(words);
  return execute(command);
}

void copy_folder(const fs::path& from, const fs::path& to) {
  fs::create_directories(to);
  for (const fs::directory_entry& entry : fs::directory_iterator(from)) {
    if (!entry.is_regular_file()) continue;
    const fs::path file = to / entry.path().filename();
    fs::copy_file(entry.path(), file);
    fs::permissions(file, fs::perms::owner_write, fs::perm_options::add);
  }
}

std::map<std::string, std::string> contents(const fs::path& directory) {
  std::map<std::string, std::string> all;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    all[fs::relative(entry.path(), directory).string()] = read_file(entry.path().string());
  }
  return all;
}

std::map<std::string, std::string> lasting_contents(const fs::path& directory) {
  std::map<std::string, std::string> all = contents(directory);
  all.erase("mopt/report.json");
  all.erase("mopt/report.html");
  return all;
}

}  // namespace mopt::test
