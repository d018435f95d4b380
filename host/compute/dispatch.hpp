// Which kernel runs: an op's table, fastest first, whose last row is the reference and takes all.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mopt/error.hpp"

namespace mopt::compute {

class Queue;  // device.hpp

// A kernel may be chosen without being run: what choosing takes its time with on a device, an
// algorithm or a plan, is there when the work comes. Operands then are addresses, not memory.
enum class Work { kRun, kChoose };

struct Options {
  // Names of rows ("linear.reference") that must run instead of their op's first willing one.
  std::vector<std::string> forced;
  // Told why a row was passed over; called from any thread, also from several at once.
  std::function<void(std::string_view kernel, std::string_view reason)> trace;
  Queue* queue = nullptr;  // operands are memory of its device; NULL: of the CPU
  Work work = Work::kRun;
};

template <class Problem>
struct Kernel {
  std::string_view name;
  std::string_view (*refuse)(const Problem&);  // empty: it can run
  void (*run)(const Problem&);
};

template <class Problem>
std::string_view accept_any(const Problem&) {
  return {};
}

// The forced row, or the first one for which refuse(row) is empty.
template <class Row, class Refuse>
const Row& pick(std::span<const Row> rows, const Options& options, const Refuse& refuse) {
  for (const std::string& name : options.forced) {
    for (const Row& row : rows) {
      if (row.name != name) continue;
      const std::string_view reason = refuse(row);
      if (reason.empty()) return row;
      throw Error(MOPT_UNSUPPORTED, "kernel '" + name + "' was asked for, but refuses: " +
                                        std::string(reason) + "; leave the choice open");
    }
  }
  for (const Row& row : rows) {
    const std::string_view reason = refuse(row);
    if (reason.empty()) return row;
    if (options.trace) options.trace(row.name, reason);
  }
  throw Error(MOPT_INTERNAL, "kernel '" + std::string(rows.back().name) + "' must accept anything");
}

// The row to run. Row is Kernel<Problem>, or has the same name and refuse.
template <class Row, class Problem>
const Row& choose(std::span<const Row> rows, const Problem& problem, const Options& options) {
  return pick(rows, options, [&](const Row& row) { return row.refuse(problem); });
}

template <class Problem, size_t kRows>
void run_on_cpu(const std::array<Kernel<Problem>, kRows>& rows, const Problem& problem,
                const Options& options) {
  const auto& row = choose(std::span<const Kernel<Problem>>(rows), problem, options);
  if (options.work == Work::kRun) row.run(problem);
}

template <class Rows>
std::vector<std::string_view> names(const Rows& rows) {
  std::vector<std::string_view> out;
  for (const auto& row : rows)
    out.push_back(row.name);
  return out;
}

}  // namespace mopt::compute
