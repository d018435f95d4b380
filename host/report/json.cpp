#include "host/report/json.hpp"

#include <cmath>
#include <cstdio>
#include <cstdlib>

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

}  // namespace mopt
