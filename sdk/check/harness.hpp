// Runs one test of a plugin in a child process: a crash, a hang or a message is the result.
#pragma once

#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace mopt::conformance {

// What a test throws when a rule is broken; the text names the rule (MP-..) and what was found.
class Broken : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// What a test throws when the plugin has no component that it is about.
class NotApplicable {};

struct Test {
  std::string name;
  std::function<void()> body;
};

// Empty when it passed, else what was wrong; nothing when it does not apply to the plugin.
std::optional<std::string> run_apart(const Test& test);

// Tests by group. Each opens the file itself, so that nothing leaks from one to the next.
std::vector<Test> load_tests(const std::string& file);
std::vector<Test> describe_tests(const std::string& file);
std::vector<Test> life_cycle_tests(const std::string& file);
std::vector<Test> quantizer_tests(const std::string& file);

}  // namespace mopt::conformance
