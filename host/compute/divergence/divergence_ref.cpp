#include <cmath>
#include <limits>

#include "host/compute/divergence/divergence.hpp"
#include "host/compute/parallel.hpp"

namespace mopt::compute {
namespace {

// Of one row of logits: the first of the largest, and log(sum(exp(x))).
struct Softmax {
  int64_t top = 0;
  double norm = 0;
};

template <class T>
Softmax softmax(const T* x, int64_t v) {
  Softmax s;
  float max = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < v; ++i) {
    if (!(to_float(x[i]) > max)) continue;
    max = to_float(x[i]);
    s.top = i;
  }
  double sum = 0;
  for (int64_t i = 0; i < v; ++i)
    sum += std::exp(to_float(x[i]) - max);
  s.norm = max + std::log(sum);
  return s;
}

template <class T>
void row(const T* ours, const T* reference, int64_t v, double* result) {
  const Softmax q = softmax(ours, v), p = softmax(reference, v);
  double kl = 0;
  for (int64_t i = 0; i < v; ++i) {
    const double log_p = to_float(reference[i]) - p.norm;
    const float share = std::exp(static_cast<float>(log_p));
    if (share != 0) kl += share * (log_p - (to_float(ours[i]) - q.norm));
  }
  if (std::isnan(q.norm)) kl = q.norm;
  result[0] = kl;
  result[1] = !std::isnan(kl) && p.top == q.top ? 1 : 0;
}

}  // namespace

void divergence_reference(const DivergenceProblem& p) {
  const int64_t v = p.ours.columns();
  by_dtype("divergence", p.ours, [&]<class T>(T*) {
    for_each(p.ours.rows(), 1, [&](int64_t r, int64_t) {
      row(p.ours.as<T>() + r * v, p.reference.as<T>() + r * v, v, p.result.as<double>() + 2 * r);
    });
  });
}

}  // namespace mopt::compute
