// Takes memory of a CUDA device until no more than so much is left, says so, and holds it until it
// is killed: what other processes do to a run. For device/faults.sh.
#include <cuda_runtime.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string_view>
#include <thread>

namespace {

constexpr const char* kUsage =
    "usage: hold_device_memory LEAVE_MIB [GO_FILE]\n"
    "  of the first visible device; with GO_FILE it waits until that file is there\n";
constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kSmallest = 2 * kMiB;  // what the driver hands out at the least

bool failed(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return false;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(status));
  return true;
}

// Free bytes after as many were taken as there are above `leave`.
std::optional<size_t> hold(size_t leave) {
  size_t piece = SIZE_MAX;
  while (true) {
    size_t left = 0, all = 0;
    if (failed(cudaMemGetInfo(&left, &all), "the device's memory")) return std::nullopt;
    const size_t above = left > leave ? left - leave : 0;
    piece = std::min(piece, above / kSmallest * kSmallest);
    if (piece < kSmallest) return left;
    void* held = nullptr;  // until the process ends
    if (cudaMalloc(&held, piece) == cudaSuccess) continue;
    cudaGetLastError();
    piece /= 2;
  }
}

}  // namespace

int main(int argc, char** argv) {
  size_t leave = 0;
  const std::string_view words = argc > 1 ? argv[1] : "";
  const auto [end, wrong] = std::from_chars(words.data(), words.data() + words.size(), leave);
  if (argc < 2 || argc > 3 || wrong != std::errc() || end != words.data() + words.size()) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  if (failed(cudaFree(nullptr), "no device")) return 6;
  std::puts("ready");
  std::fflush(stdout);
  while (argc == 3 && !std::filesystem::exists(argv[2]))
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const std::optional<size_t> left = hold(leave * kMiB);
  if (!left) return 6;
  std::printf("%zu MiB are left\n", *left / kMiB);
  std::fflush(stdout);
  while (true)
    pause();
}
