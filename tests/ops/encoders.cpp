#include "tests/ops/encoders.hpp"

#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "host/compute/parallel_service.hpp"
#include "tests/ops/placed_tensor.hpp"

namespace mopt::ops {
namespace {

constexpr std::array kEncoderList{
    Encoder{"fp8", "granularity", "tensor"},  Encoder{"fp8", "granularity", "channel"},
    Encoder{"fp8", "granularity", "block"},   Encoder{"fp8", "granularity", "token"},
    Encoder{"int8", "granularity", "tensor"}, Encoder{"int8", "granularity", "channel"},
    Encoder{"int8", "granularity", "token"},  Encoder{"int4", "block", "128"},
    Encoder{"int4", "block", "32"},           Encoder{"nvfp4", nullptr, nullptr},
    Encoder{"nvfp4", "math", "fp8"},          Encoder{"nvfp4", "block", "32"},
    Encoder{"mxfp4", nullptr, nullptr},       Encoder{"mxfp8", nullptr, nullptr}};

struct Shape {
  int64_t rows, cols;
};
// All within what a format's plan accepts; the others are counted as refused.
constexpr Shape kShapes[] = {{1, 16}, {1, 128},  {3, 4096},  {17, 272}, {128, 128}, {129, 160},
                             {5, 1},  {7, 4097}, {300, 384}, {1, 8},    {33, 2048}, {2, 28672}};
constexpr Content kContents[] = {Content::kNoise, Content::kSmall, Content::kLarge};

Fill fill_of(Content content, int64_t cols) {
  return {content, static_cast<uint64_t>(cols), 0.05f};
}

float absmax_of(const HostTensor& t) {
  float most = 0;
  for (int64_t i = 0; i < elements(t.shape); ++i)
    most = std::fmax(most, std::fabs(value_at(t, i)));
  return most;
}

using Named = std::vector<std::pair<std::string, HostTensor>>;

Named fetched_all(const Target& target, const std::vector<NamedTensor>& tensors) {
  Named out;
  for (const NamedTensor& t : tensors)
    out.emplace_back(t.name, fetched(target, t.tensor));
  return out;
}

// "" or the first tensor that differs.
std::string difference(const Named& got, const Named& expected) {
  if (got.size() != expected.size()) return "found " + std::to_string(got.size()) + " tensors";
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i].first != expected[i].first) return "found a tensor " + got[i].first;
    if (got[i].second.bytes != expected[i].second.bytes) return got[i].first + " has other bytes";
  }
  return {};
}

// One format on a target, beside one thread of the CPU.
class EncoderCheck {
 public:
  EncoderCheck(const Target& target, const EncoderPlugins& plugins, const Encoder& encoder)
      : target_(target),
        label_(encoder.label()),
        quantizer_(plugins.make(encoder)),
        cpu_(plugins.services().cpu()),
        exec_(exec_on(target, plugins.services())) {}

  bool served() const { return quantizer_.serves(exec_->device.device_type); }

  void weights(const Shape& shape, DLDataType dtype, Content content, int64_t shift) {
    if (!quantizer_.scheme(MOPT_OPERAND_WEIGHT)) return;
    const HostTensor host = filled(dtype, {shape.rows, shape.cols}, fill_of(content, shape.cols));
    const std::string what = named(dtype, shape, content, shift);
    try {
      quantizer_.plan({sizeof(mopt_weight_view), dtype, {"w", 1}, shape.rows, shape.cols});
    } catch (const Error&) {
      ++score_.refused;
      return;
    }
    const float absmax = absmax_of(host);
    std::vector<NamedTensor> on_cpu;
    const TensorRef reference(host.bytes.data(), dtype, host.shape);
    const mopt_weight_job job = job_of(*reference, absmax);
    compute::Threads(1).run([&] { on_cpu = quantizer_.quantize(cpu_, job); });
    const Named expected = fetched_all({}, on_cpu);
    encode(what, host, absmax, shift, expected);
    for (const DLDataType to : {kBf16, kF32})
      decode(what + " to " + dtype_name(to), shape, to, shift, on_cpu);
  }

  void inputs(const Shape& shape, DLDataType dtype, mopt_operand operand, int64_t shift) {
    if (!quantizer_.scheme(operand)) return;
    const HostTensor host = filled(dtype, {shape.rows, shape.cols}, fill_of(Content::kNoise, 7));
    std::vector<float> scales;
    try {
      scales = {quantizer_.input_scale(operand, absmax_of(host)),
                quantizer_.input_scale(operand, absmax_of(host) / 3)};
    } catch (const Error&) {  // none is stored
    }
    const std::string what = named(dtype, shape, Content::kNoise, shift) +
                             (operand == MOPT_OPERAND_KV ? " kv" : " input");
    round(what, host, operand, nullptr, shift);
    for (const float& scale : scales)
      round(what + " with a scale", host, operand, &scale, shift);
  }

  const Score& score() const { return score_; }

 private:
  static std::string named(DLDataType dtype, const Shape& shape, Content content, int64_t shift) {
    return dtype_name(dtype) + " " + shape_text(std::array{shape.rows, shape.cols}) + " " +
           std::string(name_of(content)) + (shift != 0 ? " shifted" : "");
  }
  void count(const std::string& what, const std::string& wrong) {
    if (wrong.empty()) {
      ++score_.passed;
      return;
    }
    ++score_.failed;
    std::printf("FAILED %s %s: %s\n", label_.c_str(), what.c_str(), wrong.c_str());
  }

  void encode(const std::string& what, const HostTensor& host, float absmax, int64_t shift,
              const Named& expected) {
    const PlacedTensor weight(target_, host, Role::kIn, shift);
    const mopt_weight_job job = job_of(weight.tensor(exec_->device), absmax);
    Named once, twice;
    on_threads([&] {
      once = fetched_all(target_, quantizer_.quantize(exec_, job));
      twice = fetched_all(target_, quantizer_.quantize(exec_, job));
    });
    std::string wrong = difference(once, expected);
    if (wrong.empty() && !difference(twice, once).empty()) wrong = "a second run differs";
    if (wrong.empty()) wrong = weight.damage();
    count("quantize " + what, wrong);
  }

  void decode(const std::string& what, const Shape& shape, DLDataType to, int64_t shift,
              const std::vector<NamedTensor>& on_cpu) {
    const HostTensor poison(to, {shape.rows, shape.cols});
    const PlacedTensor want({}, poison, Role::kOut, 0), got(target_, poison, Role::kOut, shift);
    compute::Threads(1).run([&] { dequantize(cpu_, {}, on_cpu, shape, want); });
    on_threads([&] { dequantize(exec_, target_, on_cpu, shape, got); });
    std::string wrong = compare(got.result(), want.result(), 0, 0);
    if (wrong.empty()) wrong = got.damage();
    count("dequantize " + what, wrong);
  }

  void dequantize(const mopt_exec* exec, const Target& target,
                  const std::vector<NamedTensor>& on_cpu, const Shape& shape,
                  const PlacedTensor& out) {
    std::vector<std::unique_ptr<PlacedTensor>> placed;
    std::vector<const DLTensor*> tensors;
    std::vector<mopt_named_tensor> named;
    for (const NamedTensor& part : on_cpu) {
      placed.push_back(
          std::make_unique<PlacedTensor>(target, fetched({}, part.tensor), Role::kIn, 0));
      named.push_back({str(part.name), &placed.back()->tensor(exec->device)});
    }
    const mopt_qtensor q{
        sizeof(mopt_qtensor), static_cast<uint32_t>(named.size()), {"w", 1}, shape.rows, shape.cols,
        named.data()};
    quantizer_.dequantize(exec, q, &out.tensor(exec->device));
  }

  void round(const std::string& what, const HostTensor& host, mopt_operand operand,
             const float* scale, int64_t shift) {
    const PlacedTensor x_cpu({}, host, Role::kIn, 0), y_cpu({}, host, Role::kOut, 0);
    const PlacedTensor x(target_, host, Role::kIn, shift), y(target_, host, Role::kOut, shift);
    const std::string expected = refusal_of([&] {
      compute::Threads(1).run([&] {
        quantizer_.quantize_input(cpu_, operand, &x_cpu.tensor(cpu_->device), scale,
                                  &y_cpu.tensor(cpu_->device));
      });
    });
    const std::string found = refusal_of([&] {
      on_threads([&] {
        quantizer_.quantize_input(exec_, operand, &x.tensor(exec_->device), scale,
                                  &y.tensor(exec_->device));
      });
    });
    if (expected != found) {
      return count("round " + what, "found '" + found + "', expected '" + expected + "'");
    }
    if (!expected.empty()) {
      ++score_.refused;
      return;
    }
    std::string wrong = compare(y.result(), y_cpu.result(), 0, 0);
    if (wrong.empty()) wrong = y.damage() + x.damage();
    count("round " + what, wrong);
  }

  // Why the plugin does not take it; empty: it did.
  static std::string refusal_of(const std::function<void()>& fn) {
    try {
      fn();
    } catch (const Error& e) {
      if (e.code() != MOPT_UNSUPPORTED && e.code() != MOPT_INVALID_ARGUMENT) throw;
      return e.what();
    }
    return {};
  }

  // Work of the target: on the CPU by several threads.
  void on_threads(const std::function<void()>& fn) const {
    if (target_.queue != nullptr) return fn();
    compute::Threads(3).run(fn);
  }

  const Target& target_;
  std::string label_;
  Quantizer quantizer_;
  const mopt_exec *cpu_, *exec_;
  Score score_;
};

void check_all(EncoderCheck& check, Extent extent) {
  const bool usual = extent == Extent::kUsual;
  const size_t shapes = usual ? std::size(kShapes) : 7;
  for (const Shape& shape : std::span(kShapes).first(shapes)) {
    for (const DLDataType dtype : {kBf16, kF16, kF32}) {
      for (const Content content : kContents) {
        if (!usual && content != Content::kNoise) continue;
        if (same(dtype, kF16) && content == Content::kLarge) continue;  // infinite there
        for (const int64_t shift : {0, 1})
          check.weights(shape, dtype, content, shift);
      }
      if (same(dtype, kF16)) continue;
      for (const mopt_operand operand : {MOPT_OPERAND_INPUT, MOPT_OPERAND_KV}) {
        for (const int64_t shift : {0, 1})
          check.inputs(shape, dtype, operand, shift);
      }
    }
  }
}

}  // namespace

std::string Encoder::label() const {
  return option == nullptr ? component : std::string(component) + " " + option + "=" + value;
}

std::span<const Encoder> all_encoders() {
  return kEncoderList;
}

EncoderPlugins::EncoderPlugins(std::filesystem::path directory, std::filesystem::path executable)
    : directory_(std::move(directory)), executable_(std::move(executable)) {}
EncoderPlugins::~EncoderPlugins() = default;

void EncoderPlugins::load() const {
  if (registry_) return;
  services_ = std::make_unique<Services>("op_harness", LogSink());
  services_->install(MOPT_PARALLEL_SERVICE, &compute::kParallelService);
  SearchPath search = default_search({}, {}, executable_);
  if (!directory_.empty()) search = {{}, {directory_}, 0};
  registry_ = std::make_unique<Registry>(search, *services_);
}

Services& EncoderPlugins::services() const {
  load();
  return *services_;
}

Quantizer EncoderPlugins::make(const Encoder& encoder) const {
  load();
  const Component component = registry_->find(MOPT_QUANTIZER_INTERFACE, encoder.component);
  std::vector<mopt_setting> settings;
  for (const mopt_option& option : component.options()) {
    mopt_value value = option.def;
    if (encoder.option != nullptr && std::strcmp(option.name, encoder.option) == 0) {
      if (value.type == MOPT_STR) {
        value.as.s = str(encoder.value);
      } else {
        value.as.i = std::atoll(encoder.value);
      }
    }
    settings.push_back({str(option.name), value});
  }
  return Quantizer(*registry_, component, settings);
}

bool wants_encoders(const Selection& s) {
  return s.op == kEncoders || (s.op.empty() && s.kernel.empty());
}

const mopt_exec* exec_on(const Target& target, Services& services) {
  if (target.queue == nullptr) return services.cpu();
  compute::Queue* queue = target.queue;
  return services.on_device({queue->device().info().type, queue->device().info().index},
                            queue->stream(), [queue](int64_t bytes) { return queue->take(bytes); });
}

mopt_weight_job job_of(const DLTensor& weight, float absmax) {
  return {sizeof(mopt_weight_job), 0, {"w", 1}, &weight, absmax, absmax};
}

HostTensor fetched(const Target& target, const Tensor& tensor) {
  const DLTensor& t = *tensor;
  HostTensor out(t.dtype, {t.shape, t.shape + t.ndim});
  const auto bytes = static_cast<int64_t>(out.bytes.size());
  const void* from = static_cast<const std::byte*>(t.data) + t.byte_offset;
  if (t.device.device_type == kDLCPU) {
    if (bytes > 0) std::memcpy(out.bytes.data(), from, out.bytes.size());
    return out;
  }
  const compute::Buffer pinned = target.queue->device().take_pinned(bytes);
  target.queue->copy(pinned.get(), from, bytes);
  target.queue->finish();
  std::copy(pinned.get(), pinned.get() + bytes, out.bytes.begin());
  return out;
}

Score compare_encoders(const Target& target, const Selection& selection, Extent extent,
                       const EncoderPlugins& plugins) {
  Score total;
  for (const Encoder& encoder : all_encoders()) {
    if (!selection.kernel.empty() && selection.kernel != encoder.component) continue;
    EncoderCheck check(target, plugins, encoder);
    if (!check.served()) {
      std::printf("%-24s not on %s: the plugin has no kernels for it\n", encoder.label().c_str(),
                  target.name.c_str());
      continue;
    }
    check_all(check, extent);
    const Score& score = check.score();
    std::printf("%-24s %6lld passed %4lld failed %5lld refused\n", encoder.label().c_str(),
                static_cast<long long>(score.passed), static_cast<long long>(score.failed),
                static_cast<long long>(score.refused));
    total.passed += score.passed;
    total.failed += score.failed;
  }
  return total;
}

}  // namespace mopt::ops
