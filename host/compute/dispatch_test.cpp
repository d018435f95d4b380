#include "host/compute/dispatch.hpp"

#include <doctest/doctest.h>

#include <array>
#include <set>

#include "host/compute/kernels.hpp"

using namespace mopt;
using namespace mopt::compute;

namespace {

struct Size {
  int n;
};
std::string_view need_even(const Size& s) {
  return s.n % 2 == 0 ? "" : "needs an even size";
}
void nothing(const Size&) {}
constexpr std::array kRows{Kernel<Size>{"op.pairs", need_even, nothing},
                           Kernel<Size>{"op.reference", accept_any<Size>, nothing}};

std::string_view chosen(int n, const Options& options = {}) {
  return choose(std::span<const Kernel<Size>>(kRows), Size{n}, options).name;
}

}  // namespace

TEST_CASE("the first willing row runs, and the trace says why others did not") {
  std::vector<std::string> trace;
  Options options;
  options.trace = [&](std::string_view kernel, std::string_view reason) {
    trace.push_back(std::string(kernel) + ": " + std::string(reason));
  };
  CHECK(chosen(4, options) == "op.pairs");
  CHECK(trace.empty());
  CHECK(chosen(5, options) == "op.reference");
  CHECK(trace == std::vector<std::string>{"op.pairs: needs an even size"});
}

TEST_CASE("a forced row runs before any other; names of other ops do not matter") {
  CHECK(chosen(4, {{"other.pairs", "op.reference"}, {}}) == "op.reference");
  CHECK(chosen(4, {{"other.pairs"}, {}}) == "op.pairs");
}

TEST_CASE("a forced row that cannot run is an error with its reason") {
  CHECK_THROWS_WITH_AS(
      chosen(5, {{"op.pairs"}, {}}),
      "kernel 'op.pairs' was asked for, but refuses: needs an even size; leave the choice open",
      Error);
}

TEST_CASE("every op has a reference, and no two kernels share a name") {
  std::set<std::string_view> seen;
  std::set<std::string> ops, references;
  for (const std::string_view name : all_kernels()) {
    CHECK(seen.insert(name).second);
    const std::string op(name.substr(0, name.find('.')));
    ops.insert(op);
    if (name == op + ".reference") references.insert(op);
  }
  CHECK(ops == references);
  CHECK(ops.size() == 12);
}
