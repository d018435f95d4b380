#include "host/pipeline/journal.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace mopt::pipeline {
namespace {

using Json = nlohmann::json;

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json();
}
double number(const Json& value) {
  return value.is_number() ? value.get<double>() : kNotMeasured;
}

Json to_json(const UnitRecord& r) {
  Json layers = Json::array(), ledger = Json::array(), warnings = Json::array();
  for (const Report::Layer& l : r.layers) {
    layers.push_back({l.name, l.role, l.scheme, l.shape, l.bytes_before, l.bytes_after,
                      number(l.weight_error), number(l.output_error)});
  }
  for (const LedgerEntry& e : r.ledger) {
    ledger.push_back(
        {e.tensor, static_cast<int>(e.fate), e.rule, e.outputs, e.sha256, e.outputs_xxh128});
  }
  for (const Diagnostic& d : r.warnings)
    warnings.push_back({d.code, d.tensor, d.message, d.remedy});
  return {{"unit", r.unit},
          {"xxh128", r.xxh128},
          {"layers", layers},
          {"ledger", ledger},
          {"warnings", warnings}};
}

Fate fate_of(int number) {
  for (const Fate fate : {Fate::kQuantized, Fate::kCopied, Fate::kTransformed, Fate::kDropped}) {
    if (number == static_cast<int>(fate)) return fate;
  }
  throw Json::out_of_range::create(401, "no such fate", nullptr);
}

UnitRecord from_json(const Json& j) {
  UnitRecord r;
  r.unit = j.at("unit");
  r.xxh128 = j.at("xxh128");
  for (const Json& l : j.at("layers")) {
    r.layers.push_back({l.at(0), l.at(1), l.at(2), l.at(3).get<std::vector<int64_t>>(), l.at(4),
                        l.at(5), number(l.at(6)), number(l.at(7))});
  }
  for (const Json& e : j.at("ledger")) {
    r.ledger.push_back({e.at(0), fate_of(e.at(1).get<int>()), e.at(2),
                        e.at(3).get<std::vector<std::string>>(), e.at(4),
                        e.at(5).get<std::vector<std::string>>()});
  }
  for (const Json& d : j.at("warnings")) {
    Diagnostic w;
    w.code = d.at(0), w.tensor = d.at(1), w.message = d.at(2), w.remedy = d.at(3);
    w.severity = Severity::kWarning;
    r.warnings.push_back(std::move(w));
  }
  return r;
}

// Complete lines only.
std::vector<std::string> lines_of(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  std::vector<std::string> lines;
  for (size_t begin = 0;;) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) return lines;
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
}

[[noreturn]] void damaged(const std::filesystem::path& file) {
  Diagnostic d;
  d.code = "J102";
  d.file = file.string();
  d.message = "the journal of the unfinished run is damaged";
  d.remedy = "start again with --restart";
  throw Failure(d);
}

std::string differences(const Fingerprint& then, const Fingerprint& now) {
  std::string names;
  const auto add = [&](const std::string& name) { names += (names.empty() ? "" : ", ") + name; };
  for (const auto& [name, hash] : now) {
    const auto old = then.find(name);
    if (old == then.end() || old->second != hash) add(name);
  }
  for (const auto& [name, hash] : then) {
    if (!now.contains(name)) add(name);
  }
  return names;
}

}  // namespace

Journal::Closer::~Closer() {
  if (fd >= 0) close(fd);
}

void Journal::open(const std::filesystem::path& file) {
  path_ = file;
  file_ = Closer(::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (file_.fd < 0) throw Error(MOPT_IO, "the journal cannot be written", file.string());
}

void Journal::write_line(const std::string& line) {
  const std::string text = line + "\n";
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = write(file_.fd, text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      throw Error(MOPT_IO, "the journal cannot be written; is the disk full?", path_.string());
    at += static_cast<size_t>(n);
  }
  if (fdatasync(file_.fd) != 0) {
    throw Error(MOPT_IO, "the journal cannot be written; is the disk full?", path_.string());
  }
}

Journal::Journal(const std::filesystem::path& file, std::shared_future<Fingerprint> fingerprint)
    : beginning_(std::move(fingerprint)) {
  std::filesystem::remove(file);
  open(file);
}

void Journal::begin() {
  if (!beginning_.valid()) return;
  write_line(Json(beginning_.get()).dump());
  beginning_ = {};
}

bool Journal::usable(const std::filesystem::path& file) {
  return !lines_of(file).empty();
}

Journal Journal::resume(const std::filesystem::path& file, const Fingerprint& now) {
  const std::vector<std::string> lines = lines_of(file);
  Journal journal;
  uint64_t bytes = 0;
  try {
    if (lines.empty()) damaged(file);
    const auto then = Json::parse(lines[0]).get<Fingerprint>();
    if (const std::string changed = differences(then, now); !changed.empty()) {
      Diagnostic d;
      d.code = "J101";
      d.file = file.parent_path().parent_path().string();
      d.message = "since the run was interrupted this changed: " + changed;
      d.remedy = "bring it back, or start again with --restart";
      throw Failure(d);
    }
    for (size_t i = 1; i < lines.size(); ++i)
      journal.finished_.push_back(from_json(Json::parse(lines[i])));
    for (const std::string& line : lines)
      bytes += line.size() + 1;
  } catch (const Json::exception&) {
    damaged(file);
  }
  // A line that was cut off must not grow into the next one.
  std::filesystem::resize_file(file, bytes);
  journal.open(file);
  return journal;
}

bool Journal::has(const std::string& unit) const {
  return std::any_of(finished_.begin(), finished_.end(),
                     [&](const UnitRecord& r) { return r.unit == unit; });
}

void Journal::append(UnitRecord record) {
  begin();
  write_line(to_json(record).dump(-1, ' ', false, Json::error_handler_t::replace));
  finished_.push_back(std::move(record));
}

}  // namespace mopt::pipeline
