// What a Tokenizer holds; for tokenizer.cpp and stream_decoder.cpp.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "host/text/added_tokens.hpp"
#include "host/text/bpe.hpp"
#include "host/text/decoder.hpp"
#include "host/text/normalizer.hpp"
#include "host/text/post_processor.hpp"
#include "host/text/pre_tokenizer.hpp"
#include "host/text/tokenizer.hpp"

namespace mopt::text {

// Scratch memory that calls borrow, one per thread that encodes at the same time.
class ScratchPool {
 public:
  std::unique_ptr<BpeScratch> take();
  void give(std::unique_ptr<BpeScratch> scratch);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<BpeScratch>> free_;
};

struct Tokenizer::Impl {
  explicit Impl(TokenizerSpec spec);

  void encode_piece(std::string_view text, Place place, BpeScratch& scratch,
                    std::vector<int32_t>& out) const;
  const std::string* token(int32_t id) const;  // null: no such id

  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Bpe model;
  AddedTokens added;
  PostProcessor post_processor;
  Decoder decoder;
  mutable ScratchPool pool;
};

}  // namespace mopt::text
