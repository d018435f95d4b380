#include "host/compute/linear/linear.hpp"
#include "host/compute/parallel.hpp"

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

}  // namespace

std::unique_ptr<LinearWeight> linear_reference(const LinearProblem& p) {
  if (is_f32(p.weight)) return std::make_unique<PlainWeight<float>>(p);
  return std::make_unique<PlainWeight<Bf16>>(p);
}

}  // namespace mopt::compute
