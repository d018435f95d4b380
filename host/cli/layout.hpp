// Text for people: paragraphs, tables, numbers, within the columns of a terminal.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mopt::cli {

inline constexpr int kUnlimited = 0;  // a width: the output is no terminal

// Words broken into lines of at most `width` columns; the lines after the first begin with `indent`
// spaces. Words that are longer stay whole.
std::string wrap(std::string_view text, int width, int indent = 0);

// "name   text text", the text wrapped beside the name; below it where the name is too long.
struct Entry {
  std::string name, text;
};
std::string entries(std::span<const Entry>, int width);

enum class Align { kLeft, kRight };
// What a cell loses when the table is too wide. The ends of tensor names tell them apart.
enum class Shrink { kNever, kStart, kEnd };

struct Column {
  std::string title;
  Align align = Align::kLeft;
  Shrink shrink = Shrink::kNever;
};

// Columns two spaces apart under their titles. A table that is too wide shrinks its columns that
// may, then loses the ends of its lines. Cells are printed with control characters escaped.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }
  std::string text(int width, int indent = 0) const;

 private:
  std::vector<int> widths(int room) const;
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "….0.mlp.up_proj.weight": at most `width` columns, the first one an ellipsis if something was
// cut.
std::string fit_end(std::string_view text, int width);

// "12,345,678".
std::string grouped(uint64_t number);
// Four significant digits: "0.08124", "17.3", "-".
std::string measure_text(double value);

}  // namespace mopt::cli
