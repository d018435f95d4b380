#include "host/text/added_tokens.hpp"

#include <algorithm>

namespace mopt::text {
namespace {

size_t previous_code_point(std::string_view text, size_t at) {
  do {
    --at;
  } while ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return at;
}

// Where the white space that ends at `end` begins.
size_t skip_space_left(std::string_view text, size_t end) {
  while (end > 0) {
    const size_t at = previous_code_point(text, end);
    if (!is_white_space(code_point(text, at))) break;
    end = at;
  }
  return end;
}

size_t skip_space_right(std::string_view text, size_t begin) {
  while (begin < text.size() && is_white_space(code_point(text, begin))) {
    begin += code_point_size(text, begin);
  }
  return begin;
}

}  // namespace

AddedTokens::AddedTokens(const std::vector<AddedToken>& tokens, const Bpe& model,
                         const Normalizer& normalizer) {
  for (const AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    const int32_t id = assign_id(token, model);
    ids_[token.content] = id;
    tokens_[id] = token;
    end_id_ = std::max(end_id_, id + 1);
    if (token.special) special_.insert(token.content);
  }
  for (const AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    const int32_t id = ids_[token.content];
    if (token.normalized) {
      normalized_.add(normalizer.apply(token.content), id);
    } else {
      raw_.add(token.content, id);
    }
  }
}

// The ids of the file are not read: like the original, which only warns when they differ.
int32_t AddedTokens::assign_id(const AddedToken& token, const Bpe& model) const {
  if (const auto known = ids_.find(token.content); known != ids_.end()) return known->second;
  if (const auto known = model.id(token.content)) return *known;
  return std::max(end_id_, static_cast<int32_t>(model.size()));
}

bool AddedTokens::stands_alone(std::string_view text, Range match) const {
  if (match.begin > 0 && is_word(code_point(text, previous_code_point(text, match.begin)))) {
    return false;
  }
  return match.end == text.size() || !is_word(code_point(text, match.end));
}

std::vector<Segment> AddedTokens::split(std::string_view text, Pass pass) const {
  const TokenTrie& trie = pass == Pass::kRaw ? raw_ : normalized_;
  std::vector<Segment> out;
  size_t done = 0;
  size_t from = 0;
  while (const auto match = trie.find(text, from)) {
    Range range = match->range;
    from = range.end;
    const AddedToken& token = tokens_.at(match->id);
    if (token.single_word && !stands_alone(text, range)) continue;
    // What the token before has swallowed stays with it.
    if (token.lstrip) range.begin = std::max(skip_space_left(text, range.begin), done);
    if (token.rstrip) range.end = skip_space_right(text, range.end);
    if (done < range.begin) out.push_back({{done, range.begin}, std::nullopt});
    out.push_back({range, match->id});
    done = range.end;
  }
  if (done < text.size()) out.push_back({{done, text.size()}, std::nullopt});
  return out;
}

std::optional<int32_t> AddedTokens::id(std::string_view content) const {
  const auto found = ids_.find(std::string(content));
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* AddedTokens::content(int32_t id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : &found->second.content;
}

}  // namespace mopt::text
