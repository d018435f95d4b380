// Where a command's words go: results to standard output, everything else to standard error, and
// never both in one line.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "host/cli/options.hpp"
#include "host/recipe/diagnostic.hpp"
#include "host/report/progress.hpp"

namespace mopt::cli {

enum class Delivery { kDone, kReaderGone, kFailed };

// One of the two streams. `write` answers what became of the bytes.
struct Stream {
  std::function<Delivery(std::string_view)> write;
  std::function<int()> width;  // columns; kUnlimited when it is no terminal
  bool is_terminal = false;
};

class Console {
 public:
  Console(Stream out, Stream err, const CommonOptions&);

  OutputKind output() const { return output_; }
  Verbosity verbosity() const { return verbosity_; }
  int width() const { return out_.width(); }

  // Results. Text that streams may come in pieces. A reader that is gone (a closed pipe) is no
  // fault: the rest is dropped.
  void text(std::string_view);
  void document(std::string_view json);

  void note(std::string_view line);    // not with --quiet
  void detail(std::string_view line);  // only with --verbose
  void report(const Diagnostic&);      // a warning or an error, always
  Progress& progress() { return progress_; }

  // Ends a command that failed: the diagnostics, with --json also {"problems"} as the document.
  void fail(const std::vector<Diagnostic>&);

  bool reader_gone() const { return delivery_ == Delivery::kReaderGone; }
  bool output_failed() const { return delivery_ == Delivery::kFailed; }

 private:
  void line(std::string_view);
  Stream out_, err_;
  OutputKind output_;
  Verbosity verbosity_;
  enum class Paint { kPlain, kColored } paint_;
  Delivery delivery_ = Delivery::kDone;
  bool has_document_ = false;
  std::mutex mutex_;
  Progress progress_;
};

// The streams of this process.
Stream standard_output();
Stream standard_error();

// format(d) with a bold place and a coloured severity.
std::string colored(const Diagnostic&);

}  // namespace mopt::cli
