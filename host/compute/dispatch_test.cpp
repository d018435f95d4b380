#include "host/compute/dispatch.hpp"

#include <doctest/doctest.h>

#include <array>
#include <set>

#include "host/compute/kernels.hpp"
#include "host/compute/linear/linear.hpp"

using namespace mopt;
using namespace mopt::compute;

namespace {

struct Size {
  int n;
};
std::string_view need_even(const Size& s) {
  return s.n % 2 == 0 ? "" : "needs an even size";
}
int runs = 0;
void count(const Size&) {
  ++runs;
}
constexpr std::array kRows{Kernel<Size>{"op.pairs", need_even, count},
                           Kernel<Size>{"op.reference", accept_any<Size>, count}};

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

TEST_CASE("a row is chosen without being run") {
  runs = 0;
  Options options;
  run_on_cpu(kRows, Size{4}, options);
  CHECK(runs == 1);
  options.work = Work::kChoose;
  run_on_cpu(kRows, Size{4}, options);
  CHECK(runs == 1);
  options.forced = {"op.pairs"};
  CHECK_THROWS_AS(run_on_cpu(kRows, Size{5}, options), Error);
}

TEST_CASE("products are chosen where there is no memory") {
  const auto at = [](DLDataType dtype, std::initializer_list<int64_t> shape) {
    return view_of(aligned_address(), dtype, shape);
  };
  Options options;
  options.work = Work::kChoose;
  linear(at(kBf16, {3, 8}), at(kBf16, {5, 8}), nullptr, at(kBf16, {3, 5}), options);
  CHECK_THROWS_AS(linear(at(kBf16, {3, 8}), at(kBf16, {5, 9}), nullptr, at(kBf16, {3, 5}), options),
                  Error);
  const Codes x{at(kE4m3, {3, 8}), at(kF32, {1})}, weight{at(kE4m3, {5, 8}), at(kF32, {1})};
  linear(x, weight, nullptr, at(kBf16, {3, 5}), options);
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
