// The plugin's side of the ABI in C++: options, settings, the execution context, and MOPT_PLUGIN.
// Wrappers per interface (quantizer.hpp, ...) turn a plain class into a vtable.
#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <type_traits>

#include "mopt/plugin.h"
#include "mopt/tensor.hpp"

namespace mopt {

// ---- options
// -------------------------------------------------------------------------------------

constexpr mopt_option bool_option(const char* name, bool def, const char* help) {
  return {sizeof(mopt_option),        MOPT_BOOL, name, help, 0, 0, nullptr,
          {MOPT_BOOL, 0, {.i = def}}, 0,         0};
}
constexpr mopt_option int_option(const char* name, int64_t def, int64_t min, int64_t max,
                                 const char* help) {
  return {sizeof(mopt_option),
          MOPT_INT,
          name,
          help,
          MOPT_OPTION_HAS_MIN | MOPT_OPTION_HAS_MAX,
          0,
          nullptr,
          {MOPT_INT, 0, {.i = def}},
          static_cast<double>(min),
          static_cast<double>(max)};
}
constexpr mopt_option float_option(const char* name, double def, double min, double max,
                                   const char* help) {
  return {sizeof(mopt_option),
          MOPT_FLOAT,
          name,
          help,
          MOPT_OPTION_HAS_MIN | MOPT_OPTION_HAS_MAX,
          0,
          nullptr,
          {MOPT_FLOAT, 0, {.f = def}},
          min,
          max};
}
// `choices` must have static lifetime.
template <size_t N>
constexpr mopt_option choice_option(const char* name, std::string_view def,
                                    const char* const (&choices)[N], const char* help) {
  return {sizeof(mopt_option),
          MOPT_STR,
          name,
          help,
          0,
          N,
          choices,
          {MOPT_STR, 0, {.s = {def.data(), def.size()}}},
          0,
          0};
}

// The validated options given to a component's constructor. Asking for an undeclared name is a bug
// of the plugin.
class Settings {
 public:
  Settings(const mopt_setting* settings, uint64_t n) : settings_(settings, n) {}
  bool flag(std::string_view name) const { return find(name, MOPT_BOOL).as.i != 0; }
  int64_t integer(std::string_view name) const { return find(name, MOPT_INT).as.i; }
  double number(std::string_view name) const { return find(name, MOPT_FLOAT).as.f; }
  std::string text(std::string_view name) const {
    return std::string(view(find(name, MOPT_STR).as.s));
  }

 private:
  const mopt_value& find(std::string_view name, mopt_type type) const {
    for (const mopt_setting& setting : settings_) {
      if (view(setting.name) == name && setting.value.type == type) return setting.value;
    }
    throw Error(MOPT_INTERNAL, "option '" + std::string(name) + "' was not declared");
  }
  std::span<const mopt_setting> settings_;
};

// ---- the host's services
// -------------------------------------------------------------------------

class Host {
 public:
  explicit Host(const mopt_host* host) : host_(host) {}
  const mopt_host* raw() const { return host_; }
  void warn(std::string_view component, std::string_view message) const {
    host_->log(host_, MOPT_LOG_WARN, str(component), str(message));
  }
  template <class Table>
  const Table* service(const char* id) const {
    return static_cast<const Table*>(host_->get_service(host_, id));
  }
  // fn(begin, end) over fixed chunks of [0, n); runs inline when the host offers no threads.
  template <class Fn>
  void for_each(int64_t n, int64_t grain, Fn&& fn) const {
    const auto* parallel = service<mopt_parallel>(MOPT_PARALLEL_SERVICE);
    if (parallel == nullptr || n <= grain) {
      for (int64_t i = 0; i < n; i += grain)
        fn(i, std::min(n, i + grain));
      return;
    }
    using Body = std::remove_reference_t<Fn>;
    check(parallel->for_each(
        n, grain,
        [](void* ctx, int64_t begin, int64_t end) noexcept {
          return guard([&] { (*static_cast<Body*>(ctx))(begin, end); });
        },
        const_cast<void*>(static_cast<const void*>(&fn))));
  }
  bool cancelled() const {
    const auto* progress = service<mopt_progress>(MOPT_PROGRESS_SERVICE);
    return progress != nullptr && progress->cancelled() != 0;
  }

 private:
  const mopt_host* host_;
};

// Whether this plugin was built with its CUDA kernels: mopt_add_plugin(... CUDA file.cu) in a
// project with a CUDA compiler. A component with `cuda = kPluginCuda` is then also called with a
// CUDA exec; its tensors and what alloc gives are in the device's memory, and the work belongs on
// the stream.
#if defined(MOPT_PLUGIN_CUDA)
inline constexpr bool kPluginCuda = true;
#else
inline constexpr bool kPluginCuda = false;
#endif

class Exec {
 public:
  explicit Exec(const mopt_exec* exec) : exec_(exec), host_(exec->host) {}
  const mopt_exec* raw() const { return exec_; }
  const Host& host() const { return host_; }
  bool cuda() const { return exec_->device.device_type == kDLCUDA; }
  // Host-owned, contiguous, 256-byte aligned, uninitialized.
  Tensor alloc(DLDataType dtype, std::span<const int64_t> shape) const {
    const auto* memory = host_.service<mopt_memory>(MOPT_MEMORY_SERVICE);
    if (memory == nullptr) throw Error(MOPT_UNSUPPORTED, "this host has no " MOPT_MEMORY_SERVICE);
    DLManagedTensorVersioned* out = nullptr;
    check(memory->alloc(exec_, dtype, static_cast<int32_t>(shape.size()), shape.data(), &out));
    return Tensor(out);
  }
  Tensor alloc(DLDataType dtype, std::initializer_list<int64_t> shape) const {
    return alloc(dtype, std::span<const int64_t>(shape.begin(), shape.size()));
  }
  // On the CPU.
  Tensor scalar(float value) const {
    Tensor t = alloc(kF32, {});
    *t.data<float>() = value;
    return t;
  }
  template <class Fn>
  void for_each(int64_t n, int64_t grain, Fn&& fn) const {
    host_.for_each(n, grain, std::forward<Fn>(fn));
  }

 private:
  const mopt_exec* exec_;
  Host host_;
};

// ---- receivers
// -----------------------------------------------------------------------------------

class DeclSink {
 public:
  explicit DeclSink(mopt_decl_sink sink) : sink_(sink) {}
  void put(std::string_view name, DLDataType dtype, std::span<const int64_t> shape) const {
    const mopt_tensor_decl decl{sizeof(mopt_tensor_decl),           dtype, str(name), shape.data(),
                                static_cast<int32_t>(shape.size()), 0};
    check(sink_.put(sink_.ctx, &decl));
  }
  void put(std::string_view name, DLDataType dtype, std::initializer_list<int64_t> shape) const {
    put(name, dtype, std::span<const int64_t>(shape.begin(), shape.size()));
  }

 private:
  mopt_decl_sink sink_;
};

class TensorSink {
 public:
  explicit TensorSink(mopt_tensor_sink sink) : sink_(sink) {}
  void put(std::string_view name, Tensor tensor) const {
    check(sink_.put(sink_.ctx, str(name), tensor.release()));
  }

 private:
  mopt_tensor_sink sink_;
};

class TextSink {
 public:
  explicit TextSink(mopt_text_sink sink) : sink_(sink) {}
  void put(std::string_view name, std::string_view text) const {
    check(sink_.put(sink_.ctx, str(name), str(text)));
  }

 private:
  mopt_text_sink sink_;
};

// ---- life cycle
// ----------------------------------------------------------------------------------

namespace detail {

template <class T>
T& self(mopt_instance* instance) {
  return *reinterpret_cast<T*>(instance);
}
// T(const Settings&) or T().
template <class T>
mopt_error* create(const mopt_host*, const mopt_setting* settings, uint64_t n,
                   mopt_instance** out) noexcept {
  return guard([&] {
    if constexpr (std::is_constructible_v<T, const Settings&>) {
      *out = reinterpret_cast<mopt_instance*>(new T(Settings(settings, n)));
    } else {
      *out = reinterpret_cast<mopt_instance*>(new T());
    }
  });
}
template <class T>
void destroy(mopt_instance* instance) noexcept {
  delete reinterpret_cast<T*>(instance);
}
// T::options, when it is there.
template <class T>
constexpr std::pair<const mopt_option*, uint64_t> options() {
  if constexpr (requires { T::options; }) {
    return {std::data(T::options), std::size(T::options)};
  } else {
    return {nullptr, 0};
  }
}
template <class T>
constexpr mopt_component component(const char* interface_id, const void* vtable) {
  uint32_t flags = MOPT_SERVES_CPU;
  if constexpr (requires { T::concurrent; }) flags |= T::concurrent ? MOPT_CONCURRENT : 0;
  if constexpr (requires { T::cuda; }) flags |= T::cuda ? MOPT_SERVES_CUDA : 0;
  if constexpr (requires { &T::encode_input; }) flags |= MOPT_ENCODES_INPUTS;
  return {sizeof(mopt_component), flags, interface_id, T::name, T::summary, options<T>().first,
          options<T>().second,    vtable};
}

}  // namespace detail
}  // namespace mopt

// Defines the entry. The arguments after `version` are component constants.
#define MOPT_PLUGIN(id, version, ...)                                                  \
  MOPT_EXPORT const mopt_plugin* mopt_plugin_entry_v0(void) noexcept {                 \
    static constexpr mopt_component components[] = {__VA_ARGS__};                      \
    static constexpr mopt_plugin plugin = {sizeof(mopt_plugin),                        \
                                           MOPT_ABI_MAJOR,                             \
                                           MOPT_ABI_MINOR,                             \
                                           0,                                          \
                                           0,                                          \
                                           id,                                         \
                                           version,                                    \
                                           "mopt",                                     \
                                           "Apache-2.0",                               \
                                           components,                                 \
                                           sizeof(components) / sizeof(components[0]), \
                                           nullptr,                                    \
                                           nullptr};                                   \
    return &plugin;                                                                    \
  }
