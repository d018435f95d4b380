#include "host/cli/signals.hpp"

#include <unistd.h>

#include <csignal>

#include "host/recipe/diagnostic.hpp"

namespace mopt::cli {
namespace {

std::atomic<int> count = 0;
static_assert(std::atomic<int>::is_always_lock_free);  // a signal handler may use it

void on_signal(int) {
  if (count.fetch_add(1) > 0) _exit(static_cast<int>(Exit::kInterrupted));
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

}  // namespace

void watch_interrupts() {
  handle(SIGINT, on_signal);
  handle(SIGTERM, on_signal);
}

const std::atomic<int>& interrupts() {
  return count;
}

void survive_failed_writes() {
  handle(SIGPIPE, SIG_IGN);
  handle(SIGXFSZ, SIG_IGN);
}

}  // namespace mopt::cli
