// For the tests of this folder: a tiny llama on the disk, and the same model in plain double
// arithmetic, from the bytes that were written and without any code of the product.
#pragma once

#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "host/pipeline/forward.hpp"
#include "host/pipeline/prepare.hpp"

namespace mopt::pipeline::test {

using Ids = std::vector<int32_t>;
using Doubles = std::vector<double>;

// A number of a tensor that is replaced before the model is written.
struct Edit {
  std::string tensor;
  int64_t index = 0;
  float value = 0;
};

// head: "own", "tied", or "stored" for one that is tied and stored all the same.
struct Shape {
  int64_t layers = 2, hidden = 32, intermediate = 64, heads = 4, kv_heads = 2, vocab = 48;
  std::string dtype = "F32", bias = "none", head = "own";
  std::vector<Edit> edits = {};
  std::vector<std::string> unknown = {};  // f32 [4] tensors that no graph computes with
};

// What one row of T tokens makes of a model.
struct PlainRun {
  // The input of each linear by the name of its weight [T, in]; the keys and values that attention
  // takes by "LAYER.k" and "LAYER.v" [T, K, D].
  std::map<std::string, Doubles> values;
  Doubles logits;  // [T, V]
};

struct PlainLlama {
  Shape shape;
  std::map<std::string, Doubles> weights;
  PlainRun run(const Ids&) const;
};

struct StoredBytes {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};
std::map<std::string, StoredBytes> read_safetensors(const std::filesystem::path&);

// float16, bfloat16 and float32 by their definitions.
Doubles decode(const std::string& dtype, const std::string& bytes);

Ids random_ids(int64_t tokens, int64_t vocab, unsigned seed);
double largest(const Doubles&);
// Values of 8-bit floats (e4m3) and of pairs of 4-bit floats (e2m1), by their definitions.
double e4m3(uint8_t code);
Doubles e2m1_pairs(const std::string& bytes);
// Elements of a f32 or bf16 view.
Doubles doubles(const compute::View&);
// The largest |got - want| as a share of the largest |want|; infinity for a NaN or another length.
double distance(const Doubles& got, const Doubles& want);

struct Fixture {
  Fixture();
  ~Fixture();
  // Writes the model, which `plain` then holds too, and opens it.
  void write_model(const Shape&);
  std::filesystem::path path(const std::string& name) const;
  const graph::Model& graph() const { return source->required_graph(); }
  // Of the recipe with these tables; the model is the fixture's.
  Prepared prepared(const std::string& tables) const;

  struct Directory;
  std::unique_ptr<Directory> directory;
  Services services{"", {}};
  Registry registry{{{}, {MOPT_PLUGINS}, 0}, services};
  PlainLlama plain;
  std::unique_ptr<Checkpoint> source;
};

inline ForwardOptions in_type(DLDataType dtype) {
  ForwardOptions options;
  options.dtype = dtype;
  return options;
}

}  // namespace mopt::pipeline::test
