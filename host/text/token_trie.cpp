#include "host/text/token_trie.hpp"

namespace mopt::text {

int32_t TokenTrie::child(int32_t node, unsigned char byte) const {
  for (const Edge& edge : nodes_[static_cast<size_t>(node)].edges) {
    if (edge.byte == byte) return edge.node;
  }
  return 0;
}

void TokenTrie::add(std::string_view token, int32_t id) {
  if (token.empty()) return;
  int32_t node = 0;
  for (const char c : token) {
    const auto byte = static_cast<unsigned char>(c);
    int32_t next = node == 0 ? roots_[byte] : child(node, byte);
    if (next == 0) {
      next = static_cast<int32_t>(nodes_.size());
      nodes_.emplace_back();
      if (node == 0) {
        roots_[byte] = next;
      } else {
        nodes_[static_cast<size_t>(node)].edges.push_back({byte, next});
      }
    }
    node = next;
  }
  Node& last = nodes_[static_cast<size_t>(node)];
  if (last.id < 0) last.id = id;
}

std::optional<TokenTrie::Match> TokenTrie::longest_at(std::string_view text, size_t at) const {
  std::optional<Match> best;
  int32_t node = roots_[static_cast<unsigned char>(text[at])];
  for (size_t end = at + 1; node != 0; ++end) {
    const int32_t id = nodes_[static_cast<size_t>(node)].id;
    if (id >= 0) best = Match{{at, end}, id};
    node = end < text.size() ? child(node, static_cast<unsigned char>(text[end])) : 0;
  }
  return best;
}

std::optional<TokenTrie::Match> TokenTrie::find(std::string_view text, size_t from) const {
  if (nodes_.size() == 1) return std::nullopt;
  for (size_t at = from; at < text.size(); ++at) {
    if (roots_[static_cast<unsigned char>(text[at])] == 0) continue;
    if (const auto match = longest_at(text, at)) return match;
  }
  return std::nullopt;
}

}  // namespace mopt::text
