#include "host/pipeline/verify_weights.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "host/compute/absmax/absmax.hpp"
#include "host/compute/parallel.hpp"
#include "mopt/numeric/bf16.hpp"

namespace mopt::pipeline {
namespace {

// Calibrators choose scales that are better on data and up to twice as far from the weights (GPTQ,
// clipping); a wrong scale, order or row is further away.
constexpr double kTimesFresh = 3;
// Smoothed layers (AWQ, SmoothQuant) are quantized after their columns were scaled.
constexpr double kTimesFreshSmoothed = 6;
constexpr double kSlack = 0.01;
// Of a single row, whose error scatters more.
constexpr double kRowError = 0.5;

struct Sums {
  double ours = 0, fresh = 0, weight = 0;  // squares: Q - W, D - W, W
  bool empty = true;                       // every element of ours is zero
  double ours_error() const { return error(ours); }
  double fresh_error() const { return error(fresh); }

 private:
  double error(double sum) const {
    if (weight > 0) return std::sqrt(sum / weight);
    return sum > 0 ? INFINITY : 0;
  }
};

// bf16 [rows, cols] each: the source, ours, and the source quantized anew.
struct Matrices {
  const uint16_t *weight, *ours, *fresh;
  int64_t rows, cols;
};

bool is_zero(uint16_t x) {
  return (x & 0x7FFF) == 0;
}

// 2:4 sparse throughout: what was pruned away is no error.
bool is_pruned(const Matrices& m) {
  if (m.cols % 4 != 0) return false;
  for (int64_t i = 0; i < m.rows * m.cols; i += 4) {
    if (std::count_if(m.ours + i, m.ours + i + 4, is_zero) < 2) return false;
  }
  return true;
}

enum class Zeros { kCount, kSkip };

Sums row_sums(const Matrices& m, int64_t row, Zeros zeros) {
  Sums s;
  for (int64_t i = row * m.cols; i < (row + 1) * m.cols; ++i) {
    if (!is_zero(m.ours[i])) s.empty = false;
    if (zeros == Zeros::kSkip && is_zero(m.ours[i])) continue;
    const double w = bf16::decode(m.weight[i]), q = bf16::decode(m.ours[i]) - w,
                 d = bf16::decode(m.fresh[i]) - w;
    s.ours += q * q, s.fresh += d * d, s.weight += w * w;
  }
  return s;
}

std::string percent(double error) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g %%", 100 * error);
  return text;
}

// What is wrong with the weight; nothing when it is sound.
std::optional<std::string> judge(const Matrices& m, double times) {
  const Zeros zeros = is_pruned(m) ? Zeros::kSkip : Zeros::kCount;
  std::vector<Sums> rows(static_cast<size_t>(m.rows));
  compute::for_each(m.rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      rows[static_cast<size_t>(row)] = row_sums(m, row, zeros);
  });
  Sums all;
  for (const Sums& s : rows)
    all.ours += s.ours, all.fresh += s.fresh, all.weight += s.weight;
  if (all.ours_error() > times * all.fresh_error() + kSlack) {
    return "it is " + percent(all.ours_error()) +
           " away from the source's weights, its format makes " + percent(all.fresh_error());
  }
  for (int64_t row = 0; row < m.rows; ++row) {
    const Sums& s = rows[static_cast<size_t>(row)];
    const bool lost =
        s.empty && !std::all_of(m.fresh + row * m.cols, m.fresh + (row + 1) * m.cols, is_zero);
    if (lost) return "row " + std::to_string(row) + " is all zero, the source's is not";
    if (s.ours_error() > kRowError && s.ours_error() > times * s.fresh_error()) {
      return "row " + std::to_string(row) + " is " + percent(s.ours_error()) +
             " away from the source's, its format makes " + percent(s.fresh_error());
    }
  }
  return std::nullopt;
}

// The source's weight through a quantizer of the same scheme, bf16.
Tensor quantized_anew(const Checkpoint& source, const StoredParam& p, const compute::View& weight) {
  const Registry& registry = source.registry();
  const mopt_exec* exec = registry.services().cpu();
  const std::optional<Quantizer> quantizer = Quantizer::open(registry, *p.weight);
  if (!quantizer) throw Error(MOPT_UNSUPPORTED, "no loaded quantizer knows its format", p.name);
  const float range = compute::absmax(weight).value;
  const TensorRef w(const_cast<void*>(weight.data), kBf16, {p.rows, p.cols});
  const std::vector<NamedTensor> parts =
      quantizer->quantize(exec, {sizeof(mopt_weight_job), 0, str(p.name), w.get(), range, range});
  std::vector<mopt_named_tensor> named;
  for (const NamedTensor& part : parts)
    named.push_back({str(part.name), part.tensor.get()});
  const mopt_qtensor q{
      sizeof(mopt_qtensor), static_cast<uint32_t>(named.size()), str(p.name), p.rows, p.cols,
      named.data()};
  Tensor out = allocate(kBf16, {p.rows, p.cols});
  quantizer->dequantize(exec, q, out.get());
  return out;
}

std::optional<std::string> fault_of(const Checkpoint& ours, const Checkpoint& source,
                                    const StoredParam& p) {
  const mopt::StoredTensor* theirs = source.container().find(p.name);
  const std::vector<int64_t> shape{p.rows, p.cols};
  if (!p.weight || theirs == nullptr || !std::ranges::equal(theirs->shape, shape))
    return std::nullopt;
  const ParamData weight = source.load(p.name, kBf16), stored = ours.load(p.name, kBf16);
  const Tensor fresh = quantized_anew(source, p, weight.view);
  const Matrices m{weight.view.as<uint16_t>(), stored.view.as<uint16_t>(), fresh.data<uint16_t>(),
                   p.rows, p.cols};
  return judge(m, p.roles.contains("pre_quant_scale") ? kTimesFreshSmoothed : kTimesFresh);
}

}  // namespace

std::vector<Diagnostic> compare_weights(const Checkpoint& ours, const Checkpoint& source) {
  std::vector<Diagnostic> out;
  for (const StoredParam& p : ours.description().params) {
    Diagnostic d;
    d.tensor = p.name;
    try {
      const auto fault = fault_of(ours, source, p);
      source.release(p.name);
      for (const auto& [role, name] : p.roles)
        ours.release(name);
      if (!fault) continue;
      d.code = "V113";
      d.message = *fault;
      d.remedy = "export again, or name the source that it was made from";
    } catch (const Error& e) {
      d.code = "W114";
      d.message = std::string("not compared with the source: ") + e.what();
      d.severity = Severity::kWarning;
    } catch (const Failure& f) {
      d.code = "W114";
      d.message = "not compared with the source: " + f.diagnostics().front().message;
      d.severity = Severity::kWarning;
    }
    out.push_back(std::move(d));
  }
  return out;
}

}  // namespace mopt::pipeline
