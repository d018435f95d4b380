// mopt-plugin-check FILE [--only TEXT] [--json]: tries a plugin against the rules of the ABI, each
// test in a process of its own. Exit 0 when all hold, 2 for wrong usage, 4 when one is broken.
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "harness.hpp"

namespace {

using mopt::conformance::Test;

std::vector<Test> all_tests(const std::string& file) {
  std::vector<Test> tests;
  for (const auto group :
       {mopt::conformance::load_tests, mopt::conformance::describe_tests,
        mopt::conformance::life_cycle_tests, mopt::conformance::quantizer_tests}) {
    std::ranges::move(group(file), std::back_inserter(tests));
  }
  return tests;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out;
}

struct Options {
  std::string file, only;
  bool json = false, valid = true;
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--json") {
      options.json = true;
    } else if (word == "--only" && i + 1 < argc) {
      options.only = argv[++i];
    } else if (!word.starts_with("-") && options.file.empty()) {
      options.file = std::filesystem::absolute(word).string();
    } else {
      options.valid = false;
    }
  }
  options.valid &= !options.file.empty();
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  if (!options.valid) {
    std::cerr << "usage: mopt-plugin-check FILE [--only TEXT] [--json]\n";
    return 2;
  }
  int broken = 0, total = 0;
  std::string rows;
  for (const Test& test : all_tests(options.file)) {
    if (test.name.find(options.only) == std::string::npos) continue;
    const std::optional<std::string> outcome = mopt::conformance::run_apart(test);
    if (!outcome) continue;
    const std::string& problem = *outcome;
    ++total;
    broken += !problem.empty();
    rows += std::string(rows.empty() ? "" : ",") + "\n  {\"test\": \"" + escaped(test.name) +
            "\", \"problem\": \"" + escaped(problem) + "\"}";
    if (options.json) continue;
    std::cout << (problem.empty() ? "ok      " : "BROKEN  ") << test.name << "\n";
    if (!problem.empty()) std::cout << "        " << problem << "\n";
  }
  if (options.json) {
    std::cout << "{\"ok\": " << (broken == 0 ? "true" : "false") << ", \"tests\": [" << rows
              << "\n]}\n";
  } else {
    std::cout << total - broken << " of " << total << " hold\n";
  }
  return broken == 0 ? 0 : 4;
}
