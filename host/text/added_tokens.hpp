// Added tokens: found in the text before the model sees it, first in the raw text, then (those
// with `normalized`) in the normalized pieces between.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "host/text/bpe.hpp"
#include "host/text/normalizer.hpp"
#include "host/text/token_trie.hpp"
#include "host/text/tokenizer_spec.hpp"
#include "host/text/unicode.hpp"

namespace mopt::text {

// A piece of text, or the id of the added token that stands there.
struct Segment {
  Range range;
  std::optional<int32_t> id;
};

enum class Pass { kRaw, kNormalized };

class AddedTokens {
 public:
  // A token that the vocabulary holds keeps its id; others follow the largest id in their order.
  AddedTokens(const std::vector<AddedToken>& tokens, const Bpe& model, const Normalizer&);

  // Covers the text; no empty piece.
  std::vector<Segment> split(std::string_view text, Pass pass) const;

  std::optional<int32_t> id(std::string_view content) const;
  const std::string* content(int32_t id) const;  // null: not an added token
  bool is_special(const std::string& content) const { return special_.contains(content); }
  int32_t end_id() const { return end_id_; }

 private:
  int32_t assign_id(const AddedToken& token, const Bpe& model) const;
  bool stands_alone(std::string_view text, Range match) const;

  std::unordered_map<std::string, int32_t> ids_;
  std::unordered_map<int32_t, AddedToken> tokens_;
  std::unordered_set<std::string> special_;
  TokenTrie raw_, normalized_;
  int32_t end_id_ = 0;  // one more than the largest id
};

}  // namespace mopt::text
