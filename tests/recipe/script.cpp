#include "tests/recipe/script.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

namespace mopt::test {
namespace {

constexpr std::array kBlocks{"recipe", "write", "stdin", "stdout", "stderr", "output", "stdout-is"};
constexpr std::array kLines{
    "run",       "host",     "exit",      "file",           "no-file",     "json",   "same",
    "differ",    "copy",     "truncate",  "flip",           "append",      "remove", "mkdir",
    "edit",      "size",     "env",       "keep",           "flip-tensor", "tensor", "no-stdout",
    "no-stderr", "contains", "json-file", "export-matches", "close",       "lines"};

bool contains(const auto& names, std::string_view word) {
  return std::find(names.begin(), names.end(), word) != names.end();
}

std::string_view first_word(std::string_view line) {
  return line.substr(0, line.find(' '));
}

// A line such as `file = "x"` belongs to a recipe, `file x` is a directive.
bool is_directive(std::string_view line) {
  const std::string_view word = first_word(line);
  if (!contains(kBlocks, word) && !contains(kLines, word)) return false;
  const size_t next = line.find_first_not_of(' ', word.size());
  return next == std::string_view::npos || line[next] != '=';
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    text = end == std::string_view::npos ? "" : text.substr(end + 1);
  }
  return lines;
}

char escaped(std::string_view text, size_t& i) {
  const char c = text[++i];
  if (c == 'n') return '\n';
  if (c == 't') return '\t';
  if (c != 'x' || i + 2 >= text.size()) return c;
  const std::string digits(text.substr(i + 1, 2));
  i += 2;
  return static_cast<char>(std::stoi(digits, nullptr, 16));
}

class Parser {
 public:
  Parser(const std::string& file, std::string_view text) : file_(file), lines_(lines_of(text)) {}

  std::vector<Script> parse() {
    for (; at_ < lines_.size(); ++at_) {
      const std::string& line = lines_[at_];
      if (line.starts_with("# test:")) {
        scripts_.push_back({file_, line.substr(line.find_first_not_of(' ', 7)), number(), {}, {}});
      } else if (line.starts_with("# needs:")) {
        current().needs.push_back(line.substr(line.find_first_not_of(' ', 8)));
      } else if (is_directive(line)) {
        add_step(line);
      } else if (line.find_first_not_of(" \t") != std::string::npos && line[0] != '#') {
        fail("no directive starts with '" + std::string(first_word(line)) + "'");
      }
    }
    return std::move(scripts_);
  }

 private:
  int number() const { return static_cast<int>(at_) + 1; }
  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(file_ + ":" + std::to_string(number()) + ": " + what);
  }
  Script& current() {
    if (scripts_.empty()) fail("a test starts with '# test: what it shows'");
    return scripts_.back();
  }
  void add_step(const std::string& line) {
    Step step{number(), std::string(first_word(line)), {}, {}};
    step.words = split_words(std::string_view(line).substr(step.directive.size()));
    if (contains(kBlocks, step.directive)) step.block = block();
    current().steps.push_back(std::move(step));
  }
  std::vector<std::string> block() {
    std::vector<std::string> lines;
    while (at_ + 1 < lines_.size() && !is_directive(lines_[at_ + 1]) &&
           !lines_[at_ + 1].starts_with("# test:")) {
      const std::string& line = lines_[++at_];
      lines.push_back(line.starts_with("|") ? line.substr(1) : line);
    }
    while (!lines.empty() && lines.back().empty())
      lines.pop_back();
    return lines;
  }

  std::string file_;
  std::vector<std::string> lines_;
  size_t at_ = 0;
  std::vector<Script> scripts_;
};

}  // namespace

std::vector<Script> parse_scripts(const std::string& file, std::string_view text) {
  return Parser(file, text).parse();
}

std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words;
  bool inside = false, quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!quoted && text[i] == ' ') {
      inside = false;
      continue;
    }
    if (!inside) words.emplace_back();
    inside = true;
    if (text[i] == '"') {
      quoted = !quoted;
    } else if (quoted && text[i] == '\\' && i + 1 < text.size()) {
      words.back() += escaped(text, i);
    } else {
      words.back() += text[i];
    }
  }
  return words;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines)
    text += line + "\n";
  return text;
}

}  // namespace mopt::test
