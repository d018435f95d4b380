// How far a run is: one line that is rewritten on a terminal, one line per block in a log.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace mopt {

struct ProgressState {
  int64_t block = 0, blocks = 0;  // "block 3 of 30" counts from 1; blocks 0: there are none
  std::string role;               // what is in work: "attn", "forward", "verify"
  enum class Unit { kTokens, kBytes };
  Unit unit = Unit::kBytes;
  double rate = 0;  // units per second; 0: not known yet
  std::optional<double> seconds_left;
};

// "block 3 of 30, mlp, 1.25 GB/s, 2 min 5 s left", cut with an ellipsis to at most `width` columns.
// A width of 0 means no limit.
std::string progress_line(const ProgressState&, int width);

// "5 s", "2 min 5 s", "3 h 7 min".
std::string duration_text(double seconds);

// "1.23 GB", "45.6 MB", "789 bytes" (decimal units, three digits).
std::string bytes_text(double bytes);

// At most `width` columns of UTF-8 text, the last one an ellipsis if something was cut. Characters
// that are two columns wide count as two.
std::string fit_width(std::string_view text, int width);
int display_width(std::string_view text);

// Columns of the terminal behind a file descriptor: what it says, else COLUMNS, else 80.
int terminal_width(int fd);

enum class ProgressStyle { kTerminal, kLog, kQuiet };

// Shows states through `write`. Any thread.
class Progress {
 public:
  struct Target {
    ProgressStyle style = ProgressStyle::kQuiet;
    std::function<void(std::string_view)> write;
    std::function<int()> width;  // asked at each line: the window may change
  };
  Progress() = default;
  explicit Progress(Target target) : target_(std::move(target)) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  void update(const ProgressState&);      // terminal only, at most ten a second
  void block_done(const ProgressState&);  // the line of a log; on a terminal like update
  void clear();                           // removes the line, before something else is printed

 private:
  void show(const ProgressState&);
  Target target_;
  std::mutex mutex_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point last_{};
};

}  // namespace mopt
