// FILE.synthetic: a JSON object with the shape of a Llama and a seed, presented as a checkpoint
// whose weights are made when they are read. What is stored of a tensor are the eight bytes of its
// seed.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "mopt/format.hpp"
#include "tests/bench/llama_weights.hpp"

namespace mopt::synthetic {

class Reader {
 public:
  static constexpr const char* name = "synthetic";
  static constexpr const char* summary =
      "for tests: a Llama of any size, its weights made when they are read; read only";
  static constexpr bool concurrent = true;

  static int probe(std::string_view path, std::span<const uint8_t> head);
  Reader(const Host& host, const std::string& path);

  size_t count() const { return tensors_.size(); }
  mopt_stored_tensor tensor(size_t index) const;
  size_t n_files() const { return 1; }
  std::string_view file(size_t) const { return path_; }
  // config.json; there is no other.
  std::string_view document(std::string_view name) const;
  std::string_view metadata() const { return "{}"; }
  void read(const Exec& exec, size_t index, int64_t begin, int64_t end, DLTensor& out) const;
  void prefetch(size_t) const {}
  void release(size_t) const {}

 private:
  const bench::LlamaTensor& at(size_t index) const;
  // Throws for rows that are not there and for `out` of another type, size or device.
  void check_request(const bench::LlamaTensor&, int64_t begin, int64_t end,
                     const DLTensor& out) const;

  std::string path_;
  bench::LlamaShape shape_;
  std::vector<bench::LlamaTensor> tensors_;
  bench::LlamaWeights weights_;
  std::vector<uint64_t> seeds_;  // one per tensor
  std::string config_;
};

}  // namespace mopt::synthetic
