// AdapterComponent<T>, and the builder and configuration in C++: `g.linear(x, "...q_proj", ...)`.
#pragma once

#include "mopt/adapter.h"
#include "mopt/plugin.hpp"

namespace mopt {

// The model's config.json.
class Config {
 public:
  explicit Config(const mopt_config* c) : c_(c) {}
  bool has(std::string_view path) const { return get(path).type != MOPT_NONE; }
  bool has_tensor(std::string_view name) const { return c_->has_tensor(c_->ctx, str(name)) != 0; }
  int64_t integer(std::string_view path) const { return required(path, MOPT_INT).as.i; }
  int64_t integer(std::string_view path, int64_t def) const {
    return has(path) ? integer(path) : def;
  }
  // A size or a count: above zero, and small enough that no product of a few of them overflows.
  int64_t extent(std::string_view path) const {
    const int64_t value = integer(path);
    if (value > 0 && value <= int64_t{1} << 24) return value;
    throw Error(MOPT_INVALID_ARGUMENT,
                "config.json: expected a size from 1 to 2^24 at '" + std::string(path) +
                    "', found " + std::to_string(value),
                std::string(path));
  }
  int64_t extent(std::string_view path, int64_t def) const {
    return has(path) ? extent(path) : def;
  }
  double number(std::string_view path) const {
    const mopt_value value = get(path);
    if (value.type == MOPT_INT) return static_cast<double>(value.as.i);
    return required(path, MOPT_FLOAT).as.f;
  }
  double number(std::string_view path, double def) const { return has(path) ? number(path) : def; }
  bool flag(std::string_view path, bool def) const {
    return has(path) ? required(path, MOPT_BOOL).as.i != 0 : def;
  }
  std::string text(std::string_view path, std::string_view def = {}) const {
    return has(path) ? std::string(view(required(path, MOPT_STR).as.s)) : std::string(def);
  }
  mopt_value get(std::string_view path) const { return c_->get(c_->ctx, str(path)); }

 private:
  mopt_value required(std::string_view path, mopt_type type) const {
    const mopt_value value = get(path);
    if (value.type == type) return value;
    static constexpr const char* kNames[] = {"nothing",  "a boolean", "an integer", "a number",
                                             "a string", "a list",    "a table"};
    throw Error(MOPT_INVALID_ARGUMENT,
                "config.json: expected " + std::string(kNames[type]) + " at '" + std::string(path) +
                    "', found " + kNames[value.type],
                std::string(path));
  }
  const mopt_config* c_;
};

inline mopt_attr attr(std::string_view name, double v) {
  return {str(name), {MOPT_FLOAT, 0, {.f = v}}};
}
inline mopt_attr attr(std::string_view name, int64_t v) {
  return {str(name), {MOPT_INT, 0, {.i = v}}};
}
inline mopt_attr attr(std::string_view name, std::string_view v) {
  return {str(name), {MOPT_STR, 0, {.s = str(v)}}};
}

class Graph {
 public:
  explicit Graph(mopt_builder* b) : b_(b) {}
  mopt_val input(std::string_view name, DLDataType dtype, std::initializer_list<int64_t> dims) {
    return b_->input(b_, str(name), dtype, static_cast<int32_t>(dims.size()), dims.begin());
  }
  mopt_val param(std::string_view name, std::initializer_list<int64_t> dims,
                 std::string_view role) {
    const mopt_val p = b_->param(b_, str(name), static_cast<int32_t>(dims.size()), dims.begin());
    b_->tag(b_, p, str(role));
    return p;
  }
  mopt_val op(std::string_view kind, std::string_view label, std::initializer_list<mopt_val> in,
              std::initializer_list<mopt_attr> attrs = {}) {
    return b_->op(b_, str(kind), str(label), in.begin(), static_cast<uint32_t>(in.size()),
                  attrs.begin(), static_cast<uint32_t>(attrs.size()));
  }
  // y = x W^T (+ b). The label is the module's name; its parameters are label.weight and
  // label.bias.
  mopt_val linear(mopt_val x, const std::string& label, int64_t in, int64_t out,
                  std::string_view role, bool bias = false) {
    const mopt_val w = param(label + ".weight", {out, in}, role);
    if (!bias) return op("linear", label, {x, w});
    return op("linear", label, {x, w, param(label + ".bias", {out}, "bias")});
  }
  mopt_val rms_norm(mopt_val x, const std::string& label, int64_t width, double eps) {
    return op("rms_norm", label, {x, param(label + ".weight", {width}, "norm")},
              {attr("eps", eps)});
  }
  mopt_val reshape(mopt_val x, std::initializer_list<int64_t> dims) {
    std::vector<mopt_value> extents;
    for (const int64_t d : dims)
      extents.push_back({MOPT_INT, 0, {.i = d}});
    const mopt_attr list{
        str("dims"), {MOPT_LIST, static_cast<uint32_t>(extents.size()), {.list = extents.data()}}};
    return op("reshape", "", {x}, {list});
  }
  mopt_val add(mopt_val a, mopt_val b) { return op("add", "", {a, b}); }
  mopt_val mul(mopt_val a, mopt_val b) { return op("mul", "", {a, b}); }
  mopt_val activation(mopt_val x, std::string_view kind) {
    return op("activation", "", {x}, {attr("kind", kind)});
  }
  void begin_block(std::string_view role, int64_t index) { b_->begin_block(b_, str(role), index); }
  void end_block() { b_->end_block(b_); }
  void tag(mopt_val v, std::string_view role) { b_->tag(b_, v, str(role)); }
  void fuse_group(std::string_view name, std::initializer_list<mopt_val> params) {
    b_->fuse_group(b_, str(name), params.begin(), static_cast<uint32_t>(params.size()));
  }
  void output(std::string_view name, mopt_val v) { b_->output(b_, str(name), v); }

 private:
  mopt_builder* b_;
};

// T has: name, summary, static int match(const Config&), static void build(const Config&, Graph&).
template <class T>
struct AdapterComponent {
  static constexpr mopt_adapter vtable = {sizeof(mopt_adapter), 0,
                                          [](const mopt_config* c) noexcept -> int32_t {
                                            int32_t score = 0;
                                            mopt_error* error =
                                                guard([&] { score = T::match(Config(c)); });
                                            if (error != nullptr) error->release(error);
                                            return score;
                                          },
                                          [](const mopt_config* c, mopt_builder* b) noexcept {
                                            return guard([&] {
                                              Graph graph(b);
                                              T::build(Config(c), graph);
                                            });
                                          }};
  static constexpr mopt_component value = detail::component<T>(MOPT_ADAPTER_INTERFACE, &vtable);
};

}  // namespace mopt
