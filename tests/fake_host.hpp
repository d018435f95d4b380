// A host for tests of plugins: memory, chunks that run inline and backwards (so that a dependence
// on their order shows), captured warnings; and a quantizer driven through its vtable, with the
// contract checked on the way: what plan declares is what quantize emits.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <map>

#include "mopt/plugin.hpp"
#include "mopt/quantizer.hpp"

namespace mopt::test {

// A tensor by value. `shape` counts elements; `bytes` are packed.
struct Blob {
  DLDataType dtype{};
  std::vector<int64_t> shape;
  std::string bytes;
  template <class T>
  std::vector<T> as() const {
    std::vector<T> out(bytes.size() / sizeof(T));
    std::memcpy(out.data(), bytes.data(), out.size() * sizeof(T));
    return out;
  }
  TensorRef ref() const { return {bytes.data(), dtype, shape}; }
};

inline Blob blob(DLDataType dtype, std::vector<int64_t> shape, std::string bytes) {
  return {dtype, std::move(shape), std::move(bytes)};
}
inline Blob blob(DLDataType dtype, std::vector<int64_t> shape) {
  const auto n = static_cast<uint64_t>(elements(shape));
  return {dtype, std::move(shape), std::string(mopt_nbytes(n, dtype), '\xA5')};
}
inline Blob blob(const DLTensor& t) {
  const auto extents = shape(t);
  return {t.dtype, {extents.begin(), extents.end()}, std::string(data<char>(t), nbytes(t))};
}

class FakeHost {
 public:
  // kEmulatedCuda: memory and execs of the device of cuda_emulation.hpp.
  enum class On { kCpu, kEmulatedCuda };
  explicit FakeHost(On on = On::kCpu);
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;
  const mopt_host* host() const { return &table_.abi; }
  const mopt_exec* exec() const { return &exec_; }
  bool on_device() const { return exec_.device.device_type == kDLCUDA; }
  // "component: message", in the order of their arrival.
  std::vector<std::string> warnings;
  // How many elements tensors that a test passes lie behind an aligned address.
  int64_t shift = 0;

 private:
  struct Owned {
    DLManagedTensorVersioned managed;
    std::vector<int64_t> shape, strides;
  };

  static mopt_error* alloc(const mopt_exec*, DLDataType dtype, int32_t ndim, const int64_t* extents,
                           DLManagedTensorVersioned** out) noexcept;
  static mopt_error* for_each(int64_t n, int64_t grain,
                              mopt_error* (*body)(void*, int64_t, int64_t) noexcept,
                              void* ctx) noexcept;
  static const void* get_service(const mopt_host*, const char* id) noexcept;
  static void log(const mopt_host* host, mopt_log_level level, mopt_str component,
                  mopt_str message) noexcept;

  // log() finds the owner through the address of the table's first member.
  struct Table {
    mopt_host abi;
    FakeHost* owner;
  };
  Table table_{{}, this};
  mopt_exec exec_{};
};

// A tensor where the host's calls run: in the test's own memory, or copied to the device.
class Placed {
 public:
  Placed(const FakeHost& host, const Blob& blob);
  Placed(const Placed&) = delete;
  Placed& operator=(const Placed&) = delete;
  ~Placed();
  DLTensor* get() { return ref_.get(); }
  Blob read() const;

 private:
  TensorRef ref_;
  void* device_ = nullptr;
  std::string bytes_;
};

// An option's value for create(): an integer, a number or a text.
struct Option {
  Option(std::string name_, int64_t value) : name(std::move(name_)), type(MOPT_INT), i(value) {}
  Option(std::string name_, double value) : name(std::move(name_)), type(MOPT_FLOAT), f(value) {}
  Option(std::string name_, std::string value)
      : name(std::move(name_)), type(MOPT_STR), s(std::move(value)) {}
  std::string name;
  mopt_type type;
  int64_t i = 0;
  double f = 0;
  std::string s;
};

// Settings as a host gives them: every option of the component, defaults filled in.
class FilledSettings {
 public:
  FilledSettings(const mopt_component& component, std::vector<Option> given);
  const mopt_setting* data() const { return settings_.data(); }
  uint64_t size() const { return settings_.size(); }

 private:
  std::vector<Option> given_;
  std::vector<mopt_setting> settings_;
};

const mopt_component& component_named(const mopt_plugin& plugin, std::string_view name);

// One weight and what the host knows of it. absmax is computed unless given.
struct WeightCase {
  Blob weight;
  float absmax, group_absmax;
  std::string name = "w";
};

class Quantizer {
 public:
  Quantizer(FakeHost& host, const mopt_component& component, std::vector<Option> options = {});
  Quantizer(FakeHost& host, const mopt_component& component, const Scheme& scheme);
  Quantizer(const Quantizer&) = delete;
  Quantizer& operator=(const Quantizer&) = delete;
  ~Quantizer() { vtable_->destroy(self_); }

  // Throws MOPT_UNSUPPORTED where it cannot hold the operand.
  Scheme scheme(mopt_operand operand) const;
  // Role -> type and shape; `bytes` stay empty.
  std::map<std::string, Blob> plan(const Blob& weight, const std::string& name = "w") const;
  std::map<std::string, Blob> quantize(const WeightCase& c) const;
  // [rows, cols] of the given type.
  Blob dequantize(const std::map<std::string, Blob>& parts, int64_t rows, int64_t cols,
                  DLDataType dtype = kF32) const;
  float input_scale(mopt_operand operand, float absmax) const;
  // Into other memory than x, and then the same in place; both have to agree.
  Blob quantize_input(mopt_operand operand, const Blob& x, const float* scale) const;
  // Codes of the scheme's element, and scales: one, or one per row.
  std::pair<Blob, Blob> encode_input(const Blob& x, const float* scale) const;

 private:
  static void check_as_planned(const std::map<std::string, Blob>& planned,
                               const std::map<std::string, Blob>& emitted);

  FakeHost& host_;
  const mopt_quantizer* vtable_;
  mopt_instance* self_ = nullptr;
};

}  // namespace mopt::test
