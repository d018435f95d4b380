#include "scanner.hpp"

#include <nlohmann/json.hpp>

#include "mopt/error.hpp"
#include "plain.hpp"

namespace mopt::safetensors {

std::string_view Scanner::string(std::string_view expected) {
  expect('"', expected);
  const size_t begin = at_;
  bool copied = false;  // scratch_ holds everything before at_
  at_ += plain_words(text_.substr(at_));
  while (at_ < text_.size()) {
    const auto c = static_cast<unsigned char>(text_[at_]);
    if (c == '"') {
      ++at_;
      return copied ? std::string_view(scratch_) : text_.substr(begin, at_ - 1 - begin);
    }
    if (c < 0x20) fail("a string without control characters");
    if (c == '\\') {
      if (!copied) scratch_ = text_.substr(begin, at_ - begin);
      copied = true;
      escape();
      continue;
    }
    const size_t n = c < 0x80 ? 1 : utf8_length();
    if (copied) scratch_ += text_.substr(at_, n);
    at_ += n;
  }
  fail("the closing quote of a string");
}

void Scanner::escape() {
  constexpr std::string_view kFrom = "\"\\/bfnrt", kTo = "\"\\/\b\f\n\r\t";
  ++at_;
  if (at_ >= text_.size()) fail("an escape sequence");
  const char c = text_[at_];
  if (c != 'u') {
    const size_t i = kFrom.find(c);
    if (i == std::string_view::npos) fail("an escape sequence of JSON");
    scratch_ += kTo[i];
    ++at_;
    return;
  }
  ++at_;
  uint32_t code_point = hex4();
  if (code_point >= 0xD800 && code_point < 0xDC00) {
    if (text_.substr(at_, 2) != "\\u") fail("the second half of a surrogate pair");
    at_ += 2;
    const uint32_t low = hex4();
    if (low < 0xDC00 || low > 0xDFFF) fail("the second half of a surrogate pair");
    code_point = 0x10000 + ((code_point - 0xD800) << 10) + (low - 0xDC00);
  } else if (code_point >= 0xDC00 && code_point < 0xE000) {
    fail("the first half of a surrogate pair");
  }
  append_utf8(code_point);
}

uint32_t Scanner::hex4() {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) fail("four hexadecimal digits");
    value = value << 4 | static_cast<uint32_t>(digit);
  }
  return value;
}

void Scanner::append_utf8(uint32_t c) {
  const auto tail = [&](int shift) { scratch_ += static_cast<char>(0x80 | ((c >> shift) & 0x3F)); };
  if (c < 0x80) {
    scratch_ += static_cast<char>(c);
  } else if (c < 0x800) {
    scratch_ += static_cast<char>(0xC0 | c >> 6);
    tail(0);
  } else if (c < 0x10000) {
    scratch_ += static_cast<char>(0xE0 | c >> 12);
    tail(6);
    tail(0);
  } else {
    scratch_ += static_cast<char>(0xF0 | c >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

// Length of the multi-byte sequence at at_; refuses overlong forms, surrogates and stray bytes.
size_t Scanner::utf8_length() const {
  const auto byte = [&](size_t i) -> uint32_t {
    return at_ + i < text_.size() ? static_cast<unsigned char>(text_[at_ + i]) : 0;
  };
  const uint32_t lead = byte(0);
  const size_t n = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  uint32_t code_point = lead & (0x7Fu >> n);
  bool good = lead >= 0xC2 && lead < 0xF5;
  for (size_t i = 1; i < n; ++i) {
    good = good && (byte(i) & 0xC0) == 0x80;
    code_point = code_point << 6 | (byte(i) & 0x3F);
  }
  if (!good || code_point < kSmallest[n] || code_point > 0x10FFFF ||
      (code_point >= 0xD800 && code_point < 0xE000)) {
    fail("text in UTF-8");
  }
  return n;
}

uint64_t Scanner::integer(std::string_view expected) {
  const char first = peek();
  if (first < '0' || first > '9') fail(expected);
  const size_t begin = at_;
  uint64_t value = 0;
  while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
    const auto digit = static_cast<uint64_t>(text_[at_] - '0');
    if (__builtin_mul_overflow(value, uint64_t{10}, &value) ||
        __builtin_add_overflow(value, digit, &value)) {
      fail("an integer below 2^64");
    }
    ++at_;
  }
  if (first == '0' && at_ - begin > 1) fail("an integer without leading zeros");
  return value;
}

// Finds the end by quotes and brackets; whether it is JSON in between is nlohmann's to say.
void Scanner::skip_value() {
  peek();
  const size_t begin = at_;
  int depth = 0;
  while (at_ < text_.size()) {
    const char c = text_[at_];
    const bool closes = c == ']' || c == '}';
    if (depth == 0 && (c == ',' || closes)) break;
    if (c == '"') {
      string("a string");
      continue;
    }
    depth += (c == '[' || c == '{' ? 1 : 0) - (closes ? 1 : 0);
    ++at_;
  }
  if (!nlohmann::json::accept(slice(begin))) {
    at_ = begin;
    fail("a JSON value");
  }
}

void Scanner::end() {
  peek();
  if (at_ != text_.size()) fail("nothing but spaces after the object");
}

void Scanner::fail(std::string_view expected) const {
  const std::string found =
      at_ < text_.size() ? in_quotes(text_.substr(at_, 12)) : std::string("its end");
  throw Error(MOPT_DATA_LOSS,
              std::string(file_) + (tensor_.empty() ? "" : ": tensor " + in_quotes(tensor_)) +
                  ": expected " + std::string(expected) + " at byte " + std::to_string(at_) +
                  " of its JSON, found " + found + "; " + std::string(kDamaged),
              std::string(tensor_.empty() ? file_ : tensor_));
}

}  // namespace mopt::safetensors
