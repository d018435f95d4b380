// For the tests of this folder: a catalogue of components in memory.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "host/recipe/recipe.hpp"
#include "mopt/mopt.h"
#include "mopt/plugin.hpp"
#include "tests/temp_directory.hpp"

namespace doctest {
template <>
struct StringMaker<std::vector<std::string>> {
  static String convert(const std::vector<std::string>& lines) {
    std::string out;
    for (const std::string& line : lines)
      out += "\n  " + line;
    return out.c_str();
  }
};
}  // namespace doctest

namespace mopt::test {

inline constexpr const char* kGranularity[] = {"tensor", "channel", "token", "block"};
inline constexpr mopt_option kFp8[] = {
    choice_option("granularity", "tensor", kGranularity, "what shares a scale")};
inline constexpr mopt_option kInt8[] = {
    choice_option("granularity", "channel", kGranularity, "what shares a scale")};
inline constexpr mopt_option kInt4[] = {int_option("block", 128, 16, 1024, "elements per scale")};
inline constexpr mopt_option kNvfp4[] = {
    int_option("block_size", 16, 16, 32, "elements per scale")};
inline constexpr mopt_option kMax[] = {bool_option("strict", false, "no fallback"),
                                       float_option("percentile", 100, 50, 100, "of the range")};
inline constexpr mopt_option kDemanding[] = {{sizeof(mopt_option),
                                              MOPT_STR,
                                              "table",
                                              "file of the table",
                                              MOPT_OPTION_REQUIRED,
                                              0,
                                              nullptr,
                                              {MOPT_NONE, 0, {.i = 0}},
                                              0,
                                              0},
                                             {sizeof(mopt_option),
                                              MOPT_INT,
                                              "old",
                                              "use 'table'",
                                              MOPT_OPTION_DEPRECATED,
                                              0,
                                              nullptr,
                                              {MOPT_INT, 0, {.i = 1}},
                                              0,
                                              0},
                                             {sizeof(mopt_option),
                                              MOPT_FLOAT,
                                              "open",
                                              "any number",
                                              0,
                                              0,
                                              nullptr,
                                              {MOPT_NONE, 0, {.i = 0}},
                                              0,
                                              0}};

// The components that the library of recipes needs, and one that is hard to please.
inline Catalogue catalogue() {
  static const std::vector<ComponentSchema> all = {
      {"fp8", MOPT_QUANTIZER_INTERFACE, "", "fp8.so", kFp8},
      {"int8", MOPT_QUANTIZER_INTERFACE, "", "int8.so", kInt8},
      {"int4", MOPT_QUANTIZER_INTERFACE, "", "int4.so", kInt4},
      {"nvfp4", MOPT_QUANTIZER_INTERFACE, "", "nvfp4.so", kNvfp4},
      {"mxfp4", MOPT_QUANTIZER_INTERFACE, "", "mxfp.so", {}},
      {"mxfp8", MOPT_QUANTIZER_INTERFACE, "", "mxfp.so", {}},
      {"demanding", MOPT_QUANTIZER_INTERFACE, "", "demanding.so", kDemanding},
      {"max", MOPT_CALIBRATOR_INTERFACE, "", "max.so", kMax},
      {"awq", MOPT_CALIBRATOR_INTERFACE, "", "awq.so", {}},
      {"magnitude", MOPT_PRUNER_INTERFACE, "", "magnitude.so", {}},
      {"hf", MOPT_EXPORTER_INTERFACE, "", "hf_exporter.so", {}},
      {"llama", MOPT_ADAPTER_INTERFACE, "", "llama_adapter.so", {}},
  };
  Catalogue out;
  out.find = [](std::string_view interface_id,
                std::string_view name) -> std::optional<ComponentSchema> {
    for (const ComponentSchema& c : all) {
      if (c.interface_id == interface_id && c.name == name) return c;
    }
    return std::nullopt;
  };
  out.names = [](std::string_view interface_id) {
    std::vector<std::string> names;
    for (const ComponentSchema& c : all) {
      if (c.interface_id == interface_id) names.push_back(c.name);
    }
    return names;
  };
  return out;
}

// The text of the recipe, without `schema = 1`, as q.toml of a scratch folder; sets and a library
// may be given with the request.
inline Recipe load(const TempDir& scratch, const std::string& text, RecipeRequest request = {}) {
  request.name = scratch.write("q.toml", std::string("schema = 1\n").append(text));
  if (request.library.empty()) request.library = scratch.path() / "library";
  return load_recipe(request, catalogue());
}

// Every message of a load that must fail, without the scratch folder's name.
inline std::vector<std::string> faults(const TempDir& scratch, const std::function<void()>& load) {
  std::vector<std::string> out;
  try {
    load();
  } catch (const Failure& failure) {
    for (const Diagnostic& d : failure.diagnostics()) {
      std::string text = format(d);
      const std::string root = scratch.path().string() + "/";
      for (size_t at = text.find(root); at != std::string::npos; at = text.find(root)) {
        text.erase(at, root.size());
      }
      out.push_back(text);
    }
  }
  return out;
}

inline std::vector<std::string> faults(const std::string& text,
                                       std::vector<std::string> sets = {}) {
  const TempDir scratch;
  RecipeRequest request;
  request.sets = std::move(sets);
  return faults(scratch, [&] { load(scratch, text, request); });
}

}  // namespace mopt::test
