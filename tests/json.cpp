#include "tests/json.hpp"

#include "tests/golden.hpp"

namespace mopt::test {

nlohmann::json parse_json(std::string_view text) {
  return nlohmann::json::parse(text);
}

nlohmann::json read_json(const std::string& file) {
  return parse_json(read_file(file));
}

std::string json_text(const nlohmann::json& value) {
  return value.dump();
}

}  // namespace mopt::test

doctest::String doctest::StringMaker<nlohmann::json>::convert(const nlohmann::json& value) {
  return mopt::test::json_text(value).c_str();
}
