#include "host/pipeline/errors.hpp"

#include <algorithm>
#include <cmath>

#include "host/compute/cast/cast.hpp"
#include "host/compute/linear/linear.hpp"
#include "host/compute/parallel.hpp"
#include "host/plan/cost.hpp"
#include "mopt/numeric/bf16.hpp"
#include "mopt/numeric/fp16.hpp"

namespace mopt::pipeline {
namespace {

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

void add(Sums& total, const Sums& piece) {
  total.difference += piece.difference;
  total.original += piece.original;
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
    slice.refs.back().on(t.device);
    slice.named.push_back({str(part.name), nullptr});
  }
  for (size_t i = 0; i < slice.refs.size(); ++i)
    slice.named[i].tensor = slice.refs[i].get();
  return slice;
}

}  // namespace

void dequantize_rows(const QuantizedWeight& q, int64_t begin, int64_t end, DLTensor* out) {
  const Slice slice = slice_rows(q, begin, end);
  const mopt_qtensor abi{sizeof(mopt_qtensor), static_cast<uint32_t>(slice.named.size()),
                         str(q.item.name),     end - begin,
                         q.item.cols(),        slice.named.data()};
  q.plan.formats[static_cast<size_t>(q.item.weight)]->quantizer.dequantize(q.exec, abi, out);
}

// Rows whose elements fill `bytes`, in whole tiles, at least one.
int64_t rows_within(const QuantizedWeight& q, uint64_t bytes, DLDataType dtype) {
  const int64_t tile = std::max<int64_t>(1, scheme_of_weight(q).block_rows);
  const uint64_t tile_bytes = mopt_nbytes(static_cast<uint64_t>(tile * q.item.cols()), dtype);
  return tile *
         static_cast<int64_t>(std::max<uint64_t>(1, bytes / std::max<uint64_t>(1, tile_bytes)));
}

namespace {

compute::View view_tensor(const DLTensor& t) {
  return compute::view_of(data<char>(t), t.dtype, shape(t));
}

// Bytes at which row `row` of a weight begins.
const char* at_row(const DLTensor& weight, int64_t row) {
  return data<char>(weight) +
         mopt_nbytes(static_cast<uint64_t>(row * weight.shape[1]), weight.dtype);
}

struct Rows {
  int64_t begin, end;
};

// Over the outputs that rows [begin, end) of the weight make from x and, quantized, from xq.
Sums output_sums(const QuantizedWeight& q, const DLTensor& weight, Rows rows, const DLTensor& x,
                 const DLTensor& xq) {
  const int64_t n = x.shape[0], m = rows.end - rows.begin, cols = q.item.cols();
  const DLDataType dtype = x.dtype;
  Tensor wq = allocate(dtype, {m, cols}), y = allocate(dtype, {n, m}), yq = allocate(dtype, {n, m});
  dequantize_rows(q, rows.begin, rows.end, wq.get());
  compute::View w = compute::view_of(at_row(weight, rows.begin), weight.dtype, {m, cols});
  Tensor converted;  // a float16 model computes in float32
  if (!same(weight.dtype, dtype)) {
    converted = allocate(dtype, {m, cols});
    compute::cast(w, view_tensor(*converted));
    w = view_tensor(*converted);
  }
  compute::linear(view_tensor(x), w, nullptr, view_tensor(*y));
  compute::linear(view_tensor(xq), view_tensor(*wq), nullptr, view_tensor(*yq));
  const auto count = static_cast<size_t>(n * m);
  if (same(dtype, kBf16))
    return compare<FromBf16, FromBf16>(yq.data<char>(), y.data<char>(), count);
  return compare<FromF32, FromF32>(yq.data<char>(), y.data<char>(), count);
}

}  // namespace

double weight_error(const QuantizedWeight& q, const DLTensor& weight) {
  const int64_t rows = q.item.rows(), cols = q.item.cols();
  const int64_t step = rows_within(q, plan::kCacheBytes, kF32);
  std::vector<Sums> pieces(static_cast<size_t>((rows + step - 1) / step));
  compute::for_each(rows, step, [&](int64_t begin, int64_t end) {
    thread_local std::vector<float> scratch;
    scratch.resize(static_cast<size_t>((end - begin) * cols));
    TensorRef wide(scratch.data(), kF32, {end - begin, cols});
    dequantize_rows(q, begin, end, wide.get());
    pieces[static_cast<size_t>(begin / step)] =
        compare_to(scratch.data(), at_row(weight, begin), weight.dtype,
                   static_cast<size_t>((end - begin) * cols));
  });
  Sums total;
  for (const Sums& piece : pieces)
    add(total, piece);
  return ratio(total);
}

double output_error(const QuantizedWeight& q, const DLTensor& weight, const DLTensor& x,
                    std::optional<float> input_scale) {
  const DLDataType dtype = x.dtype;
  Tensor quantized_input;
  const DLTensor* input = &x;
  if (q.item.input != plan::kNoFormat) {
    quantized_input = allocate(dtype, shape(x));
    q.plan.formats[static_cast<size_t>(q.item.input)]->quantizer.quantize_input(
        q.exec, MOPT_OPERAND_INPUT, &x, input_scale ? &*input_scale : nullptr,
        quantized_input.get());
    input = quantized_input.get();
  }
  const int64_t rows = q.item.rows();
  const int64_t step = rows_within(q, plan::kWindowBytes, dtype);
  Sums total;
  for (int64_t begin = 0; begin < rows; begin += step) {
    const int64_t end = std::min(rows, begin + step);
    add(total, output_sums(q, weight, {begin, end}, x, *input));
  }
  return ratio(total);
}

}  // namespace mopt::pipeline
