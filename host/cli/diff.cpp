#include "host/cli/diff.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "host/cli/commands.hpp"
#include "host/cli/layout.hpp"
#include "host/cli/models.hpp"
#include "host/report/json.hpp"

namespace mopt::cli {
namespace {

using pipeline::Checkpoint;

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kChunkElements = int64_t{1} << 20;

// A tensor of a model: stored as it is, or the weight of a quantized parameter.
struct Side {
  const StoredTensor* stored = nullptr;
  std::vector<int64_t> shape;
  std::string type;  // "BF16", or the name of its scheme
};

using Sides = std::map<std::string, Side, std::less<>>;

Sides sides_of(const Checkpoint& checkpoint) {
  Sides sides;
  std::set<std::string, std::less<>> parts;
  for (const StoredParam& p : checkpoint.description().params) {
    if (!p.weight) continue;
    for (const auto& [role, tensor] : p.roles)
      parts.insert(tensor);
    sides[p.name] = {nullptr, {p.rows, p.cols}, std::string(view(p.weight->name))};
  }
  for (const StoredTensor& t : checkpoint.container().tensors()) {
    if (parts.contains(t.name)) continue;
    sides[std::string(t.name)] = {&t, {t.shape.begin(), t.shape.end()}, std::string(t.encoding)};
  }
  return sides;
}

bool widens(const Side& side) {
  if (side.stored == nullptr) return true;
  const DLDataType t = side.stored->dtype;
  return same(t, kBf16) || same(t, kF16) || same(t, kF32) || same(t, kF64);
}

bool same_bytes(const Side& a, const Side& b) {
  return a.stored != nullptr && b.stored != nullptr && a.type == b.type &&
         a.stored->stored_bytes == b.stored->stored_bytes && a.shape == b.shape &&
         std::memcmp(a.stored->data, b.stored->data, a.stored->stored_bytes) == 0;
}

// Rows [begin, end) as float32; of a dequantized parameter all rows are held.
class Reader {
 public:
  Reader(const Checkpoint& checkpoint, const std::string& name, const Side& side)
      : checkpoint_(checkpoint), side_(side) {
    if (side.stored == nullptr) whole_ = checkpoint.load(name, kF32);
  }
  std::span<const float> rows(int64_t begin, int64_t end) {
    std::vector<int64_t> part = side_.shape;
    if (!part.empty()) part[0] = end - begin;
    const int64_t count = elements(part);
    if (side_.stored == nullptr) {
      const int64_t row = side_.shape[1];
      return {whole_->view.as<float>() + begin * row, static_cast<size_t>(count)};
    }
    chunk_ = allocate(kF32, part);
    checkpoint_.container().read(*side_.stored, begin, end, chunk_.get());
    return {chunk_.data<float>(), static_cast<size_t>(count)};
  }

 private:
  const Checkpoint& checkpoint_;
  const Side& side_;
  std::optional<pipeline::ParamData> whole_;
  Tensor chunk_;
};

// Both models, and one name that both have.
struct Pair {
  const Checkpoint& a;
  const Checkpoint& b;
};

std::optional<DifferingTensor> compare_values(const Pair& models, const std::string& name,
                                              const Side& a, const Side& b) {
  Reader left(models.a, name, a), right(models.b, name, b);
  const int64_t rows = a.shape.empty() ? 1 : a.shape[0];
  const int64_t row = rows == 0 ? 0 : elements(a.shape) / rows;
  const int64_t step = std::max<int64_t>(1, kChunkElements / std::max<int64_t>(row, 1));
  Difference difference;
  for (int64_t begin = 0; begin < rows; begin += step) {
    const int64_t end = std::min(begin + step, rows);
    difference.add(left.rows(begin, end), right.rows(begin, end));
  }
  if (difference.equal()) return {};
  std::string note = a.type == b.type ? "" : a.type + " and " + b.type;
  if (const std::string more = difference.note(); !more.empty()) {
    note += (note.empty() ? "" : "; ") + more;
  }
  return DifferingTensor{name, difference.max_abs(), difference.rel_rms(), note};
}

std::optional<DifferingTensor> compare_tensor(const Pair& models, const std::string& name,
                                              const Side& a, const Side& b) {
  if (same_bytes(a, b)) return {};
  if (a.shape != b.shape) {
    return DifferingTensor{name, kUnknown, kUnknown,
                           "shape " + shape_text(a.shape) + " and " + shape_text(b.shape)};
  }
  if (widens(a) && widens(b)) return compare_values(models, name, a, b);
  if (a.type != b.type) {
    return DifferingTensor{name, kUnknown, kUnknown, "type " + a.type + " and " + b.type};
  }
  return DifferingTensor{name, kUnknown, kUnknown, "other bytes"};
}

void release(const Pair& models, const Side& a, const Side& b, const std::string& name) {
  a.stored != nullptr ? models.a.container().release(*a.stored) : models.a.release(name);
  b.stored != nullptr ? models.b.container().release(*b.stored) : models.b.release(name);
}

double order_of(const DifferingTensor& d) {
  return std::isnan(d.rel_rms) ? std::numeric_limits<double>::infinity() : d.rel_rms;
}

Json json_of(const ModelDifference& d, size_t rows) {
  Json differ = Json::array();
  for (size_t i = 0; i < std::min(rows, d.differ.size()); ++i) {
    differ.push_back({{"tensor", d.differ[i].tensor},
                      {"max_abs", json_number(d.differ[i].max_abs)},
                      {"rel_rms", json_number(d.differ[i].rel_rms)},
                      {"note", d.differ[i].note}});
  }
  return {{"equal", d.equal()}, {"only_a", d.only_a}, {"only_b", d.only_b}, {"differ", differ}};
}

std::string names_text(const char* title, const std::vector<std::string>& names, size_t rows) {
  if (names.empty()) return {};
  std::string out = std::string(title) + " (" + grouped(names.size()) + "):\n";
  for (size_t i = 0; i < std::min(rows, names.size()); ++i)
    out += "  " + printable(names[i]) + "\n";
  if (rows < names.size()) out += "  ... and " + grouped(names.size() - rows) + " more\n";
  return out;
}

std::string page(const ModelDifference& d, size_t rows, int width) {
  if (d.equal()) return "equal\n";
  std::string out =
      names_text("only in A", d.only_a, rows) + names_text("only in B", d.only_b, rows);
  if (d.differ.empty()) return out;
  Table table({{"tensor", Align::kLeft, Shrink::kStart},
               {"max abs", Align::kRight, Shrink::kNever},
               {"rel rms", Align::kRight, Shrink::kNever},
               {"note", Align::kLeft, Shrink::kEnd}});
  for (size_t i = 0; i < std::min(rows, d.differ.size()); ++i) {
    const DifferingTensor& t = d.differ[i];
    table.add({t.tensor, measure_text(t.max_abs), measure_text(t.rel_rms), t.note});
  }
  out += grouped(d.differ.size()) + (d.differ.size() == 1 ? " tensor differs" : " tensors differ") +
         ":\n" + table.text(width, 2);
  if (rows < d.differ.size()) out += "  ... and " + grouped(d.differ.size() - rows) + " more\n";
  return out;
}

}  // namespace

void Difference::add(std::span<const float> a, std::span<const float> b) {
  for (size_t i = 0; i < a.size(); ++i) {
    const double x = a[i], y = b[i];
    reference_ += std::isfinite(x) ? x * x : 0;
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    equal_ = false;
    if (!std::isfinite(x) || !std::isfinite(y)) {
      nan_ = true;
      continue;
    }
    max_ = std::max(max_, std::fabs(x - y));
    squares_ += (x - y) * (x - y);
  }
}

double Difference::max_abs() const {
  return nan_ ? kUnknown : max_;
}

double Difference::rel_rms() const {
  return nan_ ? kUnknown : std::sqrt(squares_ / reference_);
}

std::string Difference::note() const {
  return nan_ ? "NaN or infinity on one side only" : "";
}

ModelDifference compare(const Checkpoint& a, const Checkpoint& b) {
  const Sides left = sides_of(a), right = sides_of(b);
  const Pair models{a, b};
  ModelDifference result;
  for (const auto& [name, side] : left) {
    const auto other = right.find(name);
    if (other == right.end()) {
      result.only_a.push_back(name);
      continue;
    }
    if (auto found = compare_tensor(models, name, side, other->second)) {
      result.differ.push_back(*std::move(found));
    }
    release(models, side, other->second, name);
  }
  for (const auto& [name, side] : right) {
    if (!left.contains(name)) result.only_b.push_back(name);
  }
  std::ranges::stable_sort(result.differ,
                           [](const auto& x, const auto& y) { return order_of(x) > order_of(y); });
  return result;
}

Exit run_diff(App& app, const DiffOptions& options) {
  const auto a = open_tensors(app, options.a), b = open_tensors(app, options.b);
  const ModelDifference difference = compare(*a, *b);
  const size_t rows = options.max_rows ? static_cast<size_t>(*options.max_rows) : SIZE_MAX;
  Console& console = app.console();
  if (app.json()) {
    console.document(json_page(json_of(difference, rows)));
  } else {
    console.text(page(difference, rows, console.width()));
  }
  return Exit::kDone;
}

}  // namespace mopt::cli
