// QuantizerComponent<T>: the vtable of "mopt.quantizer/1" from a plain class.
#pragma once

#include "mopt/numeric/range.hpp"
#include "mopt/plugin.hpp"
#include "mopt/quantizer.h"

namespace mopt {

// A scheme as plain data; `name` is filled in from the component.
struct Scheme {
  mopt_granularity granularity = MOPT_PER_TENSOR;
  DLDataType element{}, scale = kF32;
  uint32_t block_rows = 0, block_cols = 0;
  mopt_scheme_flags flags = 0;
  bool operator==(const Scheme& o) const {
    return granularity == o.granularity && same(element, o.element) && same(scale, o.scale) &&
           block_rows == o.block_rows && block_cols == o.block_cols && flags == o.flags;
  }
};

inline Scheme scheme_of(const mopt_scheme& s) {
  return {s.granularity, s.element, s.scale, s.block_rows, s.block_cols, s.flags};
}
inline mopt_scheme to_abi(const Scheme& s, std::string_view name) {
  return {sizeof(mopt_scheme), s.granularity, str(name), s.element, s.scale,
          s.block_rows,        s.block_cols,  s.flags,   0};
}

// The parts of a quantized weight, by role.
class Parts {
 public:
  explicit Parts(const mopt_qtensor& q) : q_(q) {}
  const mopt_qtensor& raw() const { return q_; }
  const DLTensor* find(std::string_view role) const {
    for (uint32_t i = 0; i < q_.n_tensors; ++i) {
      if (view(q_.tensors[i].name) == role) return q_.tensors[i].tensor;
    }
    return nullptr;
  }
  const DLTensor& at(std::string_view role) const {
    const DLTensor* tensor = find(role);
    if (tensor != nullptr) return *tensor;
    throw Error(MOPT_DATA_LOSS, "the checkpoint holds no " + std::string(role) + " for it",
                std::string(view(q_.name)));
  }
  // The scales, refused unless there are `count` of them.
  const DLTensor& scales(int64_t count) const {
    const DLTensor& found = at(MOPT_ROLE_SCALE);
    if (elements(found) == count) return found;
    throw Error(MOPT_DATA_LOSS,
                "expected " + std::to_string(count) + " scales, found " + shape_text(shape(found)) +
                    "; the checkpoint is damaged or of another layout",
                std::string(view(q_.name)));
  }

 private:
  const mopt_qtensor& q_;
};

// What every encoder says of a weight without range.
inline void warn_if_zero(const Exec& exec, std::string_view component, const mopt_weight_job& job) {
  if (job.absmax != 0) return;
  exec.host().warn(component, std::string(view(job.name)) + " is all zero; its codes are zero");
}

// Calls fn(row) for every row, in parallel.
template <class Fn>
void for_rows(const Exec& exec, int64_t rows, int64_t cols, const Fn& fn) {
  exec.for_each(rows, rows_per_task(cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      fn(row);
  });
}

// T has: name, summary, [options], [concurrent = true], [cuda = kPluginCuda], and
//   explicit T(const Settings&)
//   static std::optional<T> open(const Scheme&)                nullopt: not this format's
//   std::optional<Scheme> scheme(mopt_operand) const           nullopt: cannot hold one
//   void plan(const mopt_weight_view&, const DeclSink&) const
//   void quantize(const Exec&, const mopt_weight_job&, const TensorSink&) const
//   void dequantize(const Exec&, const Parts&, DLTensor& out) const
//   float input_scale(mopt_operand, float absmax) const
//   void quantize_input(const Exec&, mopt_operand, const DLTensor& x, const float* scale,
//                       DLTensor& out) const
//   [void encode_input(const Exec&, const DLTensor& x, const float* scale, DLTensor& codes,
//                      DLTensor& scales) const]
template <class T>
struct QuantizerComponent {
  static constexpr mopt_quantizer vtable = {
      sizeof(mopt_quantizer),
      0,
      detail::create<T>,
      detail::destroy<T>,
      [](const mopt_host*, const mopt_scheme* scheme, mopt_instance** out) noexcept {
        return guard([&] {
          std::optional<T> opened = T::open(scheme_of(*scheme));
          if (!opened) throw Error(MOPT_UNSUPPORTED, "not a scheme of this format");
          *out = reinterpret_cast<mopt_instance*>(new T(*std::move(opened)));
        });
      },
      [](mopt_instance* self, mopt_operand operand, mopt_scheme* out) noexcept {
        return guard([&] {
          const std::optional<Scheme> scheme = detail::self<T>(self).scheme(operand);
          if (!scheme) {
            static constexpr const char* kWhat[] = {"?", "weights", "inputs", "a KV cache"};
            throw Error(MOPT_UNSUPPORTED, std::string("with these options ") + T::name +
                                              " does not serve " + kWhat[operand & 3]);
          }
          *out = to_abi(*scheme, T::name);
        });
      },
      [](mopt_instance* self, const mopt_weight_view* weight, mopt_decl_sink sink) noexcept {
        return guard([&] { detail::self<T>(self).plan(*weight, DeclSink(sink)); });
      },
      [](mopt_instance* self, const mopt_exec* exec, const mopt_weight_job* job,
         mopt_tensor_sink sink) noexcept {
        return guard([&] { detail::self<T>(self).quantize(Exec(exec), *job, TensorSink(sink)); });
      },
      [](mopt_instance* self, const mopt_exec* exec, const mopt_qtensor* q,
         DLTensor* out) noexcept {
        return guard([&] { detail::self<T>(self).dequantize(Exec(exec), Parts(*q), *out); });
      },
      [](mopt_instance* self, mopt_operand operand, float absmax, float* scale) noexcept {
        return guard([&] { *scale = detail::self<T>(self).input_scale(operand, absmax); });
      },
      [](mopt_instance* self, const mopt_exec* exec, mopt_operand operand, const DLTensor* x,
         const float* scale, DLTensor* out) noexcept {
        return guard(
            [&] { detail::self<T>(self).quantize_input(Exec(exec), operand, *x, scale, *out); });
      },
      [](mopt_instance* self, const mopt_exec* exec, const DLTensor* x, const float* scale,
         DLTensor* codes, DLTensor* scales) noexcept {
        return guard([&] {
          if constexpr (requires { &T::encode_input; }) {
            detail::self<T>(self).encode_input(Exec(exec), *x, scale, *codes, *scales);
          } else {
            throw Error(MOPT_UNSUPPORTED, std::string(T::name) + " has no codes of inputs");
          }
        });
      }};
  static constexpr mopt_component value = detail::component<T>(MOPT_QUANTIZER_INTERFACE, &vtable);
};

}  // namespace mopt
