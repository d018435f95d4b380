// Every kernel of an op against the reference, and whether it repeats itself; which problems each
// takes.
#include "tests/ops/compare.hpp"

#include <cstdio>

namespace mopt::ops {
namespace {

struct Outcome {
  std::vector<HostTensor> results;
  std::string problem;  // empty: none
  std::string refusal;  // why the kernel takes no such problem
};

Outcome run_once(const Target& target, const Case& c, std::string_view kernel) {
  Outcome outcome;
  Options options;
  options.forced = {std::string(kernel)};
  options.queue = target.queue;
  const Placed placed(target, c.operands);
  try {
    c.run(placed.views(), options);
  } catch (const Error& e) {
    if (e.code() != MOPT_UNSUPPORTED) throw;
    outcome.refusal = e.what();
    return outcome;
  }
  outcome.results = placed.results(outcome.problem);
  return outcome;
}

// "kernel 'x' was asked for, but refuses: REASON; leave the choice open"
std::string reason_of(const std::string& refusal) {
  const std::string before = "refuses: ", after = "; leave the choice open";
  const size_t begin = refusal.find(before);
  if (begin == std::string::npos) return refusal;
  const size_t end = refusal.rfind(after);
  return refusal.substr(begin + before.size(), end - begin - before.size());
}

bool same_bytes(const std::vector<HostTensor>& a, const std::vector<HostTensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const HostTensor& x, const HostTensor& y) { return x.bytes == y.bytes; });
}

// Empty when the kernel does as the reference, twice.
std::string check(const Target& target, const Case& c, std::string_view kernel,
                  const std::vector<HostTensor>& expected, std::string& refusal) {
  const Outcome first = run_once(target, c, kernel);
  refusal = reason_of(first.refusal);
  if (!refusal.empty() || !first.problem.empty()) return first.problem;
  const std::string wrong = judge(c, first.results, expected);
  if (!wrong.empty()) return wrong;
  const Outcome second = run_once(target, c, kernel);
  return same_bytes(first.results, second.results) ? "" : "a second run gives other bytes";
}

class Comparison {
 public:
  Comparison(const Target& target, const Selection& selection)
      : target_(target), selection_(selection) {}

  void op(const Op& op, const Problems& problems) {
    const std::vector<std::string_view> kernels = kernels_of(op, target_);
    if (kernels.empty()) return;
    op.problems(problems, [&](const Case& c) { one(op, c, kernels); });
  }
  void print() const {
    for (const auto& [kernel, score] : scores_) {
      std::printf("%-24s %6lld passed %4lld failed %5lld refused\n", kernel.c_str(),
                  static_cast<long long>(score.passed), static_cast<long long>(score.failed),
                  static_cast<long long>(score.refused));
      for (const auto& [reason, count] : reasons_.at(kernel)) {
        std::printf("    refused %lld times: %s\n", static_cast<long long>(count), reason.c_str());
      }
    }
  }
  Score total() const {
    Score sum;
    for (const auto& [kernel, score] : scores_) {
      sum.passed += score.passed;
      sum.failed += score.failed;
      sum.refused += score.refused;
    }
    return sum;
  }

 private:
  void one(const Op& op, const Case& c, const std::vector<std::string_view>& kernels) {
    const std::vector<HostTensor> expected = expected_of(op, c);
    for (const std::string_view kernel : kernels) {
      if (!selection_.kernel.empty() && kernel != selection_.kernel) continue;
      std::string refusal;
      std::string wrong = check(target_, c, kernel, expected, refusal);
      // The last row takes everything.
      if (!refusal.empty() && kernel == kernels.back()) wrong = "refused: " + refusal;
      count(kernel, c.label, wrong, refusal);
    }
  }
  void count(std::string_view kernel, const std::string& label, const std::string& wrong,
             const std::string& refusal) {
    Score& score = scores_[std::string(kernel)];
    auto& reasons = reasons_[std::string(kernel)];
    if (!wrong.empty()) {
      ++score.failed;
      std::printf("FAILED %.*s %s: %s\n", static_cast<int>(kernel.size()), kernel.data(),
                  label.c_str(), wrong.c_str());
    } else if (!refusal.empty()) {
      ++score.refused;
      ++reasons[refusal];
    } else {
      ++score.passed;
    }
  }

  const Target& target_;
  const Selection& selection_;
  std::map<std::string, Score> scores_;
  std::map<std::string, std::map<std::string, int64_t>> reasons_;
};

}  // namespace

std::vector<std::string_view> kernels_of(const Op& op, const Target& target) {
  if (target.queue == nullptr) return op.on_cpu();
  return op.on_device(target.queue->device().kernels());
}

bool selected(const Op& op, const Selection& selection) {
  return selection.op.empty() || op.name == selection.op;
}

Score compare_ops(const Target& target, const Selection& selection, Extent extent, int seeds) {
  Comparison comparison(target, selection);
  for (const Op& op : all_ops()) {
    if (!selected(op, selection)) continue;
    for (int seed = 1; seed <= seeds; ++seed)
      comparison.op(op, {extent, static_cast<uint64_t>(seed)});
  }
  comparison.print();
  return comparison.total();
}

void print_support(const Target& target, const Selection& selection) {
  for (const Op& op : all_ops()) {
    if (!selected(op, selection)) continue;
    const std::vector<std::string_view> kernels = kernels_of(op, target);
    if (kernels.empty()) {
      std::printf("%-16s no kernel on %s\n", std::string(op.name).c_str(), target.name.c_str());
      continue;
    }
    op.problems({Extent::kQuick, 1}, [&](const Case& c) {
      for (const std::string_view kernel : kernels) {
        if (!selection.kernel.empty() && kernel != selection.kernel) continue;
        const std::string reason = reason_of(run_once(target, c, kernel).refusal);
        std::printf("%-16s %-24s %-60s %s\n", std::string(op.name).c_str(),
                    std::string(kernel).c_str(), c.label.c_str(),
                    reason.empty() ? "takes it" : ("refuses: " + reason).c_str());
      }
    });
  }
}

}  // namespace mopt::ops
