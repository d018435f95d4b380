#include "tests/golden_run/background.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <thread>

namespace mopt::test {
namespace {

[[noreturn]] void become(const Start& start, std::vector<char*>& argv) {
  const int log = open(start.log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (log < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0) _exit(127);
  if (start.file_limit) {
    const rlimit limit{*start.file_limit, *start.file_limit};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(127);
  }
  if (chdir(start.directory.c_str()) == 0) execv(argv[0], argv.data());
  _exit(127);
}

int exit_of(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

Background::Background(const Start& start) {
  std::vector<std::string> words = start.words;
  std::vector<char*> argv;
  for (std::string& word : words)
    argv.push_back(word.data());
  argv.push_back(nullptr);
  child_ = fork();
  if (child_ < 0) throw std::runtime_error("cannot fork");
  if (child_ == 0) become(start, argv);
}

Background::~Background() {
  if (!running()) return;
  kill(child_, SIGKILL);
  waitpid(child_, nullptr, 0);
}

bool Background::running() {
  int status = 0;
  if (!exit_ && waitpid(child_, &status, WNOHANG) == child_) exit_ = exit_of(status);
  return !exit_;
}

void Background::signal(int number) const {
  if (!exit_) kill(child_, number);
}

int Background::wait(int seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (running()) {
    if (std::chrono::steady_clock::now() > end) {
      signal(SIGKILL);
      waitpid(child_, nullptr, 0);
      exit_ = 124;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return *exit_;
}

}  // namespace mopt::test
