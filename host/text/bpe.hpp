// Byte pair encoding of one word: code points first, then merges by rank, leftmost first.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "host/text/merge_table.hpp"
#include "host/text/tokenizer_spec.hpp"

namespace mopt::text {

// What one thread needs while it encodes: buffers, and the ids of recent words.
struct BpeScratch {
  struct Symbol {
    int32_t id;
    int32_t previous, next;  // -1: none; a merged-away symbol has next == kGone
  };
  struct Candidate {
    uint32_t rank;
    int32_t at, merged;
  };
  struct CachedWord {
    std::string word;
    std::vector<int32_t> ids;
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> queue;  // heap: lowest rank, then leftmost
  std::vector<CachedWord> cache;
};

class Bpe {
 public:
  explicit Bpe(BpeSpec spec);

  void encode(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& out) const;

  std::optional<int32_t> id(std::string_view token) const;
  const std::string* token(int32_t id) const;  // null: no such id
  size_t size() const { return ids_.size(); }
  int32_t end_id() const { return end_id_; }  // one more than the largest id

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  void add_vocab(std::vector<std::pair<std::string, int32_t>> vocab);
  void add_merges(const std::vector<Merge>& merges);
  int32_t require(const std::string& token, size_t rank) const;
  void compute(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& out) const;
  void split_symbols(std::string_view word, BpeScratch& scratch) const;
  int32_t unknown() const;
  bool add_bytes(std::string_view symbol, BpeScratch& scratch) const;
  void propose(int32_t at, BpeScratch& scratch) const;
  void merge(BpeScratch& scratch) const;

  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
  std::unordered_map<int32_t, const std::string*> tokens_;  // points into ids_
  MergeTable merges_;
  std::vector<int32_t> byte_ids_;  // of <0x00> .. <0xFF>, -1 where missing; empty: no fallback
  std::string prefix_, suffix_;
  std::optional<std::string> unk_token_;
  std::optional<int32_t> unk_;
  bool fuse_unk_, ignore_merges_;
  int32_t end_id_ = 0;
};

}  // namespace mopt::text
