#include "host/text/oniguruma.hpp"

#include <cstdint>
#include <vector>

#include "host/text/char_set.hpp"
#include "host/text/unicode.hpp"

namespace mopt::text {
namespace {

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}
  std::string run();

 private:
  void step();
  void open_group();
  void open_options();
  void close_group();
  void escape();
  bool quantifier();
  bool interval();
  void begin_quantifier();
  void end_quantifier() { quantified_end_ = out_.size(); }
  void atom(const std::string& expression);
  char peek(size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }
  void copy(size_t bytes) {
    out_ += in_.substr(at_, bytes);
    at_ += bytes;
  }

  struct Group {
    size_t begin;        // of its "(" in out_
    int inner_ends = 0;  // groups that an isolated option such as (?i) opened inside
  };

  std::string_view in_;
  size_t at_ = 0;
  std::string out_;
  size_t atom_ = 0;                            // where the last atom begins in out_
  size_t quantified_end_ = std::string::npos;  // size of out_ behind the last quantifier
  std::vector<Group> groups_ = {Group{0}};
};

std::string Translator::run() {
  while (at_ < in_.size()) {
    step();
  }
  if (groups_.size() != 1) refuse_pattern(in_, "( without )");
  out_.append(static_cast<size_t>(groups_.back().inner_ends), ')');
  return out_;
}

void Translator::atom(const std::string& expression) {
  atom_ = out_.size();
  out_ += expression;
}

void Translator::step() {
  const char c = peek();
  switch (c) {
    case '(':
      return open_group();
    case ')':
      return close_group();
    case '\\':
      return escape();
    case '[':
      ++at_;
      return atom(read_brackets(in_, at_));
    case ']':
      ++at_;
      return atom("\\]");
    case '|':
    case '^':
    case '$':
      return copy(1);
    default:
      break;
  }
  if (quantifier()) return;
  if (c == '{' || c == '}') {
    ++at_;
    return atom(std::string{'\\', c});
  }
  atom_ = out_.size();
  copy(code_point_size(in_, at_));
}

void Translator::open_group() {
  groups_.push_back({out_.size()});
  const std::string_view rest = in_.substr(at_);
  if (rest.starts_with("(*")) refuse_pattern(in_, "a callout (*");
  if (!rest.starts_with("(?")) return copy(1);
  const char kind = peek(2);
  if (kind == ':' || kind == '=' || kind == '!' || kind == '>') return copy(3);
  if (kind == '<' && (peek(3) == '=' || peek(3) == '!')) return copy(4);
  if (kind == '<') {
    const size_t close = rest.find('>');
    if (close == std::string_view::npos) refuse_pattern(in_, "(?< without >");
    return copy(close + 1);
  }
  if (kind == '#') {
    const size_t close = rest.find(')');
    if (close == std::string_view::npos) refuse_pattern(in_, "( without )");
    groups_.pop_back();
    at_ += close + 1;
    return;
  }
  open_options();
}

// "(?i:", "(?i)", "(?m-i:": Oniguruma's m is PCRE2's s; an isolated option holds up to the end of
// the enclosing group, alternatives included.
void Translator::open_options() {
  std::string options;
  bool off = false;
  for (at_ += 2;; ++at_) {
    const char c = peek();
    if (c == ':' || c == ')') break;
    if (c == '-') off = true;
    if (c == '-' || c == 'i') {
      options += c;
    } else if (c == 'm') {
      options += 's';
    } else if (c != 'x' || !off) {
      refuse_pattern(in_, std::string("the group (?") + (c == '\0' ? "" : std::string(1, c)));
    }
  }
  const size_t begin = out_.size();
  out_ += "(?" + options + ":";
  if (peek() == ')') {
    groups_.pop_back();
    ++groups_.back().inner_ends;
  } else {
    groups_.back().begin = begin;
  }
  ++at_;
}

void Translator::close_group() {
  if (groups_.size() == 1) refuse_pattern(in_, ") without (");
  out_.append(static_cast<size_t>(groups_.back().inner_ends), ')');
  copy(1);
  atom_ = groups_.back().begin;
  groups_.pop_back();
}

void Translator::escape() {
  if (at_ + 1 >= in_.size()) refuse_pattern(in_, "a backslash at the end");
  const char c = peek(1);
  if (c == 'y' || c == 'Y') refuse_pattern(in_, std::string("the text segment boundary \\") + c);
  if (c == 'b' || c == 'B') {
    const std::string word = word_characters().expression();
    const std::string same = c == 'b' ? "!" : "=", other = c == 'b' ? "=" : "!";
    at_ += 2;
    return atom("(?:(?<=" + word + ")(?" + same + word + ")|(?<!" + word + ")(?" + other + word +
                "))");
  }
  if (c == 'O') return at_ += 2, atom("\\p{Any}");
  atom_ = out_.size();
  if (std::string_view("AzZGKNRX").find(c) != std::string_view::npos) return copy(2);
  if (c == 'k' || c == 'g') {
    const size_t close = in_.find('>', at_);
    if (peek(2) != '<' || close == std::string_view::npos) refuse_pattern(in_, "\\k without <");
    return copy(close + 1 - at_);
  }
  if (c >= '1' && c <= '9') {
    copy(2);
    while (peek() >= '0' && peek() <= '9')
      copy(1);
    return;
  }
  ++at_;
  const CharSet set = read_escape(in_, at_);
  // A lone code point needs no brackets.
  const bool lone = set.alternatives.empty() && set.items.size() <= 2 && set.items != "\\p";
  out_ += lone ? set.items : set.expression();
}

// A quantifier of something already quantified repeats the whole of it.
void Translator::begin_quantifier() {
  if (out_.size() != quantified_end_) return;
  out_.insert(atom_, "(?:");
  out_ += ')';
}

bool Translator::quantifier() {
  const char c = peek();
  if (c != '*' && c != '+' && c != '?') return interval();
  begin_quantifier();
  copy(1);
  if (peek() == '?' || peek() == '+') copy(1);
  end_quantifier();
  return true;
}

// {n}, {n,}, {n,m}, {,m}. Only "?" after a comma form makes it lazy; any other sign behind an
// interval is a quantifier of its own.
bool Translator::interval() {
  if (peek() != '{') return false;
  size_t end = 1;
  std::string low, high;
  while (peek(end) >= '0' && peek(end) <= '9')
    low += peek(end++);
  const bool comma = peek(end) == ',';
  if (comma) ++end;
  while (comma && peek(end) >= '0' && peek(end) <= '9')
    high += peek(end++);
  if (peek(end) != '}' || (low.empty() && high.empty())) return false;
  at_ += end + 1;
  begin_quantifier();
  if (low.empty()) low = "0";
  out_ += '{';
  out_ += low;
  if (comma) out_ += ',';
  out_ += high;
  out_ += '}';
  if (comma && peek() == '?') copy(1);
  end_quantifier();
  return true;
}

}  // namespace

std::string oniguruma_to_pcre(std::string_view pattern) {
  if (!is_valid_utf8(pattern)) refuse_pattern(pattern, "bytes that are not UTF-8");
  return Translator(pattern).run();
}

}  // namespace mopt::text
