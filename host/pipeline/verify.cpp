#include "host/pipeline/verify.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>

#include "host/compute/absmax/absmax.hpp"
#include "host/compute/parallel.hpp"
#include "host/plan/cost.hpp"
#include "host/recipe/diagnostic.hpp"
#include "mopt/numeric/e4m3.hpp"

namespace mopt::pipeline {
namespace {

// Bytes of a mapped tensor looked at before its pages are given back.
constexpr uint64_t kPieceBytes = plan::kWindowBytes;

struct BadScale {
  int64_t index;
  double value;
};

std::optional<BadScale> first_bad_scale(const mopt::StoredTensor& t) {
  const int64_t n = elements(t.shape);
  for (int64_t i = 0; i < n; ++i) {
    float value = 1;
    if (same(t.dtype, kF32)) std::memcpy(&value, t.data + i * 4, 4);
    if (same(t.dtype, kE4m3)) value = e4m3::decode(std::to_integer<uint8_t>(t.data[i]));
    // E8M0's only NaN.
    if (same(t.dtype, kU8) && std::to_integer<uint8_t>(t.data[i]) == 0xFF) value = NAN;
    if (!std::isfinite(value) || value <= 0) return BadScale{i, value};
  }
  return std::nullopt;
}

// Tensors that the run's ledger calls transformed; none without a ledger, or for a line that is
// damaged: they then have to equal the source.
std::set<std::string> transformed_tensors(const std::filesystem::path& directory) {
  std::set<std::string> names;
  std::ifstream in(directory / "mopt/ledger.jsonl", std::ios::binary);
  for (std::string line; std::getline(in, line);) {
    const auto entry = nlohmann::json::parse(line, nullptr, false);
    if (!entry.is_object() || entry.value("fate", nlohmann::json()) != "transformed") continue;
    const auto name = entry.value("tensor", nlohmann::json());
    if (name.is_string()) names.insert(name.get<std::string>());
  }
  return names;
}

// The first element in bytes [begin, end) of `ours` that is neither zero nor that of `theirs`; -1:
// there is none.
int64_t first_not_kept(const mopt::StoredTensor& ours, const mopt::StoredTensor& theirs,
                       uint64_t begin, uint64_t end) {
  const uint64_t width = ours.dtype.bits / 8;
  for (uint64_t at = begin; at < end; at += width) {
    const std::byte* x = ours.data + at;
    if (std::memcmp(x, theirs.data + at, width) == 0) continue;
    if (std::any_of(x, x + width, [](std::byte b) { return b != std::byte{0}; }))
      return static_cast<int64_t>(at / width);
  }
  return -1;
}

// Of a directory without reading the text, which may be large.
bool has_document(const Container& container, const char* name) {
  std::error_code failed;
  if (std::filesystem::is_directory(container.path(), failed))
    return std::filesystem::exists(container.path() / name, failed);
  return !container.document(name).empty();
}

class Verifier {
 public:
  explicit Verifier(const VerifyRequest& request) : request_(request) {}

  Report::Verify run() {
    if (open()) {
      read_description();
      compare_with_graph();
      check_values();
      check_groups();
      check_files();
      judge_engines();
      if (request_.source != nullptr) compare_with_source();
    }
    // Values are checked by many threads: the order of findings must not tell.
    const auto key = [](const Diagnostic& d) {
      return std::tuple(d.severity == Severity::kWarning, std::tie(d.file, d.tensor, d.code));
    };
    std::stable_sort(out_.problems.begin(), out_.problems.end(),
                     [&](const Diagnostic& a, const Diagnostic& b) { return key(a) < key(b); });
    out_.ok = std::none_of(out_.problems.begin(), out_.problems.end(),
                           [](const Diagnostic& d) { return d.severity == Severity::kError; });
    return std::move(out_);
  }

 private:
  void add(std::string code, std::string tensor, std::string message, std::string remedy = {},
           Severity severity = Severity::kError) {
    Diagnostic d;
    d.code = std::move(code);
    d.tensor = std::move(tensor);
    d.message = std::move(message);
    d.remedy = std::move(remedy);
    d.severity = severity;
    const std::lock_guard lock(mutex_);
    out_.problems.push_back(std::move(d));
  }
  std::string_view document(std::string_view name) const {
    const auto pending = request_.pending.find(std::string(name));
    return pending == request_.pending.end() ? container_->document(name) : pending->second;
  }
  bool open();
  void read_description();
  void compare_with_graph();
  void check_values();
  void not_finite(const mopt::StoredTensor&, int64_t element);
  void check_tensor(const mopt::StoredTensor&);
  void check_scale(const std::string& role, const mopt::StoredTensor&);
  void check_groups();
  void check_files();
  void judge_engines();
  void compare_with_source();
  bool same_form(const mopt::StoredTensor& ours, const mopt::StoredTensor& theirs);
  void compare_copied(const mopt::StoredTensor& ours, const mopt::StoredTensor& theirs);
  void compare_pruned(const mopt::StoredTensor& ours, const mopt::StoredTensor& theirs);
  void compare_quantized(const StoredParam&, const mopt::StoredTensor& theirs);
  float scalar(const std::string& tensor) const;

  const VerifyRequest& request_;
  Report::Verify out_;
  std::mutex mutex_;
  std::optional<Container> container_;
  std::optional<graph::ModelConfig> config_;
  std::optional<graph::Model> graph_;
  std::optional<Exporter> layout_;
  ReadResult description_;
  std::map<std::string, const StoredParam*> params_;  // by parameter
  std::map<std::string, std::pair<const StoredParam*, std::string>>
      parts_;  // stored name -> owner, role
};

bool Verifier::open() {
  try {
    container_.emplace(Container::open(request_.registry, request_.directory));
    out_.format = container_->format();
    if (const std::string_view json = document("config.json"); !json.empty()) config_.emplace(json);
    return true;
  } catch (const Error& e) {
    add(e.code() == MOPT_NOT_FOUND ? "V109" : "V108", e.where(), e.what());
    return false;
  }
}

void Verifier::read_description() {
  const std::vector<mopt_tensor_decl> decls = container_->declarations();
  std::string refusals;
  for (const Component& c : request_.registry.components(MOPT_EXPORTER_INTERFACE)) {
    try {
      Exporter exporter(request_.registry, c, {});
      description_ = exporter.read(decls, [&](std::string_view name) { return document(name); });
      layout_.emplace(std::move(exporter));
      break;
    } catch (const Error& e) {
      refusals += (refusals.empty() ? "" : "; ") + std::string(e.what());
    }
  }
  if (!layout_)
    return add("V110", "",
               refusals.empty() ? "no exporter plugin is loaded that reads checkpoints" : refusals);
  for (const CheckpointProblem& p : description_.problems) {
    Diagnostic d;
    d.code = p.code, d.file = p.file, d.tensor = p.tensor, d.message = p.message,
    d.remedy = p.remedy;
    d.severity = p.severity == MOPT_SEVERITY_ERROR ? Severity::kError : Severity::kWarning;
    out_.problems.push_back(std::move(d));
  }
  for (const StoredParam& p : description_.params) {
    params_[p.name] = &p;
    for (const auto& [role, name] : p.roles)
      parts_[name] = {&p, role};
  }
  out_.format = description_.params.empty() ? out_.format : "hf";
}

void Verifier::compare_with_graph() {
  if (!config_) {
    return add("V109", "", "config.json is missing", "copy it from the source", Severity::kError);
  }
  try {
    graph_.emplace(graph::adapt(request_.registry, *container_, *config_, "auto"));
  } catch (const Error& e) {
    const bool unknown = e.code() == MOPT_NOT_FOUND;
    return add(unknown ? "W114" : "V106", "",
               unknown ? std::string("no adapter knows this architecture: names and shapes "
                                     "of its tensors are not checked")
                       : std::string(e.what()),
               "", unknown ? Severity::kWarning : Severity::kError);
  }
  std::set<std::string_view> known;
  for (const graph::Param& p : graph_->params) {
    known.insert(p.name);
    const auto quantized = params_.find(p.name);
    std::vector<int64_t> found;
    if (quantized != params_.end() && quantized->second->weight) {
      found = {quantized->second->rows, quantized->second->cols};
    } else if (const mopt::StoredTensor* t = container_->find(p.name)) {
      found.assign(t->shape.begin(), t->shape.end());
    } else {
      add("V101", p.name, "the model needs it, but it is missing", "export again");
      continue;
    }
    if (found != p.dims) {
      add("V103", p.name,
          "expected shape " + shape_text(p.dims) + " from config.json, found " + shape_text(found),
          "export again, or use the config.json that belongs to it");
    }
  }
  for (const mopt::StoredTensor& t : container_->tensors()) {
    if (known.contains(t.name) || parts_.contains(std::string(t.name))) continue;
    const bool in_source =
        request_.source != nullptr && request_.source->container().find(t.name) != nullptr;
    const bool table = t.name.ends_with("inv_freq");
    add(in_source || table ? "W108" : "V102", std::string(t.name),
        "neither the model nor its quantization knows this tensor",
        in_source || table ? "" : "remove it, or export again",
        in_source || table ? Severity::kWarning : Severity::kError);
  }
}

void Verifier::check_scale(const std::string& role, const mopt::StoredTensor& t) {
  if (!t.plain) return;
  if (const auto bad = first_bad_scale(t)) {
    add("V105", std::string(t.name),
        "element " + std::to_string(bad->index) + " of this " + role + " is " +
            std::to_string(bad->value) + ", expected a finite value above zero",
        "export again; engines would compute garbage");
  }
  container_->release(t);
}

// What was copied is as good as its source.
void Verifier::not_finite(const mopt::StoredTensor& t, int64_t element) {
  const bool copied = request_.source != nullptr && !parts_.contains(std::string(t.name)) &&
                      request_.source->container().find(t.name) != nullptr;
  add(copied ? "W116" : "V105", std::string(t.name),
      "element " + std::to_string(element) + " is not a finite number",
      copied ? "look at the source: it is the same there" : "export again from a sound source",
      copied ? Severity::kWarning : Severity::kError);
}

// Codes and copied tensors: nothing that is no number.
void Verifier::check_tensor(const mopt::StoredTensor& t) {
  const bool wide = same(t.dtype, kF32) || same(t.dtype, kBf16) || same(t.dtype, kF16);
  if (!t.plain || (!wide && !same(t.dtype, kE4m3))) return;
  const uint64_t width = t.dtype.bits / 8;
  for (uint64_t at = 0; at < t.stored_bytes; at += kPieceBytes) {
    const uint64_t n = std::min(kPieceBytes, t.stored_bytes - at);
    int64_t bad = -1;
    if (wide) {
      bad =
          compute::absmax(compute::view_of(t.data + at, t.dtype, {static_cast<int64_t>(n / width)}))
              .first_not_finite;
    } else {
      for (uint64_t i = 0; i < n && bad < 0; ++i) {
        if ((std::to_integer<uint8_t>(t.data[at + i]) & 0x7F) == 0x7F)
          bad = static_cast<int64_t>(i);
      }
    }
    if (bad >= 0) {
      not_finite(t, static_cast<int64_t>(at / width) + bad);
      break;
    }
    container_->release(t);
  }
  container_->release(t);
}

void Verifier::check_values() {
  const auto& tensors = container_->tensors();
  compute::for_each(static_cast<int64_t>(tensors.size()), 1, [&](int64_t i, int64_t) {
    const mopt::StoredTensor& t = tensors[static_cast<size_t>(i)];
    const auto part = parts_.find(std::string(t.name));
    if (part != parts_.end() && part->second.second.find("scale") != std::string::npos) {
      check_scale(part->second.second, t);
    } else {
      check_tensor(t);
    }
  });
}

float Verifier::scalar(const std::string& tensor) const {
  const mopt::StoredTensor* t = container_->find(tensor);
  float value = NAN;
  if (t != nullptr && t->plain && same(t->dtype, kF32) && t->stored_bytes >= 4)
    std::memcpy(&value, t->data, 4);
  return value;
}

// Engines fuse q, k and v (gate and up) and keep one input scale and one global scale for all.
void Verifier::check_groups() {
  if (!graph_) return;
  std::map<std::string, const StoredParam*> first;
  for (const graph::Param& p : graph_->params) {
    if (p.fuse_group.empty()) continue;
    const auto found = params_.find(p.name);
    const StoredParam* mine = found == params_.end() ? nullptr : found->second;
    const auto [at, fresh] = first.emplace(p.fuse_group, mine);
    const StoredParam* other = at->second;
    if (fresh) continue;
    const bool quantized = mine != nullptr && mine->weight,
               other_quantized = other != nullptr && other->weight;
    if (quantized != other_quantized ||
        (quantized && !(scheme_of(*mine->weight) == scheme_of(*other->weight)))) {
      add("V107", p.name,
          "its format differs from the other members of " + p.fuse_group + ", which engines merge",
          "give the whole group one format");
      continue;
    }
    if (!quantized) continue;
    for (const char* role : {MOPT_ROLE_GLOBAL_SCALE, MOPT_ROLE_INPUT_SCALE}) {
      const auto a = mine->roles.find(role), b = other->roles.find(role);
      if (a == mine->roles.end() || b == other->roles.end()) continue;
      const float x = scalar(a->second), y = scalar(b->second);
      if (x == y) continue;
      add("V107", a->second,
          "it is " + std::to_string(x) + ", but " + b->second +
              ", with which engines merge it, is " + std::to_string(y),
          "export again: members of a group share this scale");
    }
  }
}

void Verifier::check_files() {
  if (request_.source == nullptr) return;
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "generation_config.json",
        "special_tokens_map.json", "chat_template.jinja", "vocab.json", "merges.txt"}) {
    if (has_document(request_.source->container(), name) && !request_.pending.contains(name) &&
        !has_document(*container_, name)) {
      add("V109", "", std::string(name) + " of the source is missing", "copy it from the source");
    }
  }
}

void Verifier::judge_engines() {
  if (!layout_) return;
  std::vector<mopt_param> params;
  std::vector<StoredParam> plain;
  plain.reserve(container_->tensors().size());
  const mopt_scheme* kv = nullptr;
  for (const StoredParam& p : description_.params) {
    params.push_back(p.to_abi());
    if (p.kv) kv = &*p.kv;
  }
  for (const mopt::StoredTensor& t : container_->tensors()) {
    if (parts_.contains(std::string(t.name))) continue;
    StoredParam p;
    p.name = t.name;
    p.kind = t.shape.size() != 2                              ? MOPT_PARAM_OTHER
             : t.name.find("embed") != std::string_view::npos ? MOPT_PARAM_EMBEDDING
                                                              : MOPT_PARAM_LINEAR;
    plain.push_back(std::move(p));
    params.push_back(plain.back().to_abi());
  }
  const mopt_export job{
      sizeof(mopt_export), 0, str(document("config.json")), params.data(), params.size(), kv, 0, 0};
  out_.engines = layout_->engines(job);
  for (const EngineVerdict& v : out_.engines) {
    if (v.verdict != "refuses") continue;
    const bool asked = std::find(request_.engines.begin(), request_.engines.end(), v.engine) !=
                       request_.engines.end();
    if (asked)
      add("V112", "", v.engine + " would refuse it: " + v.reason, "choose a recipe that it takes");
  }
}

bool Verifier::same_form(const mopt::StoredTensor& ours, const mopt::StoredTensor& theirs) {
  if (same(ours.dtype, theirs.dtype) &&
      std::equal(ours.shape.begin(), ours.shape.end(), theirs.shape.begin(), theirs.shape.end())) {
    return true;
  }
  add("V113", std::string(ours.name),
      "expected " + dtype_name(theirs.dtype) + " " + shape_text(theirs.shape) +
          " as in the source, found " + dtype_name(ours.dtype) + " " + shape_text(ours.shape),
      "export again");
  return false;
}

// Of a pruned tensor every element is the source's or zero.
void Verifier::compare_pruned(const mopt::StoredTensor& ours, const mopt::StoredTensor& theirs) {
  if (!same_form(ours, theirs) || !ours.plain || !theirs.plain) return;
  const Container& source = request_.source->container();
  int64_t bad = -1;
  for (uint64_t at = 0; at < ours.stored_bytes && bad < 0; at += kPieceBytes) {
    bad = first_not_kept(ours, theirs, at, std::min(ours.stored_bytes, at + kPieceBytes));
    container_->release(ours);
    source.release(theirs);
  }
  if (bad < 0) return;
  add("V113", std::string(ours.name),
      "element " + std::to_string(bad) + " is neither the source's nor zero", "export again");
}

void Verifier::compare_copied(const mopt::StoredTensor& ours, const mopt::StoredTensor& theirs) {
  if (!same_form(ours, theirs)) return;
  if (!ours.plain || !theirs.plain) return;
  for (uint64_t at = 0; at < ours.stored_bytes; at += kPieceBytes) {
    const uint64_t n = std::min(kPieceBytes, ours.stored_bytes - at);
    if (std::memcmp(ours.data + at, theirs.data + at, n) != 0) {
      add("V113", std::string(ours.name), "its bytes differ from the source's",
          "export again, or name the rule that changed it");
      break;
    }
    container_->release(ours);
    request_.source->container().release(theirs);
  }
  container_->release(ours);
  request_.source->container().release(theirs);
}

void Verifier::compare_quantized(const StoredParam& p, const mopt::StoredTensor& theirs) {
  const std::vector<int64_t> shape{p.rows, p.cols};
  if (!std::equal(shape.begin(), shape.end(), theirs.shape.begin(), theirs.shape.end())) {
    add("V103", p.name,
        "expected shape " + shape_text(theirs.shape) + " as in the source, found " +
            shape_text(shape),
        "export again");
  }
}

void Verifier::compare_with_source() {
  const std::set<std::string> transformed = transformed_tensors(request_.directory);
  for (const mopt::StoredTensor& theirs : request_.source->container().tensors()) {
    const auto quantized = params_.find(std::string(theirs.name));
    if (quantized != params_.end() && quantized->second->weight) {
      compare_quantized(*quantized->second, theirs);
      continue;
    }
    if (const mopt::StoredTensor* ours = container_->find(theirs.name)) {
      if (transformed.contains(std::string(theirs.name))) {
        compare_pruned(*ours, theirs);
      } else {
        compare_copied(*ours, theirs);
      }
      continue;
    }
    const bool dropped_by_rule =
        theirs.name == "rope_freqs.weight" || theirs.name == "lm_head.weight";
    if (!dropped_by_rule)
      add("V101", std::string(theirs.name), "the source holds it, but it is missing here",
          "export again");
  }
}

}  // namespace

Report::Verify verify(const VerifyRequest& request) {
  return Verifier(request).run();
}

}  // namespace mopt::pipeline
