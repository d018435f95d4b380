// Rows of token ids for calibration and evaluation, from text and from id files.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "host/text/tokenizer.hpp"

namespace mopt::text {

struct Rows {
  std::vector<std::vector<int32_t>> rows;  // of equal or differing length, none empty
  std::string source;                      // where they come from, for reports
  int64_t tokens() const;
};

struct DataRequest {
  std::vector<std::string> sources;  // FILE.txt, FILE.jsonl, FILE.safetensors[:KEY]
  int64_t samples = 0;               // at most this many rows over all sources, taken in order
  int64_t seq_len = 0;               // text is packed to it, rows of ids are cut to it
  uint64_t seed = 0;  // of text that a model writes itself; files are read in order, without it
  int64_t vocab_size = 0;  // of the model's embedding; every id lies below
};

// A 2-D integer tensor, row-major.
struct IdMatrix {
  std::string name;
  int64_t rows = 0, cols = 0;
  std::vector<int64_t> values;
};

// Every 2-D integer tensor of a file; the host's containers provide it.
using OpenIds = std::function<std::vector<IdMatrix>(const std::string& path)>;

// Text becomes ids with the special tokens that the tokenizer adds to a document; documents of one
// file follow one another without padding, a row ends inside a document if need be, and the rest
// that fills no row is dropped unless the file has no other row. `tokenizer` may be null when all
// sources are id files. Throws Failure (D101 .. D107).
Rows load_rows(const DataRequest& request, const Tokenizer* tokenizer, const OpenIds& open);

// FILE[:KEY]. A FILE that contains ':' is found only when it exists.
struct SourcePath {
  std::string file, key;
};
SourcePath split_source(const std::string& source);

// Where ids come from, for messages, and what bounds them.
struct IdPlace {
  std::string file;
  int64_t vocab_size = 0;
};

// The rows of the tensor `key`. Empty: of `input_ids`, else of the only tensor there is. With '*'
// (any characters): of all that match, in natural order of their names (batch.2 before batch.10).
std::vector<std::vector<int32_t>> select_ids(const std::vector<IdMatrix>& matrices,
                                             std::string_view key, const IdPlace& place);

// How many rows select_ids would give; the matrices need no values.
int64_t count_ids(const std::vector<IdMatrix>& matrices, std::string_view key,
                  const std::string& file);

// All rows of an id file, whole.
std::vector<std::vector<int32_t>> load_ids(const std::string& source, const OpenIds& open,
                                           int64_t vocab_size);

}  // namespace mopt::text
