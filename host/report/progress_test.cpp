#include "host/report/progress.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace mopt;

namespace {

ProgressState example() {
  return {3, 30, "mlp", ProgressState::Unit::kBytes, 1.25e9, 125.0};
}

// A Progress whose output is kept.
struct Screen {
  explicit Screen(ProgressStyle style, int width = 40)
      : progress({style, [this](std::string_view s) { text += s; }, [width] { return width; }}) {}
  std::string text;
  Progress progress;
};

}  // namespace

TEST_CASE("a progress line says block, role, rate and time left") {
  CHECK(progress_line(example(), 0) == "block 3 of 30, mlp, 1.25 GB/s, 2 min 5 s left");
  ProgressState tokens = example();
  tokens.unit = ProgressState::Unit::kTokens;
  tokens.rate = 12345.6;
  CHECK(progress_line(tokens, 0) == "block 3 of 30, mlp, 12346 tokens/s, 2 min 5 s left");
}

TEST_CASE("what is not known is left out of a progress line") {
  CHECK(progress_line({1, 2, "", ProgressState::Unit::kBytes, 0, {}}, 0) == "block 1 of 2");
  CHECK(progress_line({0, 0, "verify", ProgressState::Unit::kBytes, 0, {}}, 0) == "verify");
  CHECK(progress_line({}, 20).empty());
}

TEST_CASE("a progress line never takes more columns than there are") {
  ProgressState state = example();
  state.role = "日本語 и кириллица";
  const std::string whole = progress_line(state, 0);
  for (int width = 1; width <= display_width(whole) + 3; ++width) {
    CAPTURE(width);
    const std::string line = progress_line(state, width);
    CHECK(display_width(line) <= width);
    const bool cut = display_width(whole) > width;
    CHECK(line.ends_with("…") == cut);
    CHECK((!cut || display_width(line) >= width - 1));
  }
  CHECK(progress_line(example(), 20) == "block 3 of 30, mlp,…");
}

TEST_CASE("display width: wide characters are two columns, combining marks none") {
  CHECK(display_width("abc") == 3);
  CHECK(display_width("日本") == 4);
  CHECK(display_width("e\u0301") == 1);
  CHECK(display_width("\xff\xfe") == 2);  // not UTF-8: a column a byte
}

TEST_CASE("durations and sizes are told in the unit that fits") {
  CHECK(duration_text(0.4) == "0 s");
  CHECK(duration_text(59.4) == "59 s");
  CHECK(duration_text(59.6) == "1 min 0 s");
  CHECK(duration_text(3600) == "1 h 0 min");
  CHECK(bytes_text(1) == "1 byte");
  CHECK(bytes_text(999) == "999 bytes");
  CHECK(bytes_text(1000) == "1.00 kB");
  CHECK(bytes_text(999499) == "999 kB");
  CHECK(bytes_text(999500) == "1.00 MB");
  CHECK(bytes_text(12.34e9) == "12.3 GB");
}

TEST_CASE("on a terminal the line is rewritten and can be removed") {
  Screen screen(ProgressStyle::kTerminal);
  screen.progress.block_done(example());
  CHECK(screen.text == "\r\x1b[Kblock 3 of 30, mlp, 1.25 GB/s, 2 min 5…");
  screen.text.clear();
  screen.progress.clear();
  CHECK(screen.text == "\r\x1b[K");
  screen.text.clear();
  screen.progress.clear();
  CHECK(screen.text.empty());
}

TEST_CASE("on a terminal updates in quick succession are dropped") {
  Screen screen(ProgressStyle::kTerminal);
  screen.progress.update(example());
  const std::string once = screen.text;
  CHECK(!once.empty());
  screen.progress.update(example());
  CHECK(screen.text == once);
}

TEST_CASE("a log has one whole line per block and nothing else") {
  Screen screen(ProgressStyle::kLog);
  screen.progress.update(example());
  CHECK(screen.text.empty());
  screen.progress.block_done(example());
  CHECK(screen.text == "block 3 of 30, mlp, 1.25 GB/s, 2 min 5 s left\n");
  screen.progress.clear();
  CHECK(screen.text == "block 3 of 30, mlp, 1.25 GB/s, 2 min 5 s left\n");
}

TEST_CASE("quiet means that nothing is written") {
  Screen screen(ProgressStyle::kQuiet);
  screen.progress.update(example());
  screen.progress.block_done(example());
  screen.progress.clear();
  CHECK(screen.text.empty());
}
