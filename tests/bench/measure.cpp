// Runs a command and appends one line of CSV to a file: label, wall seconds, CPU seconds, largest
// resident set in MiB, exit status, largest own memory in MiB. Own memory is what the page cache
// does not give back: RssAnon + RssShmem of /proc/PID/status, looked at every 20 ms. Usage:
// bench_measure FILE LABEL COMMAND...
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

namespace {

constexpr auto kInterval = std::chrono::milliseconds(20);

double seconds(const timeval& t) {
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
}

// KiB; 0 when the process is gone.
long own_memory(pid_t process) {
  std::ifstream status("/proc/" + std::to_string(process) + "/status");
  long sum = 0;
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:") || line.starts_with("RssShmem:"))
      sum += std::atol(line.c_str() + line.find(':') + 1);
  }
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: bench_measure FILE LABEL COMMAND...\n");
    return 2;
  }
  const auto begin = std::chrono::steady_clock::now();
  const pid_t child = fork();
  if (child == 0) {
    execvp(argv[3], argv + 3);
    _exit(127);
  }
  if (child < 0) return 1;
  std::atomic<bool> ended{false};
  long own = 0;
  std::jthread watch([&] {
    for (; !ended; std::this_thread::sleep_for(kInterval))
      own = std::max(own, own_memory(child));
  });
  int status = 0;
  rusage usage{};
  const bool waited = wait4(child, &status, 0, &usage) == child;
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - begin;
  ended = true;
  watch.join();
  if (!waited) return 1;
  const int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  std::FILE* out = std::fopen(argv[1], "a");
  if (out == nullptr) return 1;
  // ru_maxrss is in KiB on Linux.
  std::fprintf(out, "%s,%.2f,%.2f,%.1f,%d,%.1f\n", argv[2], wall.count(),
               seconds(usage.ru_utime) + seconds(usage.ru_stime),
               static_cast<double>(usage.ru_maxrss) / 1024, code, static_cast<double>(own) / 1024);
  return std::fclose(out) == 0 ? code : 1;
}
