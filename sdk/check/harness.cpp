#include "harness.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

namespace mopt::conformance {
namespace {

constexpr int kSeconds = 30;
constexpr int kNotApplicable = 2;  // exit status of the child

[[noreturn]] void child(const Test& test, int out) {
  std::string problem;
  try {
    test.body();
  } catch (const std::exception& e) {
    problem = e.what();
  } catch (const NotApplicable&) {
    _exit(kNotApplicable);
  }
  const ssize_t written = write(out, problem.data(), problem.size());
  _exit(written == static_cast<ssize_t>(problem.size()) ? 0 : 1);
}

// Everything that the child writes, until it ends or its time is over.
std::string read_all(int in, bool& in_time) {
  std::string text;
  char buffer[4096];
  pollfd wait{in, POLLIN, 0};
  while ((in_time = poll(&wait, 1, kSeconds * 1000) > 0)) {
    const ssize_t n = read(in, buffer, sizeof(buffer));
    if (n <= 0) break;
    text.append(buffer, static_cast<size_t>(n));
  }
  return text;
}

}  // namespace

std::optional<std::string> run_apart(const Test& test) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t pid = fork();
  if (pid == 0) {
    close(ends[0]);
    child(test, ends[1]);
  }
  close(ends[1]);
  bool in_time = true;
  const std::string problem = read_all(ends[0], in_time);
  close(ends[0]);
  if (!in_time) kill(pid, SIGKILL);
  int status = 0;
  waitpid(pid, &status, 0);
  if (!in_time) return "no end within " + std::to_string(kSeconds) + " s";
  if (WIFSIGNALED(status)) {
    return std::string("crashed: ") + strsignal(WTERMSIG(status));
  }
  if (WEXITSTATUS(status) == kNotApplicable) return std::nullopt;
  return problem;
}

}  // namespace mopt::conformance
