#include "host/compute/linear/linear.hpp"

#include <array>

#include "host/compute/parallel.hpp"
#include "mopt/numeric/e4m3.hpp"

namespace mopt::compute {
namespace {

// Rows of x that one task multiplies.
constexpr int64_t kRows = 8;

template <class T>
class PlainWeight final : public LinearWeight {
 public:
  explicit PlainWeight(const LinearProblem& p)
      : n_(p.weight.shape[0]),
        k_(p.weight.shape[1]),
        weight_(p.weight.as<T>(), p.weight.as<T>() + n_ * k_) {
    if (p.bias) bias_.assign(p.bias->as<T>(), p.bias->as<T>() + n_);
  }
  void run(const View& x, const View& y) const override {
    for_each(x.shape[0], kRows, [&](int64_t begin, int64_t end) {
      for (int64_t m = begin; m < end; ++m)
        row(x.as<T>() + m * k_, y.as<T>() + m * n_);
    });
  }
  int64_t bytes() const override {
    return static_cast<int64_t>((weight_.size() + bias_.size()) * sizeof(T));
  }

 private:
  void row(const T* x, T* y) const {
    for (int64_t n = 0; n < n_; ++n) {
      float sum = 0.0f;
      for (int64_t k = 0; k < k_; ++k)
        sum += to_float(x[k]) * to_float(weight_[static_cast<size_t>(n * k_ + k)]);
      if (!bias_.empty()) sum += to_float(bias_[static_cast<size_t>(n)]);
      put(sum, y[n]);
    }
  }
  int64_t n_, k_;
  std::vector<T> weight_, bias_;
};

// What every code stands for.
constexpr auto kValues = [] {
  std::array<float, 256> values{};
  for (size_t code = 0; code < values.size(); ++code)
    values[code] = e4m3::decode(static_cast<uint8_t>(code));
  return values;
}();

float scale_of(const View& scales, int64_t row) {
  return scales.as<float>()[scales.elements() == 1 ? 0 : row];
}

template <class T>
void codes_row(const LinearCall& p, int64_t m) {
  const int64_t n_end = p.weight.shape[0], k_end = p.weight.shape[1];
  const uint8_t* x = p.x.as<uint8_t>() + m * k_end;
  for (int64_t n = 0; n < n_end; ++n) {
    const uint8_t* weight = p.weight.as<uint8_t>() + n * k_end;
    double sum = 0;
    for (int64_t k = 0; k < k_end; ++k)
      sum += double{kValues[x[k]]} * kValues[weight[k]];
    float value = static_cast<float>(sum) * scale_of(*p.x_scale, m) * scale_of(*p.weight_scale, n);
    if (p.bias) value += to_float(p.bias->as<T>()[n]);
    put(value, p.y.as<T>()[m * n_end + n]);
  }
}

}  // namespace

void linear_codes_reference(const LinearCall& p) {
  by_dtype("linear", p.y, [&]<class T>(T*) {
    for_each(p.x.shape[0], kRows, [&](int64_t begin, int64_t end) {
      for (int64_t m = begin; m < end; ++m)
        codes_row<T>(p, m);
    });
  });
}

std::unique_ptr<LinearWeight> linear_reference(const LinearProblem& p) {
  if (is_f32(p.weight)) return std::make_unique<PlainWeight<float>>(p);
  return std::make_unique<PlainWeight<Bf16>>(p);
}

}  // namespace mopt::compute
