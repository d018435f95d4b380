// A set of byte strings, searched leftmost-longest.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "host/text/unicode.hpp"

namespace mopt::text {

class TokenTrie {
 public:
  struct Match {
    Range range;
    int32_t id;
  };

  // Of two equal strings the first keeps its id. The empty string is ignored.
  void add(std::string_view token, int32_t id);

  // The longest token at the first place from `from` on where any begins.
  std::optional<Match> find(std::string_view text, size_t from) const;

 private:
  struct Edge {
    unsigned char byte;
    int32_t node;
  };
  struct Node {
    std::vector<Edge> edges;
    int32_t id = -1;  // -1: no token ends here
  };

  int32_t child(int32_t node, unsigned char byte) const;
  std::optional<Match> longest_at(std::string_view text, size_t at) const;

  std::vector<Node> nodes_ = {Node{}};
  std::array<int32_t, 256> roots_ = {};  // node behind the first byte; 0: none
};

}  // namespace mopt::text
