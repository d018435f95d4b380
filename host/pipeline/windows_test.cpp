#include "host/pipeline/windows.hpp"

#include <doctest/doctest.h>

using namespace mopt::pipeline;

namespace {

int64_t predicted(const TokenRows& windows) {
  int64_t n = 0;
  for (const auto& w : windows)
    n += static_cast<int64_t>(w.size()) - 1;
  return n;
}

const std::vector<int32_t> kTen = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};

}  // namespace

TEST_CASE("a row of the window's length is one window, a shorter one as it is") {
  CHECK(cut_windows({kTen}, 10) == TokenRows{kTen});
  CHECK(cut_windows({kTen}, 512) == TokenRows{kTen});
}

TEST_CASE("a longer row is cut into windows and its rest is dropped") {
  CHECK(cut_windows({kTen}, 5) == TokenRows{{0, 1, 2, 3, 4}, {5, 6, 7, 8, 9}});
  CHECK(cut_windows({kTen}, 4) == TokenRows{{0, 1, 2, 3}, {4, 5, 6, 7}});
}

TEST_CASE("rows that predict nothing are dropped") {
  CHECK(cut_windows({{}, {1}, {1, 2}}, 10) == TokenRows{{1, 2}});
}

TEST_CASE("a limit of tokens is met exactly or not reached") {
  const TokenRows all = cut_windows({kTen, kTen}, 5);
  CHECK(predicted(all) == 16);
  for (int64_t limit = 1; limit <= 20; ++limit) {
    CAPTURE(limit);
    const TokenRows some = limit_tokens(all, limit);
    CHECK(predicted(some) == std::min<int64_t>(limit, 16));
    for (const auto& w : some)
      CHECK(w.size() >= 2);
  }
  CHECK(limit_tokens(all, {}) == all);
}
