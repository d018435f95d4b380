// The host's side of mopt_builder: collects a graph from an adapter's calls.
#pragma once

#include <string>
#include <unordered_map>

#include "host/graph/graph.hpp"

namespace mopt::graph {

class Builder {
 public:
  Builder();
  mopt_builder* abi() { return &abi_.head; }
  // The finished graph: live-ins and live-outs found, every parameter assigned to a block. Throws
  // the first fault of the adapter's calls.
  Model finish(std::string architecture);

 private:
  struct Abi {
    mopt_builder head;
    Builder* owner;
  };
  ValueId input(std::string_view name, std::vector<int64_t> dims);
  ValueId param(std::string_view name, std::vector<int64_t> dims);
  ValueId op(std::string_view kind, std::string_view label, std::span<const mopt_val> in,
             std::span<const mopt_attr> attrs);
  bool usable(std::span<const mopt_val> values);
  void check_outputs() const;
  template <class Fn>
  void attempt(std::string_view what, Fn&& fn);

  Abi abi_;
  Model model_;
  std::unordered_map<std::string, size_t> param_of_name_;  // index into Model::params
  int open_block_ = -1;
  std::string fault_;
};

}  // namespace mopt::graph
