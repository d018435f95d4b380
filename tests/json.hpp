// JSON in tests. Parsing and printing are compiled once: each costs a second in every file.
#pragma once

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace mopt::test {

nlohmann::json parse_json(std::string_view text);
nlohmann::json read_json(const std::string& file);
std::string json_text(const nlohmann::json&);

}  // namespace mopt::test

// What a failed CHECK shows.
template <>
struct doctest::StringMaker<nlohmann::json> {
  static String convert(const nlohmann::json& value);
};
