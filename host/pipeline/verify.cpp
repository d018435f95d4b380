#include "host/pipeline/verify.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <deque>
#include <fstream>
#include <mutex>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>

#include "host/compute/parallel.hpp"
#include "host/pipeline/stored_bytes.hpp"
#include "host/pipeline/verify_values.hpp"
#include "host/pipeline/verify_weights.hpp"
#include "host/recipe/diagnostic.hpp"
#include "host/report/hash.hpp"

namespace mopt::pipeline {
namespace {

// Bytes that are read, hashed and searched while they are in the cache.
constexpr uint64_t kPieceBytes = PieceBuffer::kBytes;
// Bytes of a tensor that one thread compares with the source's.
constexpr uint64_t kStretchBytes = 64 * kPieceBytes;

constexpr float kLargestCode = 6;        // of e2m1, the one type that has scales of scales
constexpr float kLargestWeight = 65504;  // of float16; no published weight comes near

constexpr const char* kLedger = "mopt/ledger.jsonl";

// A tensor of the output whose bytes are compared with the source's.
struct Comparison {
  enum class Rule { kSame, kKept };  // kKept: or zero
  Comparison(const mopt::StoredTensor& o, const mopt::StoredTensor& t, Rule r)
      : ours(o), theirs(t), rule(r) {}
  const mopt::StoredTensor &ours, &theirs;
  const Rule rule;
  std::atomic<int64_t> first_bad = INT64_MAX;  // element

  // The first element in bytes that begin at `at`.
  void look(uint64_t at, std::span<const std::byte> x, std::span<const std::byte> y) {
    const uint64_t width = std::max(1, ours.dtype.bits / 8);
    int64_t bad = -1;
    if (rule == Rule::kKept) bad = first_not_kept(width, x, y);
    if (rule == Rule::kSame && std::memcmp(x.data(), y.data(), x.size()) != 0) bad = 0;
    if (bad < 0) return;
    bad += static_cast<int64_t>(at / width);
    for (int64_t known = first_bad; bad < known && !first_bad.compare_exchange_weak(known, bad);) {
    }
  }
};

// Something to read: a whole tensor of the output, or a stretch that is compared.
struct Reading {
  uint64_t bytes;
  std::function<void(const PieceBuffer&, const PieceBuffer&)> run;
};

// The longest ones first, so that no thread is left with one when the others are done.
void read_all(std::vector<Reading> readings) {
  std::stable_sort(readings.begin(), readings.end(),
                   [](const Reading& a, const Reading& b) { return a.bytes > b.bytes; });
  std::atomic<size_t> next = 0;
  compute::for_each(compute::thread_count(), 1, [&](int64_t, int64_t) {
    const PieceBuffer a, b;
    for (size_t i = next++; i < readings.size(); i = next++)
      readings[i].run(a, b);
  });
}

// What keeps a checkpoint from being opened.
std::string opening_code(const Diagnostic& d, mopt_code code) {
  if (d.file.ends_with(".index.json")) return "V111";
  if (d.file.ends_with(".json")) return "V106";
  if (code == MOPT_UNSUPPORTED) return "V104";
  return code == MOPT_NOT_FOUND ? "V109" : "V108";
}

class Verifier {
 public:
  explicit Verifier(const VerifyRequest& request) : request_(request) {}

  Report::Verify run() {
    if (open()) {
      read_description();
      read_ledger();
      compare_with_graph();
      compare_with_ledger();
      check_groups();
      take(check_files({*container_, request_.pending, graph_ ? &*graph_ : nullptr, request_.source,
                        request_.depth}));
      judge_engines();
      if (request_.source != nullptr) compare_with_source();
      read_tensors();
      check_ranges();
      if (request_.source != nullptr && request_.depth == Depth::kFull) compare_quantized_weights();
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
  void read_tensors();
  void read_ledger();
  void damaged_ledger(const std::filesystem::path&, int line);
  void compare_with_ledger();
  void not_finite(const mopt::StoredTensor&, int64_t element);
  void bad_value(const mopt::StoredTensor&, const std::string& scale_role, const BadValue&);
  void check_tensor(const mopt::StoredTensor&, const std::string& scale_role, const StoredBytes&,
                    const PieceBuffer&);
  void compare_stretches(std::vector<Reading>&, Comparison&, const StoredBytes& ours,
                         const StoredBytes& theirs) const;
  void judge(const Comparison&);
  void check_groups();
  void check_ranges();
  void compare_quantized_weights();
  void take(std::vector<Diagnostic> problems) {
    std::ranges::move(problems, std::back_inserter(out_.problems));
  }
  void judge_engines();
  void compare_with_source();
  bool same_form(const mopt::StoredTensor& ours, const mopt::StoredTensor& theirs);
  void compare(const mopt::StoredTensor& ours, const mopt::StoredTensor& theirs);
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
  enum class Ledger { kNone, kWhole, kDamaged };
  Ledger ledger_ = Ledger::kNone;
  std::set<std::string> copied_;                          // stored names, as the ledger says
  std::set<std::string> known_;                           // parameters of the graph
  std::unordered_map<std::string, std::string> written_;  // stored name -> its hash in the ledger
  std::set<std::string> transformed_;                     // by source name, as the ledger says
  std::map<const mopt::StoredTensor*, float> largest_;    // of E4M3 scales
  std::deque<Comparison> comparisons_;
};

bool Verifier::open() {
  try {
    container_.emplace(Container::open(request_.registry, request_.directory));
    out_.format = container_->format();
    if (const std::string_view json = document("config.json"); !json.empty()) config_.emplace(json);
    return true;
  } catch (const Error& e) {
    Diagnostic d = model_fault(request_.directory.string(), e);
    d.code = opening_code(d, e.code());
    out_.problems.push_back(std::move(d));
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
  for (const graph::Param& p : graph_->params) {
    known_.insert(p.name);
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
    if (known_.contains(std::string(t.name)) || parts_.contains(std::string(t.name))) continue;
    const bool in_source =
        copied_.contains(std::string(t.name)) ||
        (request_.source != nullptr && request_.source->container().find(t.name) != nullptr);
    const bool table = t.name.ends_with("inv_freq");
    add(in_source || table ? "W108" : "V102", std::string(t.name),
        "neither the model nor its quantization knows this tensor",
        in_source || table ? "" : "remove it, or export again",
        in_source || table ? Severity::kWarning : Severity::kError);
  }
}

// What the run wrote down of its outputs; a checkpoint that no run of ours wrote has no ledger.
void Verifier::read_ledger() {
  const std::filesystem::path file = request_.directory / kLedger;
  std::ifstream in(file, std::ios::binary);
  if (!in) {
    if (std::filesystem::is_directory(file.parent_path())) {
      add("W114", "",
          std::string(kLedger) +
              " is missing: bytes are not compared with those that "
              "were written",
          "", Severity::kWarning);
    }
    return;
  }
  int line = 0, damaged = 0;
  for (std::string text; std::getline(in, text);) {
    ++line;
    const std::optional<LedgerEntry> entry = ledger_entry(text);
    if (!entry) {
      if (++damaged == 1) damaged_ledger(file, line);
      continue;
    }
    if (entry->fate == Fate::kTransformed) transformed_.insert(entry->tensor);
    if (entry->fate == Fate::kCopied) copied_.insert(entry->outputs.begin(), entry->outputs.end());
    for (size_t i = 0; i < entry->outputs.size(); ++i)
      written_[entry->outputs[i]] = entry->outputs_xxh128[i];
  }
  ledger_ = damaged == 0 ? Ledger::kWhole : Ledger::kDamaged;
}

void Verifier::damaged_ledger(const std::filesystem::path& file, int line) {
  Diagnostic d;
  d.code = "V115";
  d.file = file.string();
  d.line = line;
  d.message =
      "expected an object with tensor, fate, rule, outputs, sha256 and outputs_xxh128, "
      "found something else";
  d.remedy = "copy the whole directory again, or export again";
  out_.problems.push_back(std::move(d));
}

// The same tensors, unless another finding names them already.
void Verifier::compare_with_ledger() {
  if (ledger_ == Ledger::kNone) return;
  std::set<std::string> named;
  for (const Diagnostic& d : out_.problems)
    named.insert(d.tensor);
  for (const auto& [name, hash] : written_) {
    if (container_->find(name) != nullptr || named.contains(name)) continue;
    add("V115", name, "the run wrote it, found no such tensor", "copy the checkpoint again");
  }
  if (ledger_ == Ledger::kDamaged) return;
  for (const mopt::StoredTensor& t : container_->tensors()) {
    const std::string name(t.name);
    if (written_.contains(name) || named.contains(name)) continue;
    add("V115", name, "expected a line of it in the ledger, found none",
        "remove the tensor, or export again");
  }
}

// The model's own weights must be numbers; what its adapter does not know may be a mask.
void Verifier::not_finite(const mopt::StoredTensor& t, int64_t element) {
  const std::string name(t.name);
  const bool unknown = graph_ && !known_.contains(name) && !parts_.contains(name);
  add(unknown ? "W116" : "V105", name,
      "element " + std::to_string(element) + " is not a finite number",
      unknown ? "look at the source: it is the same there" : "export again from a sound source",
      unknown ? Severity::kWarning : Severity::kError);
}

void Verifier::bad_value(const mopt::StoredTensor& t, const std::string& scale_role,
                         const BadValue& bad) {
  if (scale_role.empty()) return not_finite(t, bad.element);
  add("V105", std::string(t.name),
      "element " + std::to_string(bad.element) + " of this " + scale_role + " is " +
          std::to_string(bad.value) + ", expected a finite value above zero",
      "export again; engines would compute garbage");
}

// One reading of the bytes: are they those that were written, and does each stand for a number (of
// a scale: above zero)?
void Verifier::check_tensor(const mopt::StoredTensor& t, const std::string& scale_role,
                            const StoredBytes& stored, const PieceBuffer& buffer) {
  const auto written = written_.find(std::string(t.name));
  const bool hashed = written != written_.end();
  const bool ranged = scale_role == MOPT_ROLE_SCALE && t.plain && same(t.dtype, kE4m3);
  bool sound = true;
  float largest = 0;
  Xxh128 hash;
  for (uint64_t at = 0; at < t.stored_bytes && (sound || hashed); at += kPieceBytes) {
    const auto piece = stored.read(t, at, std::min(kPieceBytes, t.stored_bytes - at), buffer);
    if (hashed) hash.update(piece);
    if (ranged) largest = std::max(largest, largest_e4m3(piece));
    if (!sound || !t.plain) continue;
    auto bad =
        scale_role.empty() ? first_not_finite(t.dtype, piece) : first_bad_scale(t.dtype, piece);
    sound = !bad;
    if (bad) bad->element += static_cast<int64_t>(at / (t.dtype.bits / 8));
    if (bad) bad_value(t, scale_role, *bad);
  }
  container_->release(t);
  if (ranged) {
    const std::lock_guard lock(mutex_);
    largest_[&t] = largest;
  }
  if (!hashed || hash.hex() == written->second) return;
  add("V114", std::string(t.name), "its bytes are not those that the run wrote",
      "copy the checkpoint again, or export again");
}

void Verifier::compare_stretches(std::vector<Reading>& readings, Comparison& c,
                                 const StoredBytes& ours, const StoredBytes& theirs) const {
  for (uint64_t begin = 0; begin < c.ours.stored_bytes; begin += kStretchBytes) {
    const uint64_t end = std::min(c.ours.stored_bytes, begin + kStretchBytes);
    readings.push_back({end - begin, [&, begin, end](const PieceBuffer& a, const PieceBuffer& b) {
                          for (uint64_t at = begin; at < end; at += kPieceBytes) {
                            const uint64_t n = std::min(kPieceBytes, end - at);
                            c.look(at, ours.read(c.ours, at, n, a),
                                   theirs.read(c.theirs, at, n, b));
                          }
                          container_->release(c.ours);
                          request_.source->container().release(c.theirs);
                        }});
  }
}

// All bytes are read in one go, by all threads.
void Verifier::read_tensors() {
  const StoredBytes stored(*container_);
  std::optional<StoredBytes> source;
  std::vector<Reading> readings;
  for (const mopt::StoredTensor& t : container_->tensors()) {
    const auto part = parts_.find(std::string(t.name));
    const bool scale =
        part != parts_.end() && part->second.second.find("scale") != std::string::npos;
    const std::string role = scale ? part->second.second : std::string();
    readings.push_back({t.stored_bytes, [&, role](const PieceBuffer& buffer, const PieceBuffer&) {
                          check_tensor(t, role, stored, buffer);
                        }});
  }
  if (!comparisons_.empty()) source.emplace(request_.source->container());
  for (Comparison& c : comparisons_)
    compare_stretches(readings, c, stored, *source);
  read_all(std::move(readings));
  for (const Comparison& c : comparisons_)
    judge(c);
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

// Two scales multiply: the reciprocal of the global one, which another layout stores, is a sound
// number that makes weights of no model.
void Verifier::check_ranges() {
  for (const StoredParam& p : description_.params) {
    const auto global = p.roles.find(MOPT_ROLE_GLOBAL_SCALE), block = p.roles.find(MOPT_ROLE_SCALE);
    if (!p.weight || global == p.roles.end() || block == p.roles.end()) continue;
    const auto largest = largest_.find(container_->find(block->second));
    if (largest == largest_.end()) continue;
    const float peak = largest->second * scalar(global->second) * kLargestCode;
    if (peak > kLargestWeight) {
      add("V105", global->second,
          "with it the weights reach " + std::to_string(peak) +
              ", expected at most 65504; is it the reciprocal?",
          "export again, with the scale as a factor of the codes");
    }
  }
}

void Verifier::compare_quantized_weights() {
  try {
    const auto ours = Checkpoint::open(request_.registry, request_.directory, "none");
    take(compare_weights(*ours, *request_.source));
  } catch (const Failure&) {
    // What cannot be opened as a model was found before.
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

// Of a copied tensor every byte is the source's, of a pruned one every element that is not zero.
void Verifier::compare(const mopt::StoredTensor& ours, const mopt::StoredTensor& theirs) {
  if (!same_form(ours, theirs) || !ours.plain || !theirs.plain) return;
  const bool transformed = transformed_.contains(std::string(theirs.name));
  comparisons_.emplace_back(ours, theirs,
                            transformed ? Comparison::Rule::kKept : Comparison::Rule::kSame);
}

void Verifier::judge(const Comparison& c) {
  if (c.first_bad == INT64_MAX) return;
  const std::string name(c.ours.name);
  if (c.rule == Comparison::Rule::kSame) {
    return add("V113", name, "its bytes differ from the source's",
               "export again, or name the rule that changed it");
  }
  add("V113", name, "element " + std::to_string(c.first_bad) + " is neither the source's nor zero",
      "export again");
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
  for (const mopt::StoredTensor& theirs : request_.source->container().tensors()) {
    const auto quantized = params_.find(std::string(theirs.name));
    if (quantized != params_.end() && quantized->second->weight) {
      compare_quantized(*quantized->second, theirs);
      continue;
    }
    if (const mopt::StoredTensor* ours = container_->find(theirs.name)) {
      compare(*ours, theirs);
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
