// JSON pieces that documents share. For .cpp files only: it drags in the JSON library.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "host/recipe/diagnostic.hpp"

namespace mopt {

using Json = nlohmann::ordered_json;

// Six significant digits, more than any measurement here has; null when it is not finite.
Json json_number(double);

// The `P` of the contract: unused members are absent.
Json json_problem(const Diagnostic&);
Json json_problems(const std::vector<Diagnostic>&);

// On one line. Bytes that are not UTF-8 become U+FFFD.
std::string json_text(const Json&);

// One member of the outermost object a line, and one element a line of its arrays; with a final
// newline.
std::string json_page(const Json&);

// A page like json_page's that is written as it grows: for lists of hundreds of thousands of rows,
// where a tree of values would cost more than the work that it describes.
class JsonPage {
 public:
  // Room for so many more bytes: text that doubles its room again and again is copied as often.
  void reserve(size_t bytes) { out_.reserve(out_.size() + bytes); }
  void member(std::string_view key, const Json&);
  // Between open_rows and close_rows: one object per row, of members in the order of the calls.
  void open_rows(std::string_view key);
  void open_row();
  void text(std::string_view key, std::string_view value);
  void text_or_null(std::string_view key, std::string_view value);  // empty: null
  void number(std::string_view key, uint64_t value);
  void numbers(std::string_view key, std::span<const int64_t> values);
  void close_row();
  void close_rows();
  std::string finish();

 private:
  void key(std::string_view key);
  void quoted(std::string_view value);
  std::string out_ = "{";
  bool first_member_ = true, first_row_ = true, first_in_row_ = true;
};

}  // namespace mopt
