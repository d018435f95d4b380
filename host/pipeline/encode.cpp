#include "host/pipeline/encode.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "host/compute/absmax/absmax.hpp"
#include "host/compute/parallel.hpp"
#include "host/pipeline/errors.hpp"
#include "host/pipeline/failure.hpp"
#include "host/plan/cost.hpp"
#include "host/report/hash.hpp"
#include "mopt/numeric/e4m3.hpp"

namespace mopt::pipeline {

using plan::Item;
using plan::Outcome;

namespace {

// Bytes that are hashed and searched while they are in the cache.
constexpr uint64_t kScanBytes = uint64_t{1} << 20;
// Bytes of a mapped tensor that may be resident at a time while it is only passed through.
constexpr uint64_t kResidentBytes = plan::kWindowBytes;

constexpr const char* kWeightRole = "weight";
constexpr int64_t kScalesPerTask = 1 << 16;
// Of a quantized KV cache; with E4M3 values below a thousandth are lost above it.
constexpr float kLargeKvScale = 0.5f;

// Every scale must be finite and above zero.
void check_scale(const Item& item, const NamedTensor& part) {
  const DLTensor& t = *part.tensor;
  const int64_t n = elements(t);
  const auto bad = [&](int64_t i, float value) {
    if (std::isfinite(value) && value > 0) return;
    fail_at_tensor("M205", item.name,
                   "its " + part.name + " is " + std::to_string(value) + " at element " +
                       std::to_string(i) + ", expected a finite value above zero",
                   "exclude the tensor with a rule, or look at its weights");
  };
  compute::for_each(n, kScalesPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (same(t.dtype, kF32)) bad(i, data<float>(t)[i]);
      if (same(t.dtype, kE4m3)) bad(i, e4m3::decode(data<uint8_t>(t)[i]));
      if (same(t.dtype, kE8m0) && data<uint8_t>(t)[i] == 0xFF) bad(i, NAN);
    }
  });
}

Diagnostic warning(std::string code, const Item& item, std::string message) {
  Diagnostic d;
  d.code = std::move(code);
  d.tensor = item.name;
  d.message = std::move(message);
  d.severity = Severity::kWarning;
  return d;
}

void warn_large(const Item& item, std::span<const NamedTensor> parts, UnitRecord& record) {
  for (const NamedTensor& part : parts) {
    if (part.name != MOPT_ROLE_K_SCALE && part.name != MOPT_ROLE_V_SCALE) continue;
    const float scale = *part.tensor.data<float>();
    if (scale <= kLargeKvScale) continue;
    record.warnings.push_back(
        warning("W110", item,
                "its " + part.name + " is " + std::to_string(scale) +
                    ", expected at most 0.5 for a cache that keeps small values"));
  }
}

bool is_scale(const std::string& role) {
  return role.find("scale") != std::string::npos;
}

// What was made is what was planned, and its scales are usable: everything after this trusts both.
void check_parts(const Item& item, const std::vector<NamedTensor>& parts) {
  bool planned = parts.size() == item.parts.size();
  for (size_t i = 0; planned && i < parts.size(); ++i) {
    const DLTensor& t = *parts[i].tensor;
    planned = TensorDecl{parts[i].name, t.dtype, {t.shape, t.shape + t.ndim}} == item.parts[i];
  }
  if (!planned) {
    throw Error(MOPT_INTERNAL,
                "its format made other tensors than it planned; report it to the plugin's author",
                item.name);
  }
  for (const NamedTensor& part : parts) {
    if (is_scale(part.name)) check_scale(item, part);
  }
}

std::string scheme_text(const plan::Plan& plan, const Item& item) {
  if (item.outcome != Outcome::kQuantized) return item.pruned ? "2:4" : "";
  std::string text = plan.formats[static_cast<size_t>(item.weight)]->id;
  if (item.input != plan::kNoFormat)
    text += "/" + plan.formats[static_cast<size_t>(item.input)]->id;
  return text;
}

// Writes at once; hashed in order, timed.
class WriteNow final : public UnitSink {
 public:
  WriteNow(ContainerWriter& writer, Timeline* timeline, std::string_view unit)
      : writer_(writer), timeline_(timeline), unit_(unit) {}
  void write(const std::string& name, uint64_t offset, std::span<const std::byte> bytes,
             std::shared_ptr<void>) override {
    const Timeline::Scope scope(timeline_, Phase::kWrite, unit_);
    writer_.write(name, offset, bytes);
    hashes_[name].update(bytes);
    written_ += bytes.size();
  }
  std::string hash_of(const std::string& name) { return hashes_[name].hex(); }

 private:
  ContainerWriter& writer_;
  Timeline* timeline_;
  std::string_view unit_;
  std::map<std::string, Xxh128> hashes_;
};

}  // namespace

bool needs_range(const Item& item) {
  const bool computed =
      item.known && (same(item.dtype, kF32) || same(item.dtype, kBf16) || same(item.dtype, kF16));
  return item.outcome == Outcome::kQuantized || item.pruned ||
         (item.outcome == Outcome::kCopied && computed);
}

void not_finite(const Item& item, int64_t index) {
  const std::string place = item.shape.size() == 2
                                ? "[" + std::to_string(index / item.cols()) + ", " +
                                      std::to_string(index % item.cols()) + "]"
                                : "[" + std::to_string(index) + "]";
  fail_at_tensor("M203", item.name, "expected finite weights, found NaN or infinity at " + place,
                 item.outcome == Outcome::kQuantized
                     ? "mend the source, or exclude the tensor with a rule"
                     : "mend the source");
}

std::optional<float> stored_input_scale(std::span<const NamedTensor> parts) {
  for (const NamedTensor& part : parts) {
    if (part.name == MOPT_ROLE_INPUT_SCALE) return *part.tensor.data<float>();
  }
  return std::nullopt;
}

void seal(UnitRecord& record, const std::function<std::string(const std::string&)>& hash_of) {
  Xxh128 all;
  for (LedgerEntry& entry : record.ledger) {
    for (const std::string& output : entry.outputs) {
      entry.outputs_xxh128.push_back(hash_of(output));
      all.update(entry.outputs_xxh128.back());
    }
  }
  record.xxh128 = all.hex();
}

Scan Encoder::scan_item(const Item& item) const {
  const Container& container = tools_.source.container();
  const mopt::StoredTensor& t = *container.find(item.source);
  Scan result;
  Sha256 sha;
  const bool ranged = needs_range(item) && t.plain;
  const uint64_t width = t.dtype.bits / 8;
  uint64_t resident = 0;
  for (uint64_t at = 0; at < t.stored_bytes; at += kScanBytes) {
    const uint64_t n = std::min(kScanBytes, t.stored_bytes - at);
    sha.update({t.data + at, n});
    if (ranged) {
      const auto found = compute::absmax(
          compute::view_of(t.data + at, t.dtype, {static_cast<int64_t>(n / width)}));
      if (found.first_not_finite >= 0)
        not_finite(item, static_cast<int64_t>(at / width) + found.first_not_finite);
      result.absmax = std::max(result.absmax, found.value);
    }
    resident += n;
    if (resident < kResidentBytes) continue;
    container.release(t);
    resident = 0;
  }
  if (needs_range(item) && !t.plain) {
    decode_in_pieces(item, [&](uint64_t offset, const Tensor& piece) {
      const auto found =
          compute::absmax(compute::view_of(piece.data<char>(), t.dtype, {elements(*piece)}));
      if (found.first_not_finite >= 0)
        not_finite(item, static_cast<int64_t>(offset / width) + found.first_not_finite);
      result.absmax = std::max(result.absmax, found.value);
    });
  }
  // Read again when it is encoded, from the page cache: a unit's weights are never all resident.
  container.release(t);
  result.sha256 = sha.hex();
  return result;
}

Scans Encoder::scan(const plan::Unit& unit) {
  const Timeline::Scope scope(tools_.timeline, Phase::kRead, unit.name);
  Scans scans(unit.items.size());
  compute::for_each(static_cast<int64_t>(unit.items.size()), 1, [&](int64_t i, int64_t) {
    const auto at = static_cast<size_t>(i);
    scans[at] = scan_item(tools_.plan.items[unit.items[at]]);
  });
  return scans;
}

// The largest weight of each group whose members share a format.
std::map<std::string, float> Encoder::group_ranges(const plan::Unit& unit,
                                                   const Scans& scans) const {
  std::map<std::string, float> ranges;
  for (size_t i = 0; i < unit.items.size(); ++i) {
    const Item& item = tools_.plan.items[unit.items[i]];
    if (item.fuse_group.empty() || item.kind != MOPT_PARAM_LINEAR) continue;
    float& range = ranges[item.fuse_group];
    range = std::max(range, scans[i].absmax);
  }
  return ranges;
}

void Encoder::copy(const Item& item, UnitSink& out) const {
  const Container& container = tools_.source.container();
  const mopt::StoredTensor& t = *container.find(item.source);
  const std::string& name = item.outputs.at(0).name;
  if (t.plain) {
    for (uint64_t at = 0; at < t.stored_bytes; at += kResidentBytes) {
      out.write(name, at, {t.data + at, std::min(kResidentBytes, t.stored_bytes - at)}, nullptr);
      container.release(t);
    }
    return;
  }
  decode_in_pieces(item, [&](uint64_t offset, const Tensor& piece) {
    out.write(name, offset, {piece.data<std::byte>(), mopt::nbytes(*piece)}, nullptr);
  });
  container.release(t);
}

// A tensor that its container stores in blocks of its own, a few rows at a time in its presented
// type: `fn` gets the byte at which they begin.
void Encoder::decode_in_pieces(const Item& item,
                               const std::function<void(uint64_t, const Tensor&)>& fn) const {
  const Container& container = tools_.source.container();
  const mopt::StoredTensor& t = *container.find(item.source);
  const int64_t rows = std::max<int64_t>(1, item.rows());
  const uint64_t row_bytes = item.bytes() / static_cast<uint64_t>(rows);
  const auto step = static_cast<int64_t>(
      std::max<uint64_t>(1, kResidentBytes / std::max<uint64_t>(1, row_bytes)));
  for (int64_t row = 0; row < rows; row += step) {
    std::vector<int64_t> extents = item.shape;
    if (!extents.empty()) extents[0] = std::min(step, rows - row);
    Tensor piece = allocate(t.dtype, extents);
    container.read(t, row, row + (extents.empty() ? 1 : extents[0]), piece.get());
    fn(static_cast<uint64_t>(row) * row_bytes, piece);
    container.release(t);
  }
}

// The whole tensor, in its presented type: mapped where it is plain, else decoded into `owned`.
TensorRef Encoder::source_tensor(const Item& item, Tensor& owned) const {
  const Container& container = tools_.source.container();
  const mopt::StoredTensor& t = *container.find(item.source);
  if (t.plain) return {t.data, item.dtype, item.shape};
  owned = container.load(t, t.dtype);
  return {owned.data<void>(), item.dtype, item.shape};
}

void Encoder::copy_with_scales(size_t index, const TensorRef& weight, std::shared_ptr<void> keep,
                               const Calibrated& found, UnitRecord& record, UnitSink& out) const {
  const Item& item = tools_.plan.items[index];
  std::vector<NamedTensor> parts;
  // Borrowed: `keep` owns its bytes.
  const std::shared_ptr<std::byte> bytes(std::shared_ptr<void>(), mopt::data<std::byte>(*weight));
  parts.push_back({kWeightRole, tensor_over(bytes, {kDLCPU, 0}, item.dtype, item.shape)});
  add_scales(item, index, found, parts);
  for (size_t i = 1; i < parts.size(); ++i)
    check_scale(item, parts[i]);
  warn_large(item, parts, record);
  put(item, std::move(parts), std::move(keep), out);
}

Tensor Encoder::prune(const Item& item, const TensorRef& weight, const Scan& scan) const {
  const mopt_weight_job job{
      sizeof(mopt_weight_job), 0, str(item.name), weight.get(), scan.absmax, scan.absmax};
  const Tensor mask = tools_.pruner->mask(tools_.source.registry().services().cpu(), job);
  Tensor pruned = allocate(item.dtype, item.shape);
  const uint64_t width = item.dtype.bits / 8;
  const auto* from = mopt::data<std::byte>(*weight);
  auto* to = pruned.data<std::byte>();
  const auto* keep = mask.data<uint8_t>();
  compute::for_each(item.rows(), 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * item.cols(); i < end * item.cols(); ++i) {
      if (keep[i] != 0)
        std::memcpy(to + i * width, from + i * width, width);
      else
        std::memset(to + i * width, 0, width);
    }
  });
  return pruned;
}

void Encoder::add_scales(const Item& item, size_t index, const Calibrated& found,
                         std::vector<NamedTensor>& parts) const {
  const auto scalar = [&](int format, mopt_operand operand, float range) {
    Tensor t = allocate(kF32, {});
    *t.data<float>() =
        tools_.plan.formats[static_cast<size_t>(format)]->quantizer.input_scale(operand, range);
    return t;
  };
  if (const auto range = found.input_range.find(index); range != found.input_range.end()) {
    parts.push_back({MOPT_ROLE_INPUT_SCALE, scalar(item.input, MOPT_OPERAND_INPUT, range->second)});
  }
  if (const auto range = found.kv_range.find(index); range != found.kv_range.end()) {
    parts.push_back({item.role == "attn.k" ? MOPT_ROLE_K_SCALE : MOPT_ROLE_V_SCALE,
                     scalar(item.kv, MOPT_OPERAND_KV, range->second)});
  }
}

void Encoder::put(const Item& item, std::vector<NamedTensor> parts, std::shared_ptr<void> keep,
                  UnitSink& out) const {
  const mopt_exec* exec = tools_.source.registry().services().cpu();
  struct Kept {
    std::shared_ptr<void> source;
    std::vector<NamedTensor> parts, stored;  // what is stored may share the parts' bytes
  };
  const auto kept = std::make_shared<Kept>(Kept{std::move(keep), std::move(parts), {}});
  std::vector<mopt_named_tensor> named;
  for (const NamedTensor& part : kept->parts)
    named.push_back({str(part.name), part.tensor.get()});
  kept->stored = tools_.exporter.put(exec, plan::abi_param(tools_.plan, item), named);
  if (kept->stored.size() != item.outputs.size()) {
    throw Error(MOPT_INTERNAL, "the exporter made other tensors than it planned", item.name);
  }
  for (size_t i = 0; i < kept->stored.size(); ++i) {
    const NamedTensor& stored = kept->stored[i];
    const DLTensor& t = *stored.tensor;
    const TensorDecl made{stored.name, t.dtype, {t.shape, t.shape + t.ndim}};
    if (!(made == item.outputs[i])) {
      throw Error(MOPT_INTERNAL,
                  "planned as " + dtype_name(item.outputs[i].dtype) + " " +
                      shape_text(item.outputs[i].shape) + ", made as " + dtype_name(made.dtype) +
                      " " + shape_text(made.shape),
                  stored.name);
    }
    out.write(stored.name, 0, {mopt::data<std::byte>(t), mopt::nbytes(t)}, kept);
  }
}

void Encoder::store(size_t index, MadeParts made, const Scan& scan, UnitRecord& record,
                    UnitSink& out) const {
  const Item& item = tools_.plan.items[index];
  const bool measured = item.outcome == Outcome::kQuantized;
  Report::Layer layer{item.name,
                      item.role,
                      scheme_text(tools_.plan, item),
                      item.shape,
                      item.bytes(),
                      0,
                      measured ? made.weight_error : kNotMeasured,
                      made.output_error.value_or(kNotMeasured)};
  if (scan.absmax == 0)
    record.warnings.push_back(warning("W102", item, "all of its weights are zero, stored as such"));
  warn_large(item, made.parts, record);
  const uint64_t before = out.written();
  put(item, std::move(made.parts), nullptr, out);
  layer.bytes_after = out.written() - before;
  record.layers.push_back(std::move(layer));
}

void Encoder::finish_parts(size_t index, const Calibrated& found,
                           std::vector<NamedTensor>& parts) const {
  const Item& item = tools_.plan.items[index];
  add_scales(item, index, found, parts);
  check_parts(item, parts);
}

void Encoder::quantize(size_t index, const TensorRef& source, const Scan& scan, float group_absmax,
                       const Calibrated& found, UnitRecord& record, UnitSink& out) const {
  const Item& item = tools_.plan.items[index];
  const mopt_exec* exec = tools_.source.registry().services().cpu();
  Tensor owned;
  TensorRef weight(mopt::data<void>(*source), item.dtype, item.shape);
  if (item.pruned) {
    owned = prune(item, weight, scan);
    weight = TensorRef(owned.data<void>(), item.dtype, item.shape);
  }
  MadeParts made;
  if (item.outcome != Outcome::kQuantized) {
    made.parts.push_back({kWeightRole, std::move(owned)});
    finish_parts(index, found, made.parts);
    return store(index, std::move(made), scan, record, out);
  }
  const plan::Format& format = *tools_.plan.formats[static_cast<size_t>(item.weight)];
  const mopt_weight_job job{
      sizeof(mopt_weight_job), 0, str(item.name), weight.get(), scan.absmax, group_absmax};
  made.parts = format.quantizer.quantize(exec, job);
  finish_parts(index, found, made.parts);
  const QuantizedWeight quantized{tools_.plan, item, exec, made.parts};
  made.weight_error = weight_error(quantized, *weight);
  if (const auto sample = found.sample.find(index); sample != found.sample.end())
    made.output_error =
        output_error(quantized, *weight, **sample->second, stored_input_scale(made.parts));
  store(index, std::move(made), scan, record, out);
}

LedgerEntry Encoder::entry(size_t index, const Scan& scan) const {
  const Item& item = tools_.plan.items[index];
  LedgerEntry entry{item.source, Fate::kCopied, item.rule, {}, scan.sha256, {}};
  if (item.outcome == Outcome::kDropped) {
    entry.fate = Fate::kDropped;
  } else if (item.outcome != Outcome::kCopied) {
    entry.fate = item.outcome == Outcome::kQuantized ? Fate::kQuantized : Fate::kTransformed;
  } else if (!tools_.source.container().find(item.source)->plain) {
    // A tensor that its container stores in blocks of its own is decoded on the way.
    entry.fate = Fate::kTransformed;
    entry.rule = "decode";
  }
  for (const TensorDecl& d : item.outputs)
    entry.outputs.push_back(d.name);
  return entry;
}

UnitRecord Encoder::encode(const plan::Unit& unit, const Scans& scans, const Calibrated& found) {
  const Timeline::Scope scope(tools_.timeline, Phase::kEncode, unit.name);
  UnitRecord record;
  record.unit = unit.name;
  const std::map<std::string, float> groups = group_ranges(unit, scans);
  WriteNow out(tools_.writer, tools_.timeline, unit.name);
  for (size_t i = 0; i < unit.items.size(); ++i) {
    const size_t index = unit.items[i];
    const Item& item = tools_.plan.items[index];
    record.ledger.push_back(entry(index, scans[i]));
    if (item.outcome == Outcome::kDropped) continue;
    if (item.plain_copy()) {
      copy(item, out);
      continue;
    }
    Tensor owned;
    const TensorRef weight = source_tensor(item, owned);
    if (item.outcome == Outcome::kCopied) {
      copy_with_scales(index, weight, nullptr, found, record, out);
    } else {
      const auto group = groups.find(item.fuse_group);
      const float range = group == groups.end() ? scans[i].absmax : group->second;
      quantize(index, weight, scans[i], range, found, record, out);
    }
    tools_.source.release(item.source);
  }
  seal(record, [&](const std::string& tensor) { return out.hash_of(tensor); });
  return record;
}

}  // namespace mopt::pipeline
