// A diagnostic: place, what was expected, what was found, what to do; and the failure that carries
// diagnostics to the command line. Codes and their exit codes stand in codes.cpp.
#pragma once

#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace mopt {

enum class Severity { kWarning, kError };

// The `P` of the contract. Unused members stay empty or 0.
struct Diagnostic {
  std::string code{};  // "E101"; the first letter of a warning's code is W
  std::string file{};
  int line = 0, column = 0;
  std::string tensor{};  // tensor, layer or plugin that it is about
  std::string message{};
  std::string remedy{};
  Severity severity = Severity::kError;
};

// "recipes/q.toml:14:1: error[E101]: unknown key 'quantize.rules'; did you mean 'quantize.rule'?"
// The place is the file, else the tensor; with both, the tensor stands before the message. A code
// with P is "refused" (a plugin that is left out). All parts go through printable.
std::string format(const Diagnostic&);

// A sentence of a plugin without the place that it begins with ("FILE: ", "tensor 'NAME': "), for
// a diagnostic that has the place already.
std::string without_place(std::string message, std::string_view file, std::string_view tensor = {});

// Names that come from files, safe to print: control characters, marks that turn the direction of
// text, and bytes that are not UTF-8 are escaped. A second application changes nothing.
std::string printable(std::string_view text);

// Exit codes of the contract.
enum class Exit {
  kDone = 0,
  kBug = 1,
  kRecipe = 2,
  kModel = 3,
  kVerify = 4,
  kAccuracy = 5,
  kResources = 6,
  kInterrupted = 7
};

// Ends the command: what is printed, and the exit code of the first error's code.
class Failure : public std::runtime_error {
 public:
  explicit Failure(std::vector<Diagnostic> diagnostics);
  explicit Failure(Diagnostic diagnostic) : Failure(std::vector{std::move(diagnostic)}) {}
  const std::vector<Diagnostic>& diagnostics() const { return diagnostics_; }
  Exit exit() const;

 private:
  std::vector<Diagnostic> diagnostics_;
};

// The table of every code: number, exit code, one-line title, the text of `mopt-host explain CODE`.
struct CodeEntry {
  std::string_view code;
  Exit exit;
  std::string_view title;
  std::string_view text;
};
std::span<const CodeEntry> all_codes();
const CodeEntry* find_code(std::string_view code);  // NULL when there is none

// The candidate nearest to `word` by edit distance, empty when none is near enough to suggest.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace mopt
