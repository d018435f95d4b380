#include "tests/ops/time.hpp"

#include <algorithm>
#include <array>
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

// Weights that encoders are timed with: the 8B shape's largest, and the 70B shape's, where starting
// a kernel no longer counts.
constexpr std::array<std::array<int64_t, 2>, 2> kWeights{{{kF, kC}, {kWideF, kWideC}}};

// Of one call: until the target is done, and until the call returns.
struct Seconds {
  double all, host;
};

struct Row {
  std::string op, kernel, problem;
  Seconds seconds;
  double bytes, flops;
  bool codes = false;  // it multiplies codes
  double rate() const { return bytes / seconds.all; }
};

double median(std::vector<double> found) {
  const auto middle = found.begin() + static_cast<int64_t>(found.size() / 2);
  std::nth_element(found.begin(), middle, found.end());
  return *middle;
}

// Seconds of fn(i), called with a rising i; medians of some repeats of many launches each.
Seconds median_seconds(const Target& target, const std::function<void(int64_t)>& fn) {
  int64_t next = 0;
  const auto finish = [&] {
    if (target.queue != nullptr) target.queue->finish();
  };
  const auto several = [&](int64_t launches) {
    finish();
    const auto begin = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < launches; ++i)
      fn(next++);
    const std::chrono::duration<double> returned = std::chrono::steady_clock::now() - begin;
    finish();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    const auto each = static_cast<double>(launches);
    return Seconds{took.count() / each, returned.count() / each};
  };
  several(2);
  const double once = several(4).all;
  const auto launches =
      static_cast<int64_t>(std::clamp(kShortest / once, 1.0, double{kMostLaunches}));
  std::vector<double> all, host;
  for (int i = 0; i < (target.queue == nullptr ? kRepeatsOnCpu : kRepeats); ++i) {
    const Seconds found = several(launches);
    all.push_back(found.all);
    host.push_back(found.host);
  }
  return {median(std::move(all)), median(std::move(host))};
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
    const Seconds seconds = median_seconds(target_, [&](int64_t i) {
      std::byte *to = memory[static_cast<size_t>(i % 2)].get(),
                *from = memory[static_cast<size_t>(1 - i % 2)].get();
      device ? target_.queue->copy(to, from, bytes) : copy_on_cpu(to, from, bytes);
    });
    copy_rate_ = 2 * static_cast<double>(bytes) / seconds.all;
    rows_.push_back({"memory", "copy", std::to_string(bytes >> 20) + " MiB", seconds,
                     2 * static_cast<double>(bytes), 0});
  }

  // The rates of large products by the fastest kernel, and of codes where the device is made for
  // them.
  void measure_products() {
    const int64_t n = target_.queue == nullptr ? 1024 : 8192;
    Options options;
    options.queue = target_.queue;
    product_rate_ = measure_product(n, kBf16, [&](std::span<const View> v) {
      compute::linear(v[0], v[1], nullptr, v[2], options);
    });
    if (!compute::linear_codes_refused({n, n}, options).empty()) return;
    codes_rate_ = measure_product(n, kE4m3, [&](std::span<const View> v) {
      compute::linear(compute::Codes{v[0], v[3]}, compute::Codes{v[1], v[3]}, nullptr, v[2],
                      options);
    });
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

  // With weights of one shape; on the CPU that of the 8B shape has to do.
  void encoders(const EncoderPlugins& plugins, std::span<const Encoder> chosen) {
    for (const auto& shape : kWeights) {
      if (target_.queue == nullptr && shape[0] != kF) continue;
      const Weights weights(target_, shape);
      for (const Encoder& encoder : chosen)
        this->encoder(plugins, encoder, weights);
    }
  }

  void print(const std::string& csv) const {
    std::ofstream file;
    if (!csv.empty()) {
      file.open(csv);
      file << "op,kernel,problem,microseconds,host microseconds,GB/s,TFLOP/s,share,of\n";
    }
    std::printf("%-12s %-26s %-36s %12s %9s %9s %9s  share\n", "op", "kernel", "problem", "us",
                "host us", "GB/s", "TFLOP/s");
    for (const Row& row : rows_) {
      const bool computes = row.flops > kComputeBound * row.bytes;
      const bool codes = computes && row.codes && codes_rate_ > 0;
      const double products = codes ? codes_rate_ : product_rate_;
      const double share =
          computes ? row.flops / row.seconds.all / products : row.rate() / copy_rate_;
      const char* limit = codes ? "products of codes" : computes ? "products" : "copy";
      const double tera = row.flops / row.seconds.all * 1e-12;
      std::printf("%-12s %-26s %-36s %12.1f %9.1f %9.1f %9.2f  %5.1f %% of %s\n", row.op.c_str(),
                  row.kernel.c_str(), row.problem.c_str(), row.seconds.all * 1e6,
                  row.seconds.host * 1e6, row.rate() * 1e-9, tera, share * 100, limit);
      if (!file.is_open()) continue;
      file << row.op << "," << row.kernel << ",\"" << row.problem << "\"," << row.seconds.all * 1e6
           << "," << row.seconds.host * 1e6 << "," << row.rate() * 1e-9 << "," << tera << ","
           << share << "," << limit << "\n";
    }
    if (file.is_open() && !file.flush()) throw Error(MOPT_IO, "'" + csv + "' cannot be written");
  }

 private:
  // Copies of one weight, what is decoded from them, and how the table calls them.
  struct Weights {
    Weights(const Target& target, std::array<int64_t, 2> shape)
        : rows(shape[0]), cols(shape[1]), label("bf16 " + shape_text(shape)) {
      const HostTensor weight = filled(kBf16, {rows, cols}, {Content::kNoise, 1, 0.05f});
      for (int64_t i = 0; i < copies_for(static_cast<double>(weight.bytes.size())); ++i)
        copies.push_back(std::make_unique<PlacedTensor>(target, weight, Role::kIn, 0));
      out = std::make_unique<PlacedTensor>(target, weight, Role::kOut, 0);
    }
    size_t turn(int64_t i) const { return static_cast<size_t>(i) % copies.size(); }
    DLTensor& at(int64_t i, DLDevice device) const { return copies[turn(i)]->tensor(device); }
    int64_t rows, cols;
    std::string label;
    std::vector<std::unique_ptr<PlacedTensor>> copies;
    std::unique_ptr<PlacedTensor> out;
  };

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

  // Of two operands, the result in bf16, and a scale.
  double measure_product(int64_t n, DLDataType dtype,
                         const std::function<void(std::span<const View>)>& fn) {
    const Operand x = in(filled(dtype, {n, n}, {Content::kNoise, 1}));
    const Placed placed(target_, std::array{x, x, out(kBf16, {n, n}), in(filled(kF32, {1}, {}))});
    const Seconds seconds = median_seconds(target_, [&](int64_t) { fn(placed.views()); });
    const auto extent = static_cast<double>(n);
    const double flops = 2.0 * extent * extent * extent;
    rows_.push_back({"linear", "fastest", dtype_name(dtype) + " " + shape_text(std::array{n, n, n}),
                     seconds, (2.0 * dtype.bits / 8 + 2) * extent * extent, flops,
                     same(dtype, kE4m3)});
    return flops / seconds.all;
  }

  void one(const Op& op, const Case& c, std::string_view kernel,
           const std::vector<std::unique_ptr<Placed>>& placed) {
    Options options;
    options.forced = {std::string(kernel)};
    options.queue = target_.queue;
    try {
      const Seconds seconds = median_seconds(target_, [&](int64_t i) {
        c.run(placed[static_cast<size_t>(i) % placed.size()]->views(), options);
      });
      rows_.push_back({std::string(op.name), std::string(kernel), c.label, seconds, c.bytes,
                       c.flops, same(c.operands[0].tensor.dtype, kE4m3)});
    } catch (const Error& e) {
      if (e.code() != MOPT_UNSUPPORTED) throw;
      std::printf("%s: %s\n", c.label.c_str(), e.what());
    }
  }

  void encoder(const EncoderPlugins& plugins, const Encoder& encoder, const Weights& weights) {
    const Quantizer quantizer = plugins.make(encoder);
    const mopt_exec* exec = exec_on(target_, plugins.services());
    if (!quantizer.serves(exec->device.device_type)) {
      std::printf("%s: the plugin has no kernels for %s\n", encoder.label().c_str(),
                  target_.name.c_str());
      return;
    }
    if (quantizer.scheme(MOPT_OPERAND_WEIGHT)) encode(encoder, quantizer, exec, weights);
    if (quantizer.scheme(MOPT_OPERAND_INPUT)) round(encoder, quantizer, exec, weights);
  }

  void add(const Encoder& encoder, const char* what, const Weights& weights, double bytes,
           const std::function<void(int64_t)>& fn) {
    rows_.push_back({what, encoder.label(), weights.label, median_seconds(target_, fn), bytes, 0});
  }

  void encode(const Encoder& encoder, const Quantizer& quantizer, const mopt_exec* exec,
              const Weights& weights) {
    const auto encoded_at = [&](int64_t i) {
      return quantizer.quantize(exec, job_of(weights.at(i, exec->device), 0.05f));
    };
    const double read = static_cast<double>(nbytes(weights.at(0, exec->device)));
    // Kept: its payload, rotated, is what is decoded; nor is the same memory written again at once.
    std::vector<std::vector<NamedTensor>> encoded;
    double written = 0;
    for (size_t i = 0; i < weights.copies.size(); ++i)
      encoded.push_back(encoded_at(static_cast<int64_t>(i)));
    for (const NamedTensor& part : encoded[0])
      written += static_cast<double>(nbytes(*part.tensor));
    add(encoder, "quantize", weights, read + written,
        [&](int64_t i) { encoded[weights.turn(i)] = encoded_at(i); });
    std::vector<std::unique_ptr<PlacedTensor>> scalars;
    std::vector<std::vector<mopt_named_tensor>> named;
    for (const auto& parts : encoded)
      named.push_back(on_target(parts, exec, scalars));
    add(encoder, "dequantize", weights, read + written, [&](int64_t i) {
      const auto& parts = named[weights.turn(i)];
      const mopt_qtensor q{sizeof(mopt_qtensor),
                           static_cast<uint32_t>(parts.size()),
                           {"w", 1},
                           weights.rows,
                           weights.cols,
                           parts.data()};
      quantizer.dequantize(exec, q, &weights.out->tensor(exec->device));
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
             const Weights& weights) {
    float scale = 0;
    const float* stored = &scale;
    try {
      scale = quantizer.input_scale(MOPT_OPERAND_INPUT, 0.05f);
    } catch (const Error&) {  // none is stored
      stored = nullptr;
    }
    DLTensor& out = weights.out->tensor(exec->device);
    add(encoder, "round input", weights, 2.0 * static_cast<double>(nbytes(out)), [&](int64_t i) {
      quantizer.quantize_input(exec, MOPT_OPERAND_INPUT, &weights.at(i, exec->device), stored,
                               &out);
    });
  }

  const Target& target_;
  std::vector<Row> rows_;
  double copy_rate_ = 0, product_rate_ = 0;
  double codes_rate_ = 0;  // 0: the target is not made for products of codes
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
    std::vector<Encoder> chosen;
    for (const Encoder& encoder : all_encoders()) {
      if (selection.kernel.empty() || selection.kernel == encoder.component) {
        chosen.push_back(encoder);
      }
    }
    timing.encoders(plugins, chosen);
  }
  timing.print(csv);
}

}  // namespace mopt::ops
