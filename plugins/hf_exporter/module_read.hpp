// One module of a checkpoint: does what is stored fit what the description says?
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "layout.hpp"
#include "problem.hpp"
#include "scheme.hpp"

namespace mopt::hf {

using Index = std::unordered_map<std::string_view, const mopt_tensor_decl*>;

inline std::span<const int64_t> extents(const mopt_tensor_decl& decl) {
  return {decl.shape, static_cast<size_t>(decl.ndim)};
}

// What a module is checked against.
struct Expectation {
  std::string_view module;
  std::string algorithm;  // quant_algo, for messages
  const Schemes& schemes;
  bool pre_quant_scale = false;  // its siblings in other layers have one
};

// The result of a check; the parameter can be used when there are no errors.
struct ModuleRead {
  int64_t rows = 0, cols = 0;
  std::vector<mopt_stored_role> roles;
  std::vector<Problem> problems;
  // Payload or scale are not what the algorithm stores: if no module fits, the algorithm is wrong.
  bool misfit = false;
  // The scales follow another block size than the description's.
  std::optional<int64_t> found_group;
  bool usable() const;
};

ModuleRead read_module(const Index& index, const mopt_tensor_decl& weight, const Expectation& want);

// A scale that holds one value: F32, [] or [1].
std::optional<Problem> check_scalar(const mopt_tensor_decl& decl);

}  // namespace mopt::hf
