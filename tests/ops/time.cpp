#include "tests/ops/time.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "host/compute/parallel.hpp"
#include "tests/ops/compare.hpp"
#include "tests/ops/placed_tensor.hpp"
#include "tests/ops/problems.hpp"

namespace mopt::ops {
namespace {

constexpr int kRepeats = 25, kRepeatsOnCpu = 5;
// A repeat takes at least so long, so that starting and waiting do not count.
constexpr double kShortest = 4e-3;
constexpr int kMostLaunches = 400;
// Operands rotate through so much memory: no cache holds it (L2 of an H200: 60 MB).
constexpr double kRotation = 512e6;
constexpr int kMostCopies = 64;
// Operations for each byte above which products are the limit, not memory.
constexpr double kComputeBound = 100;

struct Row {
  std::string op, kernel, problem;
  double seconds, bytes, flops;
  double rate() const { return bytes / seconds; }
};

// Seconds of fn(i), called with a rising i; median of some repeats of many launches each.
double median_seconds(const Target& target, const std::function<void(int64_t)>& fn) {
  int64_t next = 0;
  const auto finish = [&] {
    if (target.queue != nullptr) target.queue->finish();
  };
  const auto several = [&](int64_t launches) {
    finish();
    const auto begin = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < launches; ++i)
      fn(next++);
    finish();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    return took.count();
  };
  several(2);
  const double once = several(4) / 4;
  const auto launches =
      static_cast<int64_t>(std::clamp(kShortest / once, 1.0, double{kMostLaunches}));
  std::vector<double> found;
  for (int i = 0; i < (target.queue == nullptr ? kRepeatsOnCpu : kRepeats); ++i)
    found.push_back(several(launches) / static_cast<double>(launches));
  std::nth_element(found.begin(), found.begin() + static_cast<int64_t>(found.size() / 2),
                   found.end());
  return found[found.size() / 2];
}

int64_t copies_for(double bytes) {
  return static_cast<int64_t>(std::clamp(kRotation / bytes, 2.0, double{kMostCopies}));
}

class Timing {
 public:
  explicit Timing(const Target& target) : target_(target) {}

  // The rate of a copy, read and written bytes together.
  void measure_copy() {
    constexpr int64_t kBytes = int64_t{1} << 30;
    const bool device = target_.queue != nullptr;
    const int64_t bytes = device ? kBytes : kBytes / 4;
    std::vector<compute::Buffer> memory;
    for (int i = 0; i < 2; ++i) {
      memory.push_back(device ? target_.queue->take(bytes) : on_host(bytes));
      if (device) target_.queue->zero(memory.back().get(), bytes);
    }
    const double seconds = median_seconds(target_, [&](int64_t i) {
      std::byte *to = memory[static_cast<size_t>(i % 2)].get(),
                *from = memory[static_cast<size_t>(1 - i % 2)].get();
      device ? target_.queue->copy(to, from, bytes) : copy_on_cpu(to, from, bytes);
    });
    copy_rate_ = 2 * static_cast<double>(bytes) / seconds;
    rows_.push_back({"memory", "copy", std::to_string(bytes >> 20) + " MiB", seconds,
                     2 * static_cast<double>(bytes), 0});
  }

  // The rate of large products by the fastest kernel.
  void measure_products() {
    const int64_t n = target_.queue == nullptr ? 1024 : 8192;
    const Operand x = in(filled(kBf16, {n, n}, {Content::kNoise, 1}));
    const Operand y = out(kBf16, {n, n});
    const Placed placed(target_, std::array{x, x, y});
    Options options;
    options.queue = target_.queue;
    const auto views = placed.views();
    const double seconds = median_seconds(
        target_, [&](int64_t) { compute::linear(views[0], views[1], nullptr, views[2], options); });
    const double flops =
        2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
    product_rate_ = flops / seconds;
    rows_.push_back({"linear", "fastest", "bf16 " + shape_text(std::array{n, n, n}), seconds,
                     6.0 * static_cast<double>(n) * static_cast<double>(n), flops});
  }

  void op(const Op& op, const Selection& selection) {
    const std::vector<std::string_view> kernels = kernels_of(op, target_);
    if (kernels.empty()) return;
    op.layer([&](const Case& c) {
      std::vector<std::unique_ptr<Placed>> placed;
      for (int64_t i = 0; i < copies_for(all_bytes(c)); ++i)
        placed.push_back(std::make_unique<Placed>(target_, c.operands));
      for (const std::string_view kernel : kernels) {
        const bool wanted = selection.kernel.empty() || selection.kernel == kernel;
        // Reference kernels on the CPU would take hours at these shapes.
        if (!wanted || kernel.ends_with(".reference")) continue;
        one(op, c, kernel, placed);
      }
    });
  }

  void encoder(const EncoderPlugins& plugins, const Encoder& encoder) {
    const Quantizer quantizer = plugins.make(encoder);
    const mopt_exec* exec = exec_on(target_, plugins.services());
    if (!quantizer.serves(exec->device.device_type)) {
      std::printf("%s: the plugin has no kernels for %s\n", encoder.label().c_str(),
                  target_.name.c_str());
      return;
    }
    const HostTensor weight = filled(kBf16, {kF, kC}, {Content::kNoise, 1, 0.05f});
    std::vector<std::unique_ptr<PlacedTensor>> weights;
    for (int64_t i = 0; i < copies_for(static_cast<double>(weight.bytes.size())); ++i)
      weights.push_back(std::make_unique<PlacedTensor>(target_, weight, Role::kIn, 0));
    const PlacedTensor out(target_, weight, Role::kOut, 0);
    if (quantizer.scheme(MOPT_OPERAND_WEIGHT)) {
      encode(encoder, quantizer, exec, weights, out);
    }
    if (quantizer.scheme(MOPT_OPERAND_INPUT)) round(encoder, quantizer, exec, weights, out);
  }

  void print(const std::string& csv) const {
    std::ofstream file;
    if (!csv.empty()) {
      file.open(csv);
      file << "op,kernel,problem,microseconds,GB/s,TFLOP/s,share,of\n";
    }
    std::printf("%-12s %-26s %-36s %12s %9s %9s  share\n", "op", "kernel", "problem", "us", "GB/s",
                "TFLOP/s");
    for (const Row& row : rows_) {
      const bool computes = row.flops > kComputeBound * row.bytes;
      const double share =
          computes ? row.flops / row.seconds / product_rate_ : row.rate() / copy_rate_;
      const double tera = row.flops / row.seconds * 1e-12;
      std::printf("%-12s %-26s %-36s %12.1f %9.1f %9.2f  %5.1f %% of %s\n", row.op.c_str(),
                  row.kernel.c_str(), row.problem.c_str(), row.seconds * 1e6, row.rate() * 1e-9,
                  tera, share * 100, computes ? "products" : "copy");
      if (!file.is_open()) continue;
      file << row.op << "," << row.kernel << ",\"" << row.problem << "\"," << row.seconds * 1e6
           << "," << row.rate() * 1e-9 << "," << tera << "," << share << ","
           << (computes ? "products" : "copy") << "\n";
    }
    if (file.is_open() && !file.flush()) throw Error(MOPT_IO, "'" + csv + "' cannot be written");
  }

 private:
  using Weights = std::vector<std::unique_ptr<PlacedTensor>>;

  static compute::Buffer on_host(int64_t bytes) {
    compute::Buffer memory(
        static_cast<std::byte*>(std::aligned_alloc(4096, static_cast<size_t>(bytes))),
        [](std::byte* p) { std::free(p); });
    std::memset(memory.get(), 1, static_cast<size_t>(bytes));
    return memory;
  }
  static void copy_on_cpu(std::byte* to, const std::byte* from, int64_t bytes) {
    compute::for_each(bytes, 1 << 20, [&](int64_t begin, int64_t end) {
      std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
    });
  }

  void one(const Op& op, const Case& c, std::string_view kernel,
           const std::vector<std::unique_ptr<Placed>>& placed) {
    Options options;
    options.forced = {std::string(kernel)};
    options.queue = target_.queue;
    try {
      const double seconds = median_seconds(target_, [&](int64_t i) {
        c.run(placed[static_cast<size_t>(i) % placed.size()]->views(), options);
      });
      rows_.push_back(
          {std::string(op.name), std::string(kernel), c.label, seconds, c.bytes, c.flops});
    } catch (const Error& e) {
      if (e.code() != MOPT_UNSUPPORTED) throw;
      std::printf("%s: %s\n", c.label.c_str(), e.what());
    }
  }

  void add(const Encoder& encoder, const char* what, double bytes,
           const std::function<void(int64_t)>& fn) {
    rows_.push_back(
        {what, encoder.label(), "bf16 [14336, 4096]", median_seconds(target_, fn), bytes, 0});
  }

  void encode(const Encoder& encoder, const Quantizer& quantizer, const mopt_exec* exec,
              const Weights& weights, const PlacedTensor& out) {
    const auto at = [&](int64_t i) -> DLTensor& {
      return weights[static_cast<size_t>(i) % weights.size()]->tensor(exec->device);
    };
    const double read = static_cast<double>(nbytes(at(0)));
    // Kept: its payload, rotated, is what is decoded.
    std::vector<std::vector<NamedTensor>> encoded;
    double written = 0;
    for (size_t i = 0; i < weights.size(); ++i)
      encoded.push_back(quantizer.quantize(exec, job_of(at(static_cast<int64_t>(i)), 0.05f)));
    for (const NamedTensor& part : encoded[0])
      written += static_cast<double>(nbytes(*part.tensor));
    add(encoder, "quantize", read + written,
        [&](int64_t i) { quantizer.quantize(exec, job_of(at(i), 0.05f)); });
    std::vector<std::unique_ptr<PlacedTensor>> scalars;
    std::vector<std::vector<mopt_named_tensor>> named;
    for (const auto& parts : encoded)
      named.push_back(on_target(parts, exec, scalars));
    add(encoder, "dequantize", read + written, [&](int64_t i) {
      const auto& parts = named[static_cast<size_t>(i) % named.size()];
      const mopt_qtensor q{
          sizeof(mopt_qtensor), static_cast<uint32_t>(parts.size()), {"w", 1}, kF, kC,
          parts.data()};
      quantizer.dequantize(exec, q, &out.tensor(exec->device));
    });
  }

  // Parts as dequantize takes them: what was emitted on the CPU is copied to the target.
  std::vector<mopt_named_tensor> on_target(
      const std::vector<NamedTensor>& parts, const mopt_exec* exec,
      std::vector<std::unique_ptr<PlacedTensor>>& copies) const {
    std::vector<mopt_named_tensor> named;
    for (const NamedTensor& part : parts) {
      const DLTensor* tensor = part.tensor.get();
      if (tensor->device.device_type != exec->device.device_type) {
        copies.push_back(
            std::make_unique<PlacedTensor>(target_, fetched(target_, part.tensor), Role::kIn, 0));
        tensor = &copies.back()->tensor(exec->device);
      }
      named.push_back({str(part.name), tensor});
    }
    return named;
  }

  void round(const Encoder& encoder, const Quantizer& quantizer, const mopt_exec* exec,
             const Weights& weights, const PlacedTensor& out) {
    float scale = 0;
    const float* stored = &scale;
    try {
      scale = quantizer.input_scale(MOPT_OPERAND_INPUT, 0.05f);
    } catch (const Error&) {  // none is stored
      stored = nullptr;
    }
    const double bytes = 2.0 * static_cast<double>(nbytes(out.tensor(exec->device)));
    add(encoder, "round input", bytes, [&](int64_t i) {
      const DLTensor& x = weights[static_cast<size_t>(i) % weights.size()]->tensor(exec->device);
      quantizer.quantize_input(exec, MOPT_OPERAND_INPUT, &x, stored, &out.tensor(exec->device));
    });
  }

  const Target& target_;
  std::vector<Row> rows_;
  double copy_rate_ = 0, product_rate_ = 0;
};

}  // namespace

void time_all(const Target& target, const Selection& selection, const EncoderPlugins& plugins,
              const std::string& csv) {
  Timing timing(target);
  timing.measure_copy();
  timing.measure_products();
  for (const Op& op : all_ops()) {
    if (selected(op, selection)) timing.op(op, selection);
  }
  if (wants_encoders(selection)) {
    for (const Encoder& encoder : all_encoders()) {
      if (selection.kernel.empty() || selection.kernel == encoder.component) {
        timing.encoder(plugins, encoder);
      }
    }
  }
  timing.print(csv);
}

}  // namespace mopt::ops
