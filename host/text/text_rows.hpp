// Rows packed from the documents of a text file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/text/tokenizer.hpp"

namespace mopt::text {

struct Packing {
  int64_t rows = 0;     // at most
  int64_t seq_len = 0;  // tokens of a row
  int64_t vocab_size = 0;
};

// The whole file is one document.
std::vector<std::vector<int32_t>> pack_text_file(const std::string& file, const Tokenizer&,
                                                 const Packing&);

// One document per line: {"text": "..."}; empty lines are none.
std::vector<std::vector<int32_t>> pack_jsonl_file(const std::string& file, const Tokenizer&,
                                                  const Packing&);

}  // namespace mopt::text
