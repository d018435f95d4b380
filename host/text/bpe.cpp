#include "host/text/bpe.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "host/text/unicode.hpp"
#include "mopt/error.hpp"

namespace mopt::text {
namespace {

constexpr int32_t kNone = -1;
constexpr int32_t kGone = -2;
constexpr size_t kCacheSlots = size_t{1} << 15;
constexpr size_t kLongestCached = 64;  // bytes

constexpr auto kLater = [](const BpeScratch::Candidate& a, const BpeScratch::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
};

std::string byte_token(unsigned byte) {
  std::array<char, 8> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "<0x%02X>", byte);
  return buffer.data();
}

void push_symbol(BpeScratch& scratch, int32_t id) {
  const auto at = static_cast<int32_t>(scratch.symbols.size());
  if (at > 0) scratch.symbols.back().next = at;
  scratch.symbols.push_back({id, at - 1, kNone});
}

}  // namespace

Bpe::Bpe(BpeSpec spec)
    : prefix_(std::move(spec.continuing_subword_prefix)),
      suffix_(std::move(spec.end_of_word_suffix)),
      unk_token_(std::move(spec.unk_token)),
      fuse_unk_(spec.fuse_unk),
      ignore_merges_(spec.ignore_merges) {
  add_vocab(std::move(spec.vocab));
  add_merges(spec.merges);
  if (unk_token_) unk_ = id(*unk_token_);
  if (!spec.byte_fallback) return;
  for (unsigned byte = 0; byte < 256; ++byte) {
    byte_ids_.push_back(id(byte_token(byte)).value_or(kNone));
  }
}

void Bpe::add_vocab(std::vector<std::pair<std::string, int32_t>> vocab) {
  ids_.reserve(vocab.size());
  tokens_.reserve(vocab.size());
  for (auto& [token, id] : vocab) {
    const auto [at, inserted] = ids_.emplace(std::move(token), id);
    tokens_[id] = &at->first;
    end_id_ = std::max(end_id_, id + 1);
  }
}

int32_t Bpe::require(const std::string& token, size_t rank) const {
  if (const auto found = id(token)) return *found;
  throw Error(MOPT_DATA_LOSS,
              "expected every part and result of a merge in the vocabulary, found no token '" +
                  token + "' for merge " + std::to_string(rank) +
                  "; the file is damaged, take it from its source again",
              "tokenizer.json");
}

void Bpe::add_merges(const std::vector<Merge>& merges) {
  merges_ = MergeTable(merges.size());
  size_t prefix_bytes = 0;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    prefix_bytes = std::min(prefix_.size(), right.size());
    const int32_t merged = require(left + right.substr(prefix_bytes), rank);
    merges_.set(require(left, rank), require(right, rank), static_cast<uint32_t>(rank), merged);
  }
}

std::optional<int32_t> Bpe::id(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* Bpe::token(int32_t id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : found->second;
}

bool Bpe::add_bytes(std::string_view symbol, BpeScratch& scratch) const {
  if (byte_ids_.empty()) return false;
  for (const char c : symbol) {
    if (byte_ids_[static_cast<unsigned char>(c)] == kNone) return false;
  }
  for (const char c : symbol) {
    push_symbol(scratch, byte_ids_[static_cast<unsigned char>(c)]);
  }
  return true;
}

int32_t Bpe::unknown() const {
  if (unk_) return *unk_;
  throw Error(MOPT_DATA_LOSS,
              "expected unk_token '" + *unk_token_ +
                  "' in the vocabulary for text that no token covers, found no such token; add it "
                  "to model.vocab or set unk_token to null",
              "tokenizer.json");
}

// An unknown run waits until the next known symbol; bytes do not end it, as in the original.
void Bpe::split_symbols(std::string_view word, BpeScratch& scratch) const {
  scratch.symbols.clear();
  bool pending = false;
  std::string decorated;
  for (size_t at = 0; at < word.size();) {
    const size_t size = code_point_size(word, at);
    std::string_view symbol = word.substr(at, size);
    const bool first = at == 0, last = at + size == word.size();
    at += size;
    if ((!first && !prefix_.empty()) || (last && !suffix_.empty())) {
      decorated = (first ? "" : prefix_) + std::string(symbol) + (last ? suffix_ : "");
      symbol = decorated;
    }
    if (const auto known = id(symbol)) {
      if (pending) push_symbol(scratch, unknown());
      pending = false;
      push_symbol(scratch, *known);
    } else if (!add_bytes(symbol, scratch) && unk_token_) {
      if (pending && !fuse_unk_) push_symbol(scratch, unknown());
      pending = true;
    }
  }
  if (pending) push_symbol(scratch, unknown());
}

void Bpe::propose(int32_t at, BpeScratch& scratch) const {
  const auto& left = scratch.symbols[static_cast<size_t>(at)];
  if (left.next < 0) return;
  const auto& right = scratch.symbols[static_cast<size_t>(left.next)];
  if (const auto* merge = merges_.find(left.id, right.id)) {
    scratch.queue.push_back({merge->rank, at, merge->merged});
    std::ranges::push_heap(scratch.queue, kLater);
  }
}

// A queue entry is stale when its symbol is gone, or when the pair there now merges into another
// id than the entry says.
void Bpe::merge(BpeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& queue = scratch.queue;
  queue.clear();
  for (size_t at = 0; at + 1 < symbols.size(); ++at) {
    propose(static_cast<int32_t>(at), scratch);
  }
  while (!queue.empty()) {
    const BpeScratch::Candidate best = queue.front();
    std::ranges::pop_heap(queue, kLater);
    queue.pop_back();
    auto& left = symbols[static_cast<size_t>(best.at)];
    if (left.next < 0) continue;
    auto& right = symbols[static_cast<size_t>(left.next)];
    const auto* now = merges_.find(left.id, right.id);
    if (now == nullptr || now->merged != best.merged) continue;
    left.id = best.merged;
    left.next = right.next;
    right.next = kGone;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = best.at;
    if (left.previous >= 0) propose(left.previous, scratch);
    propose(best.at, scratch);
  }
}

void Bpe::compute(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& out) const {
  if (ignore_merges_) {
    if (const auto whole = id(word)) {
      out.push_back(*whole);
      return;
    }
  }
  split_symbols(word, scratch);
  merge(scratch);
  for (const auto& symbol : scratch.symbols) {
    if (symbol.next != kGone) out.push_back(symbol.id);
  }
}

void Bpe::encode(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& out) const {
  if (word.empty()) return;
  if (word.size() > kLongestCached) return compute(word, scratch, out);
  if (scratch.cache.empty()) scratch.cache.resize(kCacheSlots);
  auto& slot = scratch.cache[std::hash<std::string_view>{}(word) % kCacheSlots];
  if (slot.word != word) {
    slot.ids.clear();
    compute(word, scratch, slot.ids);
    slot.word = word;
  }
  out.insert(out.end(), slot.ids.begin(), slot.ids.end());
}

}  // namespace mopt::text
