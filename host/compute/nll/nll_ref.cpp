#include <cmath>
#include <limits>

#include "host/compute/nll/nll.hpp"
#include "host/compute/parallel.hpp"

namespace mopt::compute {
namespace {

template <class T>
double row(const T* x, int64_t v, int64_t target) {
  float max = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < v; ++i)
    max = std::max(max, to_float(x[i]));
  double sum = 0.0;
  for (int64_t i = 0; i < v; ++i)
    sum += std::exp(to_float(x[i]) - max);
  return std::log(sum) + (double{max} - to_float(x[target]));
}

}  // namespace

void nll_reference(const NllProblem& p) {
  const int64_t v = p.logits.columns();
  by_dtype("nll", p.logits, [&]<class T>(T*) {
    for_each(p.logits.rows(), 1, [&](int64_t r, int64_t) {
      p.result[r] = row(p.logits.as<T>() + r * v, v, p.targets[static_cast<size_t>(r)]);
    });
  });
}

}  // namespace mopt::compute
