#include <algorithm>
#include <cmath>
#include <limits>

#include "host/compute/attention/attention.hpp"
#include "host/compute/parallel.hpp"

namespace mopt::compute {
namespace {

// One query of one head; k and v point at the first key of its kv head, keys are `stride` apart.
template <class T>
struct Query {
  const T* q;
  const T* k;
  const T* v;
  T* y;
  int64_t stride, d, begin, end;
};

template <class T>
void attend(const Query<T>& a, float scale) {
  std::vector<float> p(static_cast<size_t>(a.end - a.begin));
  float max = -std::numeric_limits<float>::infinity();
  for (int64_t j = a.begin; j < a.end; ++j) {
    float dot = 0.0f;
    for (int64_t i = 0; i < a.d; ++i)
      dot += to_float(a.q[i]) * to_float(a.k[j * a.stride + i]);
    max = std::max(max, p[static_cast<size_t>(j - a.begin)] = dot * scale);
  }
  float sum = 0.0f;
  for (float& x : p)
    sum += x = std::exp(x - max);
  for (float& x : p)
    x = round_to<T>(x / sum);
  for (int64_t i = 0; i < a.d; ++i) {
    float out = 0.0f;
    for (int64_t j = a.begin; j < a.end; ++j) {
      out += p[static_cast<size_t>(j - a.begin)] * to_float(a.v[j * a.stride + i]);
    }
    put(out, a.y[i]);
  }
}

}  // namespace

void attention_reference(const AttentionProblem& p) {
  const auto [batch, t, heads, d] = p.q.shape;
  const int64_t s = p.k.shape[1], kv_heads = p.k.shape[2], stride = kv_heads * d;
  by_dtype("attention", p.q, [&]<class T>(T*) {
    for_each(batch * t * heads, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t query = i / heads, b = query / t;
        const int64_t position =
            p.positions ? p.positions->as<int64_t>()[query] : s - t + query % t;
        const int64_t kv = b * s * stride + i % heads / (heads / kv_heads) * d;
        attend<T>({p.q.as<T>() + i * d, p.k.as<T>() + kv, p.v.as<T>() + kv, p.y.as<T>() + i * d,
                   stride, d, first_key(p, position), position + 1},
                  p.scale);
      }
    });
  });
}

}  // namespace mopt::compute
