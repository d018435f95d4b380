#include "host/cli/console.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "host/cli/layout.hpp"
#include "host/report/json.hpp"

namespace mopt::cli {
namespace {

constexpr std::string_view kBold = "\x1b[1m", kRed = "\x1b[1;31m", kYellow = "\x1b[1;33m",
                           kPlain = "\x1b[0m";

Delivery write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EPIPE ? Delivery::kReaderGone : Delivery::kFailed;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return Delivery::kDone;
}

Stream stream_of(int fd) {
  const bool terminal = isatty(fd) == 1;
  return {[fd](std::string_view bytes) { return write_all(fd, bytes); },
          [fd, terminal] { return terminal ? terminal_width(fd) : kUnlimited; }, terminal};
}

bool wants_color(ColorMode mode, const Stream& err) {
  if (mode != ColorMode::kAuto) return mode == ColorMode::kAlways;
  const char* no_color = std::getenv("NO_COLOR");
  return err.is_terminal && (no_color == nullptr || *no_color == 0);
}

Progress::Target progress_target(const Stream& err, Verbosity verbosity) {
  const ProgressStyle style = verbosity == Verbosity::kQuiet ? ProgressStyle::kQuiet
                              : err.is_terminal              ? ProgressStyle::kTerminal
                                                             : ProgressStyle::kLog;
  return {style, [write = err.write](std::string_view s) { write(s); }, err.width};
}

}  // namespace

Stream standard_output() {
  return stream_of(STDOUT_FILENO);
}

Stream standard_error() {
  return stream_of(STDERR_FILENO);
}

std::string colored(const Diagnostic& d) {
  const std::string text = format(d);
  const size_t end = text.find("[" + d.code + "]: ") + d.code.size() + 3;
  const size_t begin = text.rfind(' ', end - 2) + 1;  // npos + 1 is 0: no place
  const std::string_view paint = d.severity == Severity::kWarning ? kYellow : kRed;
  std::string out;
  if (begin > 0) out.append(kBold).append(text, 0, begin).append(kPlain);
  return out.append(paint).append(text, begin, end - begin).append(kPlain).append(text, end);
}

Console::Console(Stream out, Stream err, const CommonOptions& options)
    : out_(std::move(out)),
      err_(std::move(err)),
      output_(options.output),
      verbosity_(options.verbosity),
      paint_(wants_color(options.color, err_) ? Paint::kColored : Paint::kPlain),
      progress_(progress_target(err_, verbosity_)) {}

void Console::text(std::string_view text) {
  progress_.clear();
  const std::lock_guard lock(mutex_);
  if (delivery_ == Delivery::kDone) delivery_ = out_.write(text);
}

void Console::document(std::string_view json) {
  has_document_ = true;
  text(json);
}

void Console::line(std::string_view line) {
  progress_.clear();
  const std::lock_guard lock(mutex_);
  err_.write(std::string(line) + "\n");
}

void Console::note(std::string_view text) {
  if (verbosity_ != Verbosity::kQuiet) line(text);
}

void Console::detail(std::string_view text) {
  if (verbosity_ == Verbosity::kVerbose) line(text);
}

void Console::report(const Diagnostic& d) {
  line(paint_ == Paint::kColored ? colored(d) : format(d));
}

void Console::fail(const std::vector<Diagnostic>& diagnostics) {
  for (const Diagnostic& d : diagnostics)
    report(d);
  if (output_ != OutputKind::kJson || has_document_) return;
  Json json;
  json["problems"] = json_problems(diagnostics);
  document(json_page(json));
}

}  // namespace mopt::cli
