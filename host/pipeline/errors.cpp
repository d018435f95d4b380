#include "host/pipeline/errors.hpp"

#include <algorithm>
#include <cmath>

#include "host/compute/cast/cast.hpp"
#include "host/compute/linear/linear.hpp"
#include "host/compute/parallel.hpp"
#include "mopt/numeric/bf16.hpp"
#include "mopt/numeric/fp16.hpp"

namespace mopt::pipeline {
namespace {

constexpr int64_t kRowsPerPiece = 128;
constexpr size_t kLanes = 16;

struct Sums {
  double difference = 0, original = 0;
};

struct FromF32 {
  static float get(const void* p, size_t i) { return static_cast<const float*>(p)[i]; }
};
struct FromBf16 {
  static float get(const void* p, size_t i) {
    return bf16::decode(static_cast<const uint16_t*>(p)[i]);
  }
};
struct FromF16 {
  static float get(const void* p, size_t i) {
    return fp16::decode(static_cast<const uint16_t*>(p)[i]);
  }
};

// Independent lanes, so that the compiler may vectorize without reordering a sum.
template <class A, class B>
Sums compare(const void* a, const void* b, size_t n) {
  Sums total;
  constexpr size_t kStretch = 4096;  // f32 lanes stay exact enough over it
  for (size_t begin = 0; begin < n; begin += kStretch) {
    const size_t end = std::min(n, begin + kStretch);
    float difference[kLanes] = {}, original[kLanes] = {};
    size_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) {
        const float w = B::get(b, i + lane), d = A::get(a, i + lane) - w;
        difference[lane] += d * d;
        original[lane] += w * w;
      }
    }
    for (; i < end; ++i) {
      const float w = B::get(b, i), d = A::get(a, i) - w;
      difference[0] += d * d;
      original[0] += w * w;
    }
    for (size_t lane = 0; lane < kLanes; ++lane) {
      total.difference += difference[lane];
      total.original += original[lane];
    }
  }
  return total;
}

Sums compare_to(const float* a, const void* b, DLDataType dtype, size_t n) {
  if (same(dtype, kBf16)) return compare<FromF32, FromBf16>(a, b, n);
  if (same(dtype, kF16)) return compare<FromF32, FromF16>(a, b, n);
  return compare<FromF32, FromF32>(a, b, n);
}

double ratio(const Sums& s) {
  if (s.original > 0) return std::sqrt(s.difference / s.original);
  return s.difference > 0 ? INFINITY : 0.0;
}

const mopt_scheme& scheme_of_weight(const QuantizedWeight& q) {
  return *q.plan.formats[static_cast<size_t>(q.item.weight)]->weight;
}

bool is_weight_part(std::string_view role) {
  return role == MOPT_ROLE_PAYLOAD || role == MOPT_ROLE_SCALE || role == MOPT_ROLE_GLOBAL_SCALE;
}

// The parts of rows [begin, end): slices of what has rows or tiles of rows, the rest as it is.
struct Slice {
  std::vector<TensorRef> refs;
  std::vector<mopt_named_tensor> named;
};

Slice slice_rows(const QuantizedWeight& q, int64_t begin, int64_t end) {
  const int64_t rows = q.item.rows();
  const int64_t tile = std::max<int64_t>(1, scheme_of_weight(q).block_rows);
  Slice slice;
  slice.refs.reserve(q.parts.size());
  for (const NamedTensor& part : q.parts) {
    if (!is_weight_part(part.name)) continue;
    const DLTensor& t = *part.tensor;
    std::vector<int64_t> extents(t.shape, t.shape + t.ndim);
    int64_t first = 0;
    if (t.ndim > 0 && extents[0] == rows) {
      first = begin;
      extents[0] = end - begin;
    } else if (t.ndim > 0 && tile > 1 && extents[0] == (rows + tile - 1) / tile) {
      first = begin / tile;
      extents[0] = (end - 1) / tile + 1 - first;
    }
    const int64_t row_elements = t.ndim == 0 || t.shape[0] == 0 ? 0 : elements(t) / t.shape[0];
    slice.refs.emplace_back(
        data<char>(t) + mopt_nbytes(static_cast<uint64_t>(first * row_elements), t.dtype), t.dtype,
        extents);
    slice.named.push_back({str(part.name), nullptr});
  }
  for (size_t i = 0; i < slice.refs.size(); ++i)
    slice.named[i].tensor = slice.refs[i].get();
  return slice;
}

void dequantize_rows(const QuantizedWeight& q, int64_t begin, int64_t end, DLTensor* out) {
  const Slice slice = slice_rows(q, begin, end);
  const mopt_qtensor abi{sizeof(mopt_qtensor), static_cast<uint32_t>(slice.named.size()),
                         str(q.item.name),     end - begin,
                         q.item.cols(),        slice.named.data()};
  q.plan.formats[static_cast<size_t>(q.item.weight)]->quantizer.dequantize(q.exec, abi, out);
}

compute::View view_tensor(const DLTensor& t) {
  return compute::view_of(data<char>(t), t.dtype, shape(t));
}

}  // namespace

double weight_error(const QuantizedWeight& q, const DLTensor& weight) {
  const int64_t rows = q.item.rows(), cols = q.item.cols();
  const int64_t tile = std::max<int64_t>(1, scheme_of_weight(q).block_rows);
  const int64_t step = (kRowsPerPiece + tile - 1) / tile * tile;  // whole tiles
  std::vector<Sums> pieces(static_cast<size_t>((rows + step - 1) / step));
  compute::for_each(rows, step, [&](int64_t begin, int64_t end) {
    Tensor wide = allocate(kF32, {end - begin, cols});
    dequantize_rows(q, begin, end, wide.get());
    const char* original =
        data<char>(weight) + mopt_nbytes(static_cast<uint64_t>(begin * cols), weight.dtype);
    pieces[static_cast<size_t>(begin / step)] = compare_to(
        wide.data<float>(), original, weight.dtype, static_cast<size_t>((end - begin) * cols));
  });
  Sums total;
  for (const Sums& piece : pieces) {
    total.difference += piece.difference;
    total.original += piece.original;
  }
  return ratio(total);
}

double output_error(const QuantizedWeight& q, const DLTensor& weight, const DLTensor& x,
                    std::optional<float> input_scale) {
  const int64_t n = x.shape[0], rows = q.item.rows(), cols = q.item.cols();
  const DLDataType dtype = x.dtype;
  Tensor wq = allocate(dtype, {rows, cols}), xq = allocate(dtype, {n, cols});
  dequantize_rows(q, 0, rows, wq.get());
  const DLTensor* input = &x;
  if (q.item.input != plan::kNoFormat) {
    q.plan.formats[static_cast<size_t>(q.item.input)]->quantizer.quantize_input(
        q.exec, MOPT_OPERAND_INPUT, &x, input_scale ? &*input_scale : nullptr, xq.get());
    input = xq.get();
  }
  Tensor y = allocate(dtype, {n, rows}), yq = allocate(dtype, {n, rows});
  Tensor converted;  // a float16 model computes in float32
  compute::View w = view_tensor(weight);
  if (!same(weight.dtype, dtype)) {
    converted = allocate(dtype, {rows, cols});
    compute::cast(w, view_tensor(*converted));
    w = view_tensor(*converted);
  }
  compute::linear(view_tensor(x), w, nullptr, view_tensor(*y));
  compute::linear(view_tensor(*input), view_tensor(*wq), nullptr, view_tensor(*yq));
  const auto count = static_cast<size_t>(n * rows);
  const Sums sums = same(dtype, kBf16)
                        ? compare<FromBf16, FromBf16>(yq.data<char>(), y.data<char>(), count)
                        : compare<FromF32, FromF32>(yq.data<char>(), y.data<char>(), count);
  return ratio(sums);
}

}  // namespace mopt::pipeline
