// A command that must succeed: its own words are shown when it does not, and only then.
#pragma once

#include <doctest/doctest.h>

#include "tests/recipe/process.hpp"

namespace mopt::test {

inline void require_success(const Outcome& run) {
  CAPTURE(run.out);
  CAPTURE(run.err);
  REQUIRE(run.exit == 0);
}

}  // namespace mopt::test
