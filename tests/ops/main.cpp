// op_harness compare|support|time: see kUsage.
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>

#include "host/compute/device_library.hpp"
#include "host/compute/parallel.hpp"
#include "tests/emulated_device/emulated_kernels.hpp"
#include "tests/ops/compare.hpp"
#include "tests/ops/encoders.hpp"
#include "tests/ops/time.hpp"

namespace mopt::ops {
namespace {

constexpr const char* kUsage =
    "usage: op_harness compare [--device D] [--op NAME] [--kernel NAME] [--quick] [--seeds N]\n"
    "       op_harness support [--device D] [--op NAME] [--kernel NAME]\n"
    "       op_harness time    [--device D] [--op NAME] [--kernel NAME] [--csv FILE]\n"
    "\n"
    "  --device D     cpu, cuda[:N], emulated (the CUDA part's kernels run on the CPU), or\n"
    "                 emulated-reference (the reference kernels behind the interface of a device)\n"
    "  --op NAME      one op, or \"encoders\": the number formats of the plugins\n"
    "  --kernel NAME  one kernel, such as linear.cublaslt; of encoders one format, such as fp8\n"
    "  --quick        small shapes, for compute-sanitizer (emulation takes still fewer by itself)\n"
    "  --seeds N      compare: problems with so many sets of random numbers\n"
    "  --plugins DIR  the plugins (searched beside this program otherwise)\n"
    "\n"
    "compare: every kernel against the op's reference kernel, and a second run against the first;\n"
    "         encoders against the plugin's own bytes on one thread of the CPU. The last line is\n"
    "         \"N passed, N failed\".\n"
    "support: which kernel takes which problem, and why not.\n"
    "time:    medians at the shapes of an 8B layer, and of a 70B layer where memory is the limit,\n"
    "         as a share of what memory and products reach; and the time until a call returns.\n";

struct Arguments {
  std::string command, device = "cpu", csv;
  Selection selection;
  std::optional<Extent> extent;
  int seeds = 0;  // 0: two, of an emulation one
  std::filesystem::path plugins;
};

[[noreturn]] void bad_usage(const std::string& what) {
  throw Error(MOPT_INVALID_ARGUMENT, what + "\n" + kUsage);
}

int number(const std::string& text, const std::string& what) {
  int found = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, found);
  if (error != std::errc() || stop != end || found < 0)
    bad_usage(what + ": expected a number, found '" + text + "'");
  return found;
}

Arguments parse(std::span<char*> words) {
  if (words.empty()) bad_usage("expected a command");
  Arguments a;
  a.command = words[0];
  for (size_t i = 1; i < words.size(); ++i) {
    const std::string_view word = words[i];
    if (word == "--quick") {
      a.extent = Extent::kQuick;
      continue;
    }
    if (i + 1 == words.size())
      bad_usage("unknown or incomplete option '" + std::string(word) + "'");
    const std::string value = words[++i];
    if (word == "--device") {
      a.device = value;
    } else if (word == "--op") {
      a.selection.op = value;
    } else if (word == "--kernel") {
      a.selection.kernel = value;
    } else if (word == "--csv") {
      a.csv = value;
    } else if (word == "--plugins") {
      a.plugins = value;
    } else if (word == "--seeds") {
      a.seeds = number(value, "--seeds");
    } else {
      bad_usage("unknown option '" + std::string(word) + "'");
    }
  }
  return a;
}

// A device for the process, its queue, and what it complains of in the end.
class Opened {
 public:
  Opened(const std::string& device, const std::filesystem::path& executable) {
    target_.name = device;
    if (device == "cpu") return;
    if (device == "emulated" || device == "emulated-reference") {
      compute::test::EmulatedOptions options;
      if (device == "emulated") options.kernels = &compute::test::emulated_kernels();
      emulated_ = std::make_unique<compute::test::EmulatedDevice>(options);
      queue_ = emulated_->make_queue("ops");
    } else if (device == "cuda" || device.starts_with("cuda:")) {
      const int index = device == "cuda" ? 0 : number(device.substr(5), "--device cuda:N");
      queue_ = compute::open_cuda(executable, index).make_queue("ops");
    } else {
      bad_usage("unknown device '" + device + "'");
    }
    target_.queue = queue_.get();
  }
  const Target& target() const { return target_; }
  bool emulated() const { return emulated_ != nullptr; }
  Score complaints() const {
    Score score;
    if (!emulated_) return score;
    for (const std::string& complaint : emulated_->complaints()) {
      std::printf("FAILED the device complains: %s\n", complaint.c_str());
      ++score.failed;
    }
    return score;
  }

 private:
  std::unique_ptr<compute::test::EmulatedDevice> emulated_;
  std::unique_ptr<compute::Queue> queue_;
  Target target_;
};

// Of --op and --kernel: a name that selects nothing shall not pass for a success.
void require_known(const Arguments& a, const Target& target) {
  if (a.selection.op == kEncoders) return;
  bool op_known = a.selection.op.empty(), kernel_known = a.selection.kernel.empty();
  std::string known;
  for (const Op& op : all_ops()) {
    op_known = op_known || op.name == a.selection.op;
    for (const std::string_view kernel : kernels_of(op, target)) {
      kernel_known = kernel_known || (selected(op, a.selection) && kernel == a.selection.kernel);
      known.append(" ").append(kernel);
    }
  }
  if (!op_known) bad_usage("unknown op '" + a.selection.op + "'");
  if (!kernel_known) {
    bad_usage("no kernel '" + a.selection.kernel + "' here; known:" + known);
  }
}

int compare(const Arguments& a, const Opened& opened, const EncoderPlugins& plugins) {
  const Extent extent = a.extent.value_or(opened.emulated() ? Extent::kEmulated : Extent::kUsual);
  const int seeds = a.seeds > 0 ? a.seeds : opened.emulated() ? 1 : 2;
  Score score;
  const auto add = [&](const Score& more) {
    score.passed += more.passed;
    score.failed += more.failed;
  };
  if (a.selection.op != kEncoders) {
    add(compare_ops(opened.target(), a.selection, extent, seeds));
  }
  if (wants_encoders(a.selection)) {
    add(compare_encoders(opened.target(), a.selection, extent, plugins));
  }
  add(opened.complaints());
  std::printf("%lld passed, %lld failed\n", static_cast<long long>(score.passed),
              static_cast<long long>(score.failed));
  return score.failed == 0 && score.passed > 0 ? 0 : 1;
}

int run(std::span<char*> words, const std::filesystem::path& executable) {
  if (words.size() == 1 && words[0] == std::string_view("--help")) {
    std::fputs(kUsage, stdout);
    return 0;
  }
  Arguments a = parse(words);
  const Opened opened(a.device, executable);
  require_known(a, opened.target());
  const EncoderPlugins plugins(a.plugins, executable);
  if (a.command == "compare") return compare(a, opened, plugins);
  if (a.command == "support") {
    print_support(opened.target(), a.selection);
    return 0;
  }
  if (a.command != "time") bad_usage("unknown command '" + a.command + "'");
  if (opened.emulated()) bad_usage("the time of an emulation says nothing");
  compute::Threads(0).run([&] { time_all(opened.target(), a.selection, plugins, a.csv); });
  return 0;
}

}  // namespace
}  // namespace mopt::ops

int main(int argc, char** argv) {
  try {
    const std::span<char*> words(argv + 1, static_cast<size_t>(argc - 1));
    const std::filesystem::path executable = std::filesystem::read_symlink("/proc/self/exe");
    return mopt::ops::run(words, executable);
  } catch (const mopt::Error& e) {
    std::fprintf(stderr, "op_harness: %s\n", e.what());
    return e.code() == MOPT_INVALID_ARGUMENT ? 2 : 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "op_harness: %s\n", e.what());
    return 1;
  }
}
