// Rows of an id file: which tensors, in which order, and the check of every id.
#include <algorithm>
#include <compare>

#include "host/recipe/diagnostic.hpp"
#include "host/text/data.hpp"

namespace mopt::text {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// The number that begins at `at`, without leading zeros.
std::string_view take_number(std::string_view text, size_t& at) {
  while (at + 1 < text.size() && text[at] == '0' && is_digit(text[at + 1]))
    ++at;
  const size_t begin = at;
  while (at < text.size() && is_digit(text[at]))
    ++at;
  return text.substr(begin, at - begin);
}

// Runs of digits compare as numbers.
bool natural_less(std::string_view a, std::string_view b) {
  size_t i = 0, k = 0;
  while (i < a.size() && k < b.size()) {
    if (is_digit(a[i]) && is_digit(b[k])) {
      const std::string_view x = take_number(a, i), y = take_number(b, k);
      if (x.size() != y.size()) return x.size() < y.size();
      if (x != y) return x < y;
      continue;
    }
    if (a[i] != b[k]) return static_cast<unsigned char>(a[i]) < static_cast<unsigned char>(b[k]);
    ++i;
    ++k;
  }
  if ((i < a.size()) != (k < b.size())) return k < b.size();
  return a < b;
}

// '*' stands for any characters, also none.
bool matches(std::string_view pattern, std::string_view name) {
  size_t p = 0, n = 0, star = pattern.npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != pattern.npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == pattern.npos;
}

std::string list_names(const std::vector<IdMatrix>& matrices) {
  std::string out;
  for (const IdMatrix& matrix : matrices) {
    out += (out.empty() ? "" : ", ") + printable(matrix.name) + " [" + std::to_string(matrix.rows) +
           ", " + std::to_string(matrix.cols) + "]";
  }
  return out.empty() ? "none" : out;
}

[[noreturn]] void missing(const std::vector<IdMatrix>& matrices, const std::string& expected,
                          const IdPlace& place) {
  throw Failure(Diagnostic{
      .code = "D107",
      .file = place.file,
      .message = "expected " + expected + ", found these: " + list_names(matrices),
      .remedy = matrices.empty() ? "write the ids as an integer [rows, tokens] tensor"
                                 : "name one with FILE:KEY, or join several with a * in KEY"});
}

std::vector<const IdMatrix*> choose(const std::vector<IdMatrix>& matrices, std::string_view key,
                                    const IdPlace& place) {
  std::vector<const IdMatrix*> out;
  const std::string_view wanted = key.empty() ? "input_ids" : key;
  for (const IdMatrix& matrix : matrices) {
    if (matches(wanted, matrix.name)) out.push_back(&matrix);
  }
  if (key.empty() && out.empty() && matrices.size() == 1) out.push_back(&matrices[0]);
  if (out.empty()) {
    missing(matrices,
            key.empty() ? "an integer [rows, tokens] tensor input_ids, or a single one of any name"
                        : "an integer [rows, tokens] tensor '" + printable(key) + "'",
            place);
  }
  std::ranges::sort(
      out, [](const IdMatrix* a, const IdMatrix* b) { return natural_less(a->name, b->name); });
  return out;
}

void append_rows(const IdMatrix& matrix, const IdPlace& place,
                 std::vector<std::vector<int32_t>>& out) {
  for (int64_t row = 0; row < matrix.rows; ++row) {
    auto& ids = out.emplace_back();
    ids.reserve(static_cast<size_t>(matrix.cols));
    for (int64_t col = 0; col < matrix.cols; ++col) {
      const int64_t id = matrix.values[static_cast<size_t>(row * matrix.cols + col)];
      if (id < 0 || id >= place.vocab_size) {
        throw Failure(Diagnostic{
            .code = "D104",
            .file = place.file,
            .tensor = matrix.name,
            .message = "expected ids from 0 to " + std::to_string(place.vocab_size - 1) +
                       ", found " + std::to_string(id) + " in row " + std::to_string(row) +
                       ", column " + std::to_string(col),
            .remedy = "make the ids with this model's tokenizer, or name another tensor with "
                      "FILE:KEY"});
      }
      ids.push_back(static_cast<int32_t>(id));
    }
  }
}

}  // namespace

int64_t count_ids(const std::vector<IdMatrix>& matrices, std::string_view key,
                  const std::string& file) {
  int64_t rows = 0;
  for (const IdMatrix* matrix : choose(matrices, key, {file, 0}))
    rows += matrix->cols > 0 ? matrix->rows : 0;
  return rows;
}

std::vector<std::vector<int32_t>> select_ids(const std::vector<IdMatrix>& matrices,
                                             std::string_view key, const IdPlace& place) {
  std::vector<std::vector<int32_t>> out;
  for (const IdMatrix* matrix : choose(matrices, key, place)) {
    if (matrix->cols > 0) append_rows(*matrix, place, out);
  }
  if (!out.empty()) return out;
  throw Failure(Diagnostic{.code = "D105",
                           .file = place.file,
                           .message = "expected rows of token ids, found none",
                           .remedy = "give a file with at least one row"});
}

}  // namespace mopt::text
