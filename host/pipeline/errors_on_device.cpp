#include "host/pipeline/errors_on_device.hpp"

#include <cmath>

#include "host/compute/cast/cast.hpp"
#include "host/compute/linear/linear.hpp"
#include "host/compute/squared_error/squared_error.hpp"
#include "host/plan/device_cost.hpp"

namespace mopt::pipeline {

using compute::View;

namespace {

constexpr int64_t kSumBytes = 2 * compute::kErrorParts * static_cast<int64_t>(sizeof(double));

compute::Options options_of(OnDevice& on) {
  compute::Options options;
  options.queue = &on.queue();
  return options;
}

struct Memory {
  compute::Buffer buffer;
  View view;
};

Memory take(OnDevice& on, DLDataType dtype, std::initializer_list<int64_t> shape) {
  Memory memory{nullptr, compute::view_of(nullptr, dtype, shape)};
  memory.buffer = on.queue().take(memory.view.bytes());
  memory.view.data = memory.buffer.get();
  return memory;
}

View rows_of(const View& weight, int64_t begin, int64_t end) {
  const int64_t row = weight.bytes() / weight.shape[0];
  return compute::view_of(static_cast<const std::byte*>(weight.data) + begin * row, weight.dtype,
                          {end - begin, weight.shape[1]});
}

// fn(begin, end) for the pieces of the weight.
void for_pieces(const QuantizedWeight& q, DLDataType dtype,
                const std::function<void(int64_t, int64_t)>& fn) {
  const int64_t rows = q.item.rows(), step = rows_within(q, plan::kPieceBytes, dtype);
  for (int64_t begin = 0; begin < rows; begin += step)
    fn(begin, std::min(rows, begin + step));
}

Memory dequantized(const DeviceLayer& layer, DLDataType dtype, int64_t begin, int64_t end) {
  Memory piece = take(layer.on, dtype, {end - begin, layer.quantized.item.cols()});
  TensorRef out = layer.on.tensor(piece.view);
  dequantize_rows(layer.quantized, begin, end, out.get());
  return piece;
}

// The input as the layer sees it once it is quantized.
Memory quantized_input(const DeviceLayer& layer, const View& x, std::optional<float> scale) {
  Memory out = take(layer.on, x.dtype, {x.shape[0], x.shape[1]});
  const QuantizedWeight& q = layer.quantized;
  TensorRef from = layer.on.tensor(x), to = layer.on.tensor(out.view);
  q.plan.formats[static_cast<size_t>(q.item.input)]->quantizer.quantize_input(
      q.exec, MOPT_OPERAND_INPUT, from.get(), scale ? &*scale : nullptr, to.get());
  return out;
}

}  // namespace

PendingError::PendingError(OnDevice& on)
    : on_(on), device_(on.queue().take(kSumBytes)), pinned_(on.device().take_pinned(kSumBytes)) {
  on_.queue().zero(device_.get(), kSumBytes);
}

void PendingError::fetch() {
  on_.queue().copy(pinned_.get(), device_.get(), kSumBytes);
}

double PendingError::ratio() const {
  const compute::SquaredError sums = compute::squared_error_of(
      {reinterpret_cast<const double*>(pinned_.get()), 2 * compute::kErrorParts});
  if (sums.original > 0) return std::sqrt(sums.difference / sums.original);
  return sums.difference > 0 ? INFINITY : 0.0;
}

PendingError weight_error_on_device(const DeviceLayer& layer) {
  PendingError error(layer.on);
  const compute::Options options = options_of(layer.on);
  for_pieces(layer.quantized, kF32, [&](int64_t begin, int64_t end) {
    const Memory piece = dequantized(layer, kF32, begin, end);
    compute::squared_error({piece.view, rows_of(layer.weight, begin, end), error.parts()}, options);
  });
  error.fetch();
  return error;
}

PendingError output_error_on_device(const DeviceLayer& layer, const DLTensor& x,
                                    std::optional<float> input_scale) {
  PendingError error(layer.on);
  const compute::Options options = options_of(layer.on);
  const View input = compute::view_of(data<char>(x), x.dtype, shape(x));
  Memory seen;
  seen.view = input;
  if (layer.quantized.item.input != plan::kNoFormat)
    seen = quantized_input(layer, input, input_scale);
  for_pieces(layer.quantized, x.dtype, [&](int64_t begin, int64_t end) {
    const Memory wq = dequantized(layer, x.dtype, begin, end);
    View w = rows_of(layer.weight, begin, end);
    Memory converted;
    if (!same(w.dtype, x.dtype)) {  // a float16 model computes in float32
      converted = take(layer.on, x.dtype, {w.shape[0], w.shape[1]});
      compute::cast(w, converted.view, options);
      w = converted.view;
    }
    const Memory y = take(layer.on, x.dtype, {input.shape[0], end - begin});
    const Memory yq = take(layer.on, x.dtype, {input.shape[0], end - begin});
    compute::linear(input, w, nullptr, y.view, options);
    compute::linear(seen.view, wq.view, nullptr, yq.view, options);
    compute::squared_error({yq.view, y.view, error.parts()}, options);
  });
  error.fetch();
  return error;
}

void foresee_output_error(const QuantizedWeight& q, DLDataType input, int64_t rows,
                          compute::Options options) {
  options.work = compute::Work::kChoose;
  const auto like = [&](int64_t m, int64_t n) {
    return compute::view_of(compute::aligned_address(), input, {m, n});
  };
  for_pieces(q, input, [&](int64_t begin, int64_t end) {
    const int64_t outputs = end - begin;
    compute::linear(like(rows, q.item.cols()), like(outputs, q.item.cols()), nullptr,
                    like(rows, outputs), options);
  });
}

}  // namespace mopt::pipeline
