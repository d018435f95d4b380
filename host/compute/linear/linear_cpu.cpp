// linear through oneDNN: the weight in slices of kColumns outputs, each in oneDNN's own layout; a
// task multiplies kRows rows by one slice on one thread.
#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "host/compute/cast/cast.hpp"
#include "host/compute/linear/linear.hpp"
#include "host/compute/onednn.hpp"
#include "host/compute/parallel.hpp"
#include "host/compute/scratch.hpp"

namespace mopt::compute {
namespace {

using dnnl::memory;
using onednn::Product;

// 128 x 256: oneDNN 2.6.3 reaches 98 % of its speed at 512 rows, a slice of 576 inputs stays in L2,
// and one sequence of 512 tokens still gives a task to each of several threads.
constexpr int64_t kRows = 128, kColumns = 256;
// Fewer multiplications than these are not worth a task of their own.
constexpr int64_t kTaskWork = 2'000'000;

int64_t rounded_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// The products of one weight, by rows and columns of the tile; made when first needed.
class Products {
 public:
  Products(int64_t k, DLDataType dtype, bool with_bias)
      : k_(k), type_(onednn::type(dtype)), with_bias_(with_bias) {}

  // oneDNN's preferred layout of w[K, n].
  memory::desc layout(int64_t n) const {
    const std::lock_guard lock(mutex_);
    return layout_locked(n);
  }

  const Product& get(int64_t m, int64_t n) const {
    const std::lock_guard lock(mutex_);
    const auto found = products_.find({m, n});
    if (found != products_.end()) return found->second;
    return products_.emplace(std::pair{m, n}, make(m, n, layout_locked(n))).first->second;
  }

 private:
  memory::desc layout_locked(int64_t n) const {
    const auto found = layouts_.find(n);
    if (found != layouts_.end()) return found->second;
    const memory::desc any({k_, n}, type_, memory::format_tag::any);
    return layouts_.emplace(n, make(kRows, n, any).packed()).first->second;
  }

  // All operands dense: oneDNN 2.6 leaves its fastest products for others (gemm:jit) when rows of y
  // are further apart than they are long.
  Product make(int64_t m, int64_t n, const memory::desc& w) const {
    Product::Shape shape;
    shape.x = memory::desc({m, k_}, type_, memory::dims{k_, 1});
    shape.w = w;
    shape.y = memory::desc({m, n}, type_, memory::dims{n, 1});
    if (with_bias_) shape.bias = memory::desc({1, n}, type_, memory::dims{n, 1});
    return Product(shape);
  }

  int64_t k_;
  memory::data_type type_;
  bool with_bias_;
  mutable std::mutex mutex_;
  mutable std::map<int64_t, memory::desc> layouts_;
  mutable std::map<std::pair<int64_t, int64_t>, Product> products_;
};

struct InputTile;   // kRows rows of x in the type of the product
struct OutputTile;  // kRows rows of y in the type of the product

// T: type of x, weight and y; C: type that oneDNN computes in. oneDNN sums a row over K in one
// order, whatever the other rows of the tile are: tested in linear_test.cpp.
template <class T, class C>
class PackedWeight final : public LinearWeight {
 public:
  explicit PackedWeight(const LinearProblem& p)
      : n_(p.weight.shape[0]), k_(p.weight.shape[1]), products_(k_, kType, p.bias.has_value()) {
    const int64_t slices = (n_ + kColumns - 1) / kColumns;
    slice_bytes_ =
        rounded_up(static_cast<int64_t>(products_.layout(std::min(n_, kColumns)).get_size()), 64);
    const auto last = static_cast<int64_t>(products_.layout(width(slices - 1)).get_size());
    weight_.grow((slices - 1) * slice_bytes_ + last);
    for_each(slices, 1, [&](int64_t slice, int64_t) { pack(p.weight, slice); });
    if (p.bias) {
      bias_.grow(n_ * kSize);
      cast(*p.bias, view_of(bias_.data(), kType, {n_}));
    }
  }

  void run(const View& x, const View& y) const override {
    const int64_t m = x.shape[0], tiles = (m + kRows - 1) / kRows;
    const int64_t slices = (n_ + kColumns - 1) / kColumns;
    // A tile costs its products and one read of the weights, as much as the products of 8 rows.
    const int64_t work = (std::min(m, kRows) + 8) * std::min(n_, kColumns) * k_;
    // All tiles of a slice follow each other: the slice stays in the cache.
    for_each(tiles * slices, kTaskWork / work + 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t)
        multiply(x, y, t % tiles, t / tiles);
    });
  }

  int64_t bytes() const override { return weight_.size() + bias_.size(); }

 private:
  static constexpr int64_t kSize = sizeof(C);
  static constexpr DLDataType kType = sizeof(C) == 2 ? kBf16 : kF32;
  static constexpr bool kConverts = sizeof(T) != sizeof(C);

  int64_t width(int64_t slice) const { return std::min(kColumns, n_ - slice * kColumns); }
  char* slice_data(int64_t slice) const {
    return static_cast<char*>(weight_.data()) + slice * slice_bytes_;
  }

  void pack(const View& weight, int64_t slice) {
    const int64_t n = width(slice);
    const T* rows = weight.as<T>() + slice * kColumns * k_;
    AlignedBytes converted;
    const void* from = rows;
    if constexpr (kConverts) {
      converted.grow(n * k_ * kSize);
      cast(view_of(rows, weight.dtype, {n, k_}), view_of(converted.data(), kType, {n, k_}));
      from = converted.data();
    }
    onednn::reorder(memory::desc({k_, n}, onednn::type(kType), memory::dims{1, k_}), from,
                    products_.layout(n), slice_data(slice));
  }

  void multiply(const View& x, const View& y, int64_t tile, int64_t slice) const {
    const int64_t row = tile * kRows, m = std::min(kRows, x.shape[0] - row), n = width(slice);
    const int64_t column = slice * kColumns;
    const T* from = x.as<T>() + row * k_;
    T* to = y.as<T>() + row * n_ + column;
    const Product& product = products_.get(m, n);
    const C* bias = bias_.size() == 0 ? nullptr : static_cast<C*>(bias_.data()) + column;
    const void* input = from;
    if constexpr (kConverts) {
      input = scratch<InputTile>(kRows * k_ * kSize);
      cast(view_of(from, x.dtype, {m, k_}), view_of(input, kType, {m, k_}));
    }
    if (!kConverts && n == n_) return product.run(input, slice_data(slice), bias, to);
    auto* output = static_cast<C*>(scratch<OutputTile>(kRows * kColumns * kSize));
    product.run(input, slice_data(slice), bias, output);
    for (int64_t i = 0; i < m; ++i)
      put(output + i * n, n, to + i * n_);
  }

  static void put(const C* from, int64_t n, T* to) {
    if constexpr (kConverts) {
      cast(view_of(from, kType, {n}), view_of(to, kBf16, {n}));
    } else {
      std::memcpy(to, from, static_cast<size_t>(n * kSize));
    }
  }

  int64_t n_, k_, slice_bytes_ = 0;
  Products products_;
  AlignedBytes weight_, bias_;
};

std::string_view refuse_shape(const LinearProblem& p) {
  return p.weight.elements() == 0 ? "oneDNN takes no empty weight" : "";
}

}  // namespace

std::string_view linear_onednn_refuses(const LinearProblem& p) {
  if (is_bf16(p.weight) && !onednn::has_bf16())
    return "this CPU has no bf16 products (AVX512_BF16)";
  return refuse_shape(p);
}

std::unique_ptr<LinearWeight> linear_onednn(const LinearProblem& p) {
  if (is_f32(p.weight)) return std::make_unique<PackedWeight<float, float>>(p);
  return std::make_unique<PackedWeight<Bf16, Bf16>>(p);
}

// A product of two bf16 numbers is exact in f32, so this row differs only in the order of sums.
std::string_view linear_onednn_f32_refuses(const LinearProblem& p) {
  if (!is_bf16(p.weight)) return "converts bf16 only";
  return refuse_shape(p);
}

std::unique_ptr<LinearWeight> linear_onednn_f32(const LinearProblem& p) {
  return std::make_unique<PackedWeight<Bf16, float>>(p);
}

}  // namespace mopt::compute
