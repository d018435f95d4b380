// How fast a model writes: one greedy text, and calibration text of many rows; on a device kernel
// by kernel and repeated from a recording, which must give the same ids. CSV on standard output:
// what, steps, rows, tokens of each, seconds without loading the model, tokens/s, device MiB.
//   generate_bench MODEL DEVICE [TOKENS [ROWS SEQ]]     DEVICE: cuda, cuda:N, cpu
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "host/compute/device_library.hpp"
#include "host/compute/parallel.hpp"
#include "host/pipeline/calibrate.hpp"
#include "host/pipeline/generate.hpp"

namespace mopt::bench {
namespace {

using namespace mopt::pipeline;

constexpr int64_t kPrompt = 32;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Request {
  std::filesystem::path executable, model;
  std::string device;
  int64_t tokens = 128, rows = 512, seq = 512;
};

struct Line {
  const char* what;
  const char* steps;
  int64_t rows, tokens;
  double seconds;
};

// One run after the other, each with the model loaded anew.
class Bench {
 public:
  explicit Bench(const Request& r)
      : request_(r),
        registry_(default_search({}, {}, r.executable), services_),
        model_(Checkpoint::open(registry_, r.model)) {
    if (r.device == "cpu") return;
    const int index = r.device.size() > 5 ? std::stoi(r.device.substr(5)) : 0;
    device_ = &compute::open_cuda(r.executable, index);
  }
  bool on_device() const { return device_ != nullptr; }

  TokenRows text(Steps steps) {
    return with_options([&](const ForwardOptions& options) {
      std::vector<int32_t> prompt;
      for (int32_t i = 0; i < kPrompt; ++i)
        prompt.push_back(i * 7 + 3);
      // Loading and the prompt are no steps: the time counts from the first token on.
      double start = 0;
      const Generation g = generate(
          *model_, options, prompt, request_.tokens, {},
          [&](int32_t) {
            if (start == 0) start = now();
            return true;
          },
          steps);
      print({"text", name(steps), 1, static_cast<int64_t>(g.ids.size()) - 1, now() - start});
      return TokenRows{g.ids};
    });
  }
  TokenRows own_text(Steps steps) {
    return with_options([&](ForwardOptions options) {
      options.quantize_inputs = false;
      double start = 0;
      TokenRows rows = write_self_text(
          *model_, options, {request_.rows, request_.seq, 1},
          [&](int64_t, int64_t) {
            if (start == 0) start = now();
            return true;
          },
          steps);
      print({"own_text", name(steps), request_.rows, request_.seq - 1, now() - start});
      return rows;
    });
  }

 private:
  template <class Fn>
  TokenRows with_options(const Fn& fn) {
    ForwardOptions options;
    options.dtype = compute_type(*model_);
    std::optional<OnDevice> on;
    if (device_ != nullptr) {
      on.emplace(device_->make_queue("bench"), services_);
      options.on_device = &*on;
      options.kernels.queue = &on->queue();
    }
    return fn(options);
  }
  const char* name(Steps steps) const {
    return !on_device() ? "cpu" : steps == Steps::kEach ? "each" : "recorded";
  }
  void print(const Line& line) const {
    const auto all = static_cast<double>(line.rows * line.tokens);
    const int64_t peak = device_ == nullptr ? 0 : device_->memory().peak;
    std::printf("%s,%s,%lld,%lld,%.3f,%.1f,%lld\n", line.what, line.steps,
                static_cast<long long>(line.rows), static_cast<long long>(line.tokens),
                line.seconds, all / line.seconds, static_cast<long long>(peak >> 20));
    std::fflush(stdout);
  }

  Request request_;
  Services services_{"", {}};
  Registry registry_;
  std::unique_ptr<Checkpoint> model_;
  compute::Device* device_ = nullptr;
};

// How many rows differ between the two ways.
int64_t different(const TokenRows& a, const TokenRows& b) {
  int64_t count = a.size() == b.size() ? 0 : 1;
  for (size_t r = 0; r < std::min(a.size(), b.size()); ++r)
    count += a[r] != b[r];
  return count;
}

int run(const Request& request) {
  Bench bench(request);
  const TokenRows text = bench.text(Steps::kRecorded), own = bench.own_text(Steps::kRecorded);
  if (!bench.on_device()) return 0;
  const int64_t wrong =
      different(text, bench.text(Steps::kEach)) + different(own, bench.own_text(Steps::kEach));
  if (wrong != 0) {
    std::fprintf(stderr, "%lld rows differ between recorded steps and others\n",
                 static_cast<long long>(wrong));
  }
  return wrong == 0 ? 0 : 1;
}

}  // namespace
}  // namespace mopt::bench

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4 && argc != 6) {
    std::fprintf(stderr, "usage: generate_bench MODEL DEVICE [TOKENS [ROWS SEQ]]\n");
    return 2;
  }
  try {
    mopt::bench::Request request{std::filesystem::read_symlink("/proc/self/exe"), argv[1], argv[2]};
    if (argc > 3) request.tokens = std::stoll(argv[3]);
    if (argc > 5) request.rows = std::stoll(argv[4]), request.seq = std::stoll(argv[5]);
    int status = 0;
    mopt::compute::Threads(0).run([&] { status = mopt::bench::run(request); });
    return status;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "generate_bench: %s\n", e.what());
    return 1;
  }
}
