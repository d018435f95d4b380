// A strict JSON scanner for headers and indexes: it knows their shape and looks at each byte once.
// Half a million tensors have a header of 60 MB, which a document tree would multiply by ten.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mopt::safetensors {

class Scanner {
 public:
  // `file` is for messages. Both must outlive the scanner.
  Scanner(std::string_view text, std::string_view file) : text_(text), file_(file) {}

  // The next character that is not white space, 0 at the end.
  char peek() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t')) {
      ++at_;
    }
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  // Consumes c when it is next.
  bool accept(char c) {
    if (peek() != c || at_ >= text_.size()) return false;
    ++at_;
    return true;
  }
  void expect(char c, std::string_view expected) {
    if (!accept(c)) fail(expected);
  }
  // Validated UTF-8; valid until the next call.
  std::string_view string(std::string_view expected);
  uint64_t integer(std::string_view expected);
  // Any JSON value.
  void skip_value();
  void end();
  size_t position() const { return at_; }
  std::string_view slice(size_t begin) const { return text_.substr(begin, at_ - begin); }
  // The tensor that messages name, borrowed until the next call.
  void about(std::string_view tensor) { tensor_ = tensor; }
  [[noreturn]] void fail(std::string_view expected) const;

 private:
  void escape();
  void append_utf8(uint32_t code_point);
  uint32_t hex4();
  size_t utf8_length() const;

  std::string_view text_, file_, tensor_;
  size_t at_ = 0;
  std::string scratch_;
};

}  // namespace mopt::safetensors
