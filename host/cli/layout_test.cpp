#include "host/cli/layout.hpp"

#include <doctest/doctest.h>

#include "host/report/progress.hpp"

using namespace mopt;
using namespace mopt::cli;

namespace {

int widest(const std::string& text) {
  int width = 0;
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find('\n', at), text.size());
    width = std::max(width, display_width(std::string_view(text).substr(at, end - at)));
    at = end + 1;
  }
  return width;
}

Table example() {
  Table table({{"name", Align::kLeft, Shrink::kStart},
               {"type", Align::kLeft, Shrink::kNever},
               {"bytes", Align::kRight, Shrink::kNever}});
  table.add({"model.layers.0.self_attn.q_proj.weight", "BF16", "1.2 MB"});
  table.add({"lm_head.weight", "F32", "12 kB"});
  return table;
}

}  // namespace

TEST_CASE("wrap breaks between words and keeps all of them") {
  const std::string text = "one two three four five six seven";
  for (int width = 5; width < 40; ++width) {
    CAPTURE(width);
    const std::string wrapped = wrap(text, width);
    CHECK(widest(wrapped) <= width);
    std::string joined = wrapped;
    for (char& c : joined)
      if (c == '\n') c = ' ';
    CHECK(joined == text);
  }
  CHECK(wrap("a b", kUnlimited) == "a b");
  CHECK(wrap("aaaa bb", 4, 2) == "aaaa\n  bb");
}

TEST_CASE("a table fits a terminal of 40 columns by cutting the start of names") {
  const std::string text = example().text(40);
  CHECK(widest(text) == 40);
  CHECK(text.find("…ers.0.self_attn.q_proj.weight") == std::string::npos);
  CHECK(text.find("\n…0.self_attn.q_proj.weight  BF16  1.2 MB\n") != std::string::npos);
}

TEST_CASE("a table never exceeds the width, however narrow it is") {
  for (int width = 1; width < 70; ++width) {
    CAPTURE(width);
    CHECK(widest(example().text(width)) <= width);
    CHECK(widest(example().text(width, 2)) <= std::max(width, 3));
  }
}

TEST_CASE("a table without a terminal is never cut") {
  const std::string text = example().text(kUnlimited);
  CHECK(text.find("model.layers.0.self_attn.q_proj.weight  BF16  1.2 MB\n") != std::string::npos);
  CHECK(text.find("lm_head.weight                          F32    12 kB\n") != std::string::npos);
}

TEST_CASE("a table shows control characters of names escaped") {
  Table table({{"name", Align::kLeft, Shrink::kStart}});
  table.add({"a\x1b[31m\nb"});
  CHECK(table.text(80) == "name\na\\x1b[31m\\nb\n");
}

TEST_CASE("fitting the end keeps the end and the width") {
  const std::string name = "model.layers.17.mlp.down_proj.weight";
  for (int width = 1; width < display_width(name); ++width) {
    const std::string cut = fit_end(name, width);
    CAPTURE(cut);
    CHECK(display_width(cut) == width);
    CHECK(cut.starts_with("…"));
    CHECK(name.ends_with(cut.substr(std::string("…").size())));
  }
  CHECK(fit_end(name, display_width(name)) == name);
  CHECK(display_width(fit_end("日本語日本語日本語", 7)) == 7);
}

TEST_CASE("entries stand beside their names, below them where it is narrow") {
  const std::vector<Entry> list = {{"--a X", "some words about a"}, {"--long-name", "b"}};
  CHECK(entries(list, 80) == "  --a X        some words about a\n  --long-name  b\n");
  CHECK(entries(list, 40) == "  --a X\n    some words about a\n  --long-name\n    b\n");
  CHECK(widest(entries(list, 20)) <= 20);
}

TEST_CASE("numbers are grouped by thousands") {
  CHECK(grouped(0) == "0");
  CHECK(grouped(999) == "999");
  CHECK(grouped(1000) == "1,000");
  CHECK(grouped(134515008) == "134,515,008");
}
