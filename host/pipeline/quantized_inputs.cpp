#include "host/pipeline/quantized_inputs.hpp"

#include <algorithm>
#include <array>

#include "host/compute/parallel.hpp"

namespace mopt::pipeline {

using compute::View;
using graph::ValueId;

namespace {

bool same(const InputFormat& a, const InputFormat& b) {
  return a.quantizer == b.quantizer && a.operand == b.operand && a.scale == b.scale &&
         a.pre_scale == b.pre_scale;
}

// y[.., c] = x[.., c] * factors[c], rounded to the type of both.
void scale_channels(const View& x, const std::vector<float>& factors, const View& y) {
  const int64_t columns = x.columns();
  compute::by_dtype("pre_quant_scale", x, [&]<class T>(T*) {
    compute::for_each(x.rows(), 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * columns; i < end * columns; ++i) {
        const float factor = factors[static_cast<size_t>(i % columns)];
        put(to_float(x.as<T>()[i]) * factor, y.as<T>()[i]);
      }
    });
  });
}

// A quantizer sees rows of one vector each: a head of K or V, a token of a linear's input.
View as_rows(const View& x) {
  return compute::view_of(x.data, x.dtype, {x.rows(), x.columns()});
}

const float* scale_in(const InputFormat& format) {
  return format.scale ? &*format.scale : nullptr;
}

TensorRef on_cpu(const View& view) {
  return TensorRef(view.data, view.dtype, view.extents());
}

void quantize_on_cpu(const mopt_exec* exec, const InputFormat& format, const View& x,
                     const View& y) {
  TensorRef in = on_cpu(as_rows(x)), out = on_cpu(as_rows(y));
  if (!format.pre_scale.empty()) {
    scale_channels(x, format.pre_scale, y);
    in = on_cpu(as_rows(y));
  }
  if (format.quantizer == nullptr) return;
  format.quantizer->quantize_input(exec, format.operand, in.get(), scale_in(format), out.get());
}

// A tensor of a device in the host's memory.
struct OnHost {
  OnHost(OnDevice& on, const View& like)
      : memory(on.device().take_pinned(like.bytes())), view(like) {
    view.data = memory.get();
  }
  void send(OnDevice& on, const View& to) const { on.queue().copy(to.data, view.data, to.bytes()); }

  compute::Buffer memory;
  View view;
};

OnHost fetched(OnDevice& on, const View& x) {
  OnHost copy(on, x);
  on.queue().copy(copy.view.data, x.data, x.bytes());
  on.queue().finish();
  return copy;
}

void quantize_away(OnDevice& on, const mopt_exec* cpu, const InputFormat& format, const View& x,
                   const View& y) {
  const OnHost copy = fetched(on, x);
  quantize_on_cpu(cpu, format, copy.view, copy.view);
  copy.send(on, y);
  on.queue().finish();
}

void encode_away(OnDevice& on, const mopt_exec* cpu, const InputFormat& format, const View& x,
                 const compute::Codes& y) {
  const OnHost copy = fetched(on, x), codes(on, y.codes), scales(on, y.scales);
  TensorRef in = on_cpu(copy.view), to = on_cpu(codes.view), factors = on_cpu(scales.view);
  format.quantizer->encode_input(cpu, in.get(), scale_in(format), to.get(), factors.get());
  codes.send(on, y.codes);
  scales.send(on, y.scales);
  on.queue().finish();
}

}  // namespace

bool QuantizedInputs::made_there(const OnDevice& on, const InputFormat& format) {
  return format.pre_scale.empty() && on.serves(*format.quantizer);
}

const QuantizedInputs::Copy* QuantizedInputs::known(ValueId v, const InputFormat& format,
                                                    DLDataType dtype) const {
  const auto found = std::find_if(copies_.begin(), copies_.end(), [&](const Copy& c) {
    return c.value == v && mopt::same(c.main.view.dtype, dtype) && same(*c.format, format);
  });
  return found == copies_.end() ? nullptr : &*found;
}

QuantizedInputs::Part QuantizedInputs::make(DLDataType dtype,
                                            std::span<const int64_t> shape) const {
  Part part{nullptr, compute::view_of(nullptr, dtype, shape)};
  part.memory = take_(part.view.bytes());
  part.view.data = part.memory.get();
  return part;
}

View QuantizedInputs::values(ValueId v, const View& x, const InputFormat& format) {
  if (const Copy* copy = known(v, format, x.dtype)) return copy->main.view;
  const Part out = make(x.dtype, x.extents());
  if (on_ == nullptr) {
    quantize_on_cpu(cpu_, format, x, out.view);
  } else if (made_there(*on_, format)) {
    TensorRef in = on_->tensor(as_rows(x)), to = on_->tensor(as_rows(out.view));
    format.quantizer->quantize_input(on_->exec(), format.operand, in.get(), scale_in(format),
                                     to.get());
  } else {
    quantize_away(*on_, cpu_, format, x, out.view);
  }
  copies_.push_back({v, &format, out, {}});
  return out.view;
}

compute::Codes QuantizedInputs::codes(ValueId v, const View& x, const InputFormat& format) {
  if (const Copy* copy = known(v, format, kE4m3)) return {copy->main.view, copy->scales.view};
  const View rows = as_rows(x);
  const int64_t count = *format.codes == CodeScales::kOne ? 1 : rows.rows();
  const Part codes = make(kE4m3, rows.extents()), scales = make(kF32, std::array{count});
  const compute::Codes made{codes.view, scales.view};
  if (made_there(*on_, format)) {
    TensorRef in = on_->tensor(rows), to = on_->tensor(codes.view);
    TensorRef factors = on_->tensor(scales.view);
    format.quantizer->encode_input(on_->exec(), in.get(), scale_in(format), to.get(),
                                   factors.get());
  } else {
    encode_away(*on_, cpu_, format, rows, made);
  }
  copies_.push_back({v, &format, codes, scales});
  return made;
}

void QuantizedInputs::forget(ValueId v) {
  std::erase_if(copies_, [&](const Copy& c) { return c.value == v; });
}

}  // namespace mopt::pipeline
