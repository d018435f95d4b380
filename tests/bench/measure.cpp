// Runs a command and appends one line of CSV to a file: label, wall seconds, CPU seconds, largest
// resident set in MB, exit status. Usage: bench_measure FILE LABEL COMMAND...
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace {

double seconds(const timeval& t) {
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
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
  int status = 0;
  rusage usage{};
  if (child < 0 || wait4(child, &status, 0, &usage) != child) return 1;
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - begin;
  const int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  std::FILE* out = std::fopen(argv[1], "a");
  if (out == nullptr) return 1;
  // ru_maxrss is in KiB on Linux.
  std::fprintf(out, "%s,%.2f,%.2f,%.1f,%d\n", argv[2], wall.count(),
               seconds(usage.ru_utime) + seconds(usage.ru_stime),
               static_cast<double>(usage.ru_maxrss) / 1024, code);
  return std::fclose(out) == 0 ? code : 1;
}
