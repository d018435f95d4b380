#include "tests/recipe/process.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace mopt::test {
namespace {

// An unnamed file in memory; holds a stream of the child.
class Stream {
 public:
  explicit Stream(const std::string& content = {}) {
    fd_ = memfd_create("stream", MFD_CLOEXEC);
    if (fd_ < 0) throw std::runtime_error("cannot create a temporary file");
    if (write(fd_, content.data(), content.size()) != static_cast<ssize_t>(content.size())) {
      throw std::runtime_error("cannot fill a temporary file");
    }
    lseek(fd_, 0, SEEK_SET);
  }
  ~Stream() { close(fd_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  int fd() const { return fd_; }
  std::string text() const {
    std::string all(static_cast<size_t>(lseek(fd_, 0, SEEK_END)), '\0');
    const ssize_t n = pread(fd_, all.data(), all.size(), 0);
    all.resize(n < 0 ? 0 : static_cast<size_t>(n));
    return all;
  }

 private:
  int fd_;
};

std::vector<std::string> environment_of(const Command& command) {
  std::map<std::string, std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    all[text.substr(0, text.find('='))] = text.substr(text.find('=') + 1);
  }
  for (const auto& [name, value] : command.environment)
    all[name] = value;
  std::vector<std::string> entries;
  for (const auto& [name, value] : all)
    entries.push_back(name + "=" + value);
  return entries;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (std::string& s : strings)
    out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

// The exit status of `child`, which is killed when the time is over.
int wait_for(pid_t child, int seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > end) {
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      return 124;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

Outcome execute(const Command& command) {
  const Stream in(command.input), out, err;
  std::vector<std::string> words = command.words, entries = environment_of(command);
  std::vector<char*> argv = pointers(words), envp = pointers(entries);
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("cannot fork");
  if (child == 0) {
    dup2(in.fd(), 0);
    dup2(out.fd(), 1);
    dup2(err.fd(), 2);
    if (chdir(command.directory.c_str()) == 0) execve(argv[0], argv.data(), envp.data());
    _exit(127);
  }
  Outcome outcome;
  outcome.exit = wait_for(child, command.seconds);
  outcome.out = out.text();
  outcome.err = err.text();
  return outcome;
}

}  // namespace mopt::test
