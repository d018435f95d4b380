#include "host/report/json.hpp"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace mopt {

Json json_number(double value) {
  if (!std::isfinite(value)) return nullptr;
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return std::strtod(text, nullptr);
}

Json json_problem(const Diagnostic& d) {
  Json p;
  p["code"] = d.code;
  if (!d.file.empty()) p["file"] = d.file;
  if (d.line > 0) p["line"] = d.line;
  if (d.column > 0) p["column"] = d.column;
  if (!d.tensor.empty()) p["tensor"] = d.tensor;
  p["message"] = d.message;
  if (!d.remedy.empty()) p["remedy"] = d.remedy;
  return p;
}

Json json_problems(const std::vector<Diagnostic>& diagnostics) {
  Json list = Json::array();
  for (const Diagnostic& d : diagnostics)
    list.push_back(json_problem(d));
  return list;
}

std::string json_text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string json_page(const Json& json) {
  if (!json.is_object()) return json_text(json) + "\n";
  std::string out = "{";
  const char* separator = "\n";
  for (const auto& [key, value] : json.items()) {
    out += separator + json_text(Json(key)) + ": ";
    separator = ",\n";
    if (!value.is_array() || value.empty() || !value.front().is_structured()) {
      out += json_text(value);
      continue;
    }
    for (size_t i = 0; i < value.size(); ++i) {
      out += (i == 0 ? "[\n  " : ",\n  ") + json_text(value[i]);
    }
    out += "\n]";
  }
  return out + "\n}\n";
}

void JsonPage::member(std::string_view key, const Json& value) {
  out_ += first_member_ ? "\n" : ",\n";
  first_member_ = false;
  quoted(key);
  out_ += ": " + json_text(value);
}

void JsonPage::open_rows(std::string_view key) {
  out_ += first_member_ ? "\n" : ",\n";
  first_member_ = false;
  first_row_ = true;
  quoted(key);
  out_ += ": [";
}

void JsonPage::open_row() {
  out_ += first_row_ ? "\n  {" : ",\n  {";
  first_row_ = false;
  first_in_row_ = true;
}

void JsonPage::key(std::string_view key) {
  if (!first_in_row_) out_ += ',';
  first_in_row_ = false;
  quoted(key);
  out_ += ':';
}

// Plain ASCII goes as it is; the rest is the library's to escape.
void JsonPage::quoted(std::string_view value) {
  for (const char c : value) {
    if (c >= 0x20 && c < 0x7F && c != '"' && c != '\\') continue;
    out_ += json_text(Json(value));
    return;
  }
  out_.append(1, '"').append(value).append(1, '"');
}

void JsonPage::text(std::string_view name, std::string_view value) {
  key(name);
  quoted(value);
}

void JsonPage::text_or_null(std::string_view name, std::string_view value) {
  if (!value.empty()) return text(name, value);
  key(name);
  out_ += "null";
}

void JsonPage::number(std::string_view name, uint64_t value) {
  key(name);
  out_ += std::to_string(value);
}

void JsonPage::numbers(std::string_view name, std::span<const int64_t> values) {
  key(name);
  out_ += '[';
  for (size_t i = 0; i < values.size(); ++i)
    out_ += (i == 0 ? "" : ",") + std::to_string(values[i]);
  out_ += ']';
}

void JsonPage::close_row() {
  out_ += '}';
}

void JsonPage::close_rows() {
  out_ += first_row_ ? "]" : "\n]";
}

std::string JsonPage::finish() {
  return std::move(out_) + "\n}\n";
}

}  // namespace mopt
