#include <cmath>

#include "host/compute/parallel.hpp"
#include "host/compute/rms_norm/rms_norm.hpp"

namespace mopt::compute {
namespace {

template <class T>
void row(const RmsNormProblem& p, int64_t r) {
  const int64_t c = p.x.columns();
  const T* x = p.x.as<T>() + r * c;
  T* y = p.y.as<T>() + r * c;
  // In fp64, so that the order of the sum does not show in fp32.
  double sum = 0.0;
  for (int64_t i = 0; i < c; ++i)
    sum += double{to_float(x[i])} * to_float(x[i]);
  const float mean = static_cast<float>(sum / static_cast<double>(c));
  const float scale = 1.0f / std::sqrt(mean + p.eps);
  for (int64_t i = 0; i < c; ++i) {
    put(round_to<T>(to_float(x[i]) * scale) * to_float(p.weight.as<T>()[i]), y[i]);
  }
}

}  // namespace

void rms_norm_reference(const RmsNormProblem& p) {
  by_dtype("rms_norm", p.x, [&]<class T>(T*) {
    for_each(p.x.rows(), 16, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        row<T>(p, r);
    });
  });
}

}  // namespace mopt::compute
