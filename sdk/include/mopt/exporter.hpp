// ExporterComponent<T>: the vtable of "mopt.exporter/1" from a plain class.
#pragma once

#include "mopt/exporter.h"
#include "mopt/plugin.hpp"

namespace mopt {

// A checkpoint being read back.
class Checkpoint {
 public:
  explicit Checkpoint(const mopt_checkpoint& c) : c_(c) {}
  std::string_view document(std::string_view name) const {
    return view(c_.document(c_.ctx, str(name)));
  }
  std::span<const mopt_tensor_decl> tensors() const { return {c_.tensors, c_.n_tensors}; }

 private:
  const mopt_checkpoint& c_;
};

class ReadSink {
 public:
  explicit ReadSink(mopt_read_sink sink) : sink_(sink) {}
  void param(const mopt_param& param, int64_t rows, int64_t cols,
             std::span<const mopt_stored_role> roles) const {
    check(sink_.param(sink_.ctx, &param, rows, cols, roles.data(), roles.size()));
  }
  void problem(const mopt_problem& problem) const { check(sink_.problem(sink_.ctx, &problem)); }

 private:
  mopt_read_sink sink_;
};

class VerdictSink {
 public:
  explicit VerdictSink(mopt_verdict_sink sink) : sink_(sink) {}
  void put(std::string_view engine, std::string_view verdict, std::string_view reason) const {
    check(sink_.put(sink_.ctx, str(engine), str(verdict), str(reason)));
  }

 private:
  mopt_verdict_sink sink_;
};

// T has: name, summary, [options], [concurrent = true], and
//   void plan(const mopt_param&, std::span<const mopt_tensor_decl>, const DeclSink&) const
//   void put(const Exec&, const mopt_param&, std::span<const mopt_named_tensor>,
//            const TensorSink&) const
//   void finish(const mopt_export&, const TextSink&)
//   void engines(const mopt_export&, const VerdictSink&)
//   void read(const Checkpoint&, const ReadSink&)
//   Tensor unpack(const Exec&, const mopt_param&, std::string_view role, const DLTensor&) const
template <class T>
struct ExporterComponent {
  static constexpr mopt_exporter vtable = {
      sizeof(mopt_exporter),
      0,
      detail::create<T>,
      detail::destroy<T>,
      [](mopt_instance* self, const mopt_param* param, const mopt_tensor_decl* decls, uint64_t n,
         mopt_decl_sink sink) noexcept {
        return guard(
            [&] { detail::self<T>(self).plan(*param, std::span(decls, n), DeclSink(sink)); });
      },
      [](mopt_instance* self, const mopt_exec* exec, const mopt_param* param,
         const mopt_named_tensor* tensors, uint64_t n, mopt_tensor_sink sink) noexcept {
        return guard([&] {
          detail::self<T>(self).put(Exec(exec), *param, std::span(tensors, n), TensorSink(sink));
        });
      },
      [](mopt_instance* self, const mopt_export* job, mopt_text_sink sink) noexcept {
        return guard([&] { detail::self<T>(self).finish(*job, TextSink(sink)); });
      },
      [](mopt_instance* self, const mopt_export* job, mopt_verdict_sink sink) noexcept {
        return guard([&] { detail::self<T>(self).engines(*job, VerdictSink(sink)); });
      },
      [](mopt_instance* self, const mopt_checkpoint* c, mopt_read_sink sink) noexcept {
        return guard([&] { detail::self<T>(self).read(Checkpoint(*c), ReadSink(sink)); });
      },
      [](mopt_instance* self, const mopt_exec* exec, const mopt_param* param, mopt_str role,
         const DLTensor* stored, DLManagedTensorVersioned** out) noexcept {
        return guard([&] {
          *out = detail::self<T>(self).unpack(Exec(exec), *param, view(role), *stored).release();
        });
      }};
  static constexpr mopt_component value = detail::component<T>(MOPT_EXPORTER_INTERFACE, &vtable);
};

}  // namespace mopt
