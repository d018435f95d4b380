#include "host/compute/parallel.hpp"
#include "host/compute/rope/rope.hpp"

namespace mopt::compute {
namespace {

template <class T>
void head(const T* x, const float* cos, const float* sin, int64_t half, int64_t d, T* y) {
  for (int64_t i = 0; i < half; ++i) {
    const float low = to_float(x[i]), high = to_float(x[i + half]);
    put(round_to<T>(low * cos[i]) + round_to<T>(-high * sin[i]), y[i]);
    put(round_to<T>(high * cos[i]) + round_to<T>(low * sin[i]), y[i + half]);
  }
  for (int64_t i = 2 * half; i < d; ++i)
    y[i] = x[i];
}

}  // namespace

void rope_reference(const RopeProblem& p) {
  const int64_t heads = p.x.shape[2], d = p.x.shape[3], half = p.angles->half;
  by_dtype("rope", p.x, [&]<class T>(T*) {
    for_each(p.x.shape[0] * p.x.shape[1], 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * heads; i < end * heads; ++i) {
        const int64_t at = i / heads * half;
        head(p.x.as<T>() + i * d, p.angles->cos.data() + at, p.angles->sin.data() + at, half, d,
             p.y.as<T>() + i * d);
      }
    });
  });
}

}  // namespace mopt::compute
