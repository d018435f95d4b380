#include "host/report/report.hpp"

#include <algorithm>
#include <iterator>

#include "host/report/json.hpp"

namespace mopt {
namespace {

constexpr Fate kFates[] = {Fate::kQuantized, Fate::kCopied, Fate::kTransformed, Fate::kDropped};

Json bytes_or_null(std::optional<uint64_t> bytes) {
  return bytes ? Json(*bytes) : Json(nullptr);
}

Json of(const Report::Program& p) {
  return {{"version", p.version}, {"abi", p.abi}, {"commit", p.commit}};
}

Json of(const Report::Model& m) {
  return {{"path", m.path},
          {"adapter", m.adapter},
          {"architecture", m.architecture},
          {"parameters", m.parameters},
          {"bytes", m.bytes}};
}

Json of(const Report::Machine& m) {
  return {{"cpu", m.cpu}, {"cores", m.cores}, {"device", m.device}, {"driver", m.driver}};
}

Json of(const Report::Calibration& c) {
  return {{"source", c.source}, {"rows", c.rows}, {"tokens", c.tokens}, {"sha256", c.sha256}};
}

Json of(const Report::Output& o) {
  return {{"path", o.path},
          {"bytes", o.bytes},
          {"tensors", o.tensors},
          {"bits_per_weight", json_number(o.bits_per_weight)}};
}

Json of(const Report::Seconds& s) {
  return {{"total", json_number(s.total)},     {"read", json_number(s.read)},
          {"forward", json_number(s.forward)}, {"solve", json_number(s.solve)},
          {"encode", json_number(s.encode)},   {"write", json_number(s.write)},
          {"verify", json_number(s.verify)},   {"eval", json_number(s.eval)}};
}

Json of(const Report::Timeline::Span& s) {
  Json json = Json::object();
  if (!s.unit.empty()) json["unit"] = s.unit;
  if (!s.to.empty()) json["to"] = s.to;
  if (!s.wait.empty()) json["for"] = s.wait;
  json["begin"] = json_number(s.begin);
  json["end"] = json_number(s.end);
  json["busy"] = json_number(s.busy);
  return json;
}

Json of(const Report::Resting& a) {
  return {{"batch_tokens", a.batch_tokens},
          {"on_device", a.on_device},
          {"pinned", a.pinned},
          {"on_disk", a.on_disk}};
}

Json of(const Report::Memory& m) {
  return {{"peak_bytes", m.peak_bytes},
          {"limit_bytes", bytes_or_null(m.limit_bytes)},
          {"device_peak_bytes", bytes_or_null(m.device_peak_bytes)},
          {"activations", m.activations ? of(*m.activations) : Json(nullptr)}};
}

Json of(const Report::Layer& l) {
  return {{"name", l.name},
          {"role", l.role},
          {"scheme", l.scheme},
          {"shape", l.shape},
          {"bytes_before", l.bytes_before},
          {"bytes_after", l.bytes_after},
          {"weight_error", json_number(l.weight_error)},
          {"output_error", json_number(l.output_error)}};
}

Json of(const Report::Kept& k) {
  return {{"tensor", k.tensor}, {"reason", k.reason}};
}

Json of(const Report::Expert& e) {
  return {{"layer", e.layer}, {"expert", e.expert}, {"tokens", e.tokens}};
}

Json of(const EngineVerdict& e) {
  return {{"name", e.engine}, {"verdict", e.verdict}, {"reason", e.reason}};
}

Json of(const Diagnostic& d) {
  return json_problem(d);
}

Json of(const Report::Eval& e) {
  return {{"id", e.id},
          {"kind", e.kind},
          {"data", e.data},
          {"tokens", e.tokens},
          {"nll", json_number(e.nll)},
          {"perplexity", json_number(e.perplexity)},
          {"reference_perplexity", json_number(e.reference_perplexity)},
          {"ratio", json_number(e.ratio)},
          {"max_ratio", json_number(e.max_ratio)},
          {"passed", e.passed ? Json(*e.passed) : Json(nullptr)}};
}

template <class T>
Json list_of(const std::vector<T>& items) {
  Json list = Json::array();
  for (const T& item : items)
    list.push_back(of(item));
  return list;
}

Json of(const Report::Verify& v) {
  return {{"ok", v.ok},
          {"format", v.format},
          {"engines", list_of(v.engines)},
          {"problems", list_of(v.problems)}};
}

Json of(const Report::Timeline& t) {
  Json busy = Json::object(), lanes = Json::array();
  for (const Report::Timeline::Lane& lane : t.lanes) {
    busy[lane.name] = json_number(lane.busy);
    lanes.push_back({{"lane", lane.name}, {"spans", list_of(lane.spans)}});
  }
  busy["device"] = json_number(t.device_busy);
  return {{"text", t.text},
          {"loop", {{"begin", json_number(t.loop_begin)}, {"end", json_number(t.loop_end)}}},
          {"waited",
           {{"read", json_number(t.waited.read)},
            {"device", json_number(t.waited.device)},
            {"write", json_number(t.waited.write)}}},
          {"busy", busy},
          {"lanes", lanes}};
}

}  // namespace

std::string to_json(const Report& r) {
  Json json;
  json["schema"] = 1;
  json["mopt"] = of(r.mopt);
  json["recipe"] = r.recipe;
  json["command"] = r.command;
  json["model"] = of(r.model);
  json["machine"] = of(r.machine);
  json["calibration"] = r.calibration ? of(*r.calibration) : Json(nullptr);
  json["output"] = of(r.output);
  json["seconds"] = of(r.seconds);
  json["memory"] = of(r.memory);
  json["layers"] = list_of(r.layers);
  json["kept"] = list_of(r.kept);
  json["experts"] = list_of(r.experts);
  json["warnings"] = list_of(r.warnings);
  json["verify"] = r.verify ? of(*r.verify) : Json(nullptr);
  json["eval"] = list_of(r.eval);
  json["timeline"] = of(r.timeline);
  return json_page(json);
}

std::string_view fate_name(Fate fate) {
  switch (fate) {
    case Fate::kQuantized:
      return "quantized";
    case Fate::kCopied:
      return "copied";
    case Fate::kTransformed:
      return "transformed";
    case Fate::kDropped:
      return "dropped";
  }
  return {};
}

std::string to_json_line(const LedgerEntry& e) {
  const Json json = {{"tensor", e.tensor}, {"fate", fate_name(e.fate)},
                     {"rule", e.rule},     {"outputs", e.outputs},
                     {"sha256", e.sha256}, {"outputs_xxh128", e.outputs_xxh128}};
  return json_text(json) + "\n";
}

std::optional<LedgerEntry> ledger_entry(std::string_view json_line) {
  try {
    const Json json = Json::parse(json_line);
    LedgerEntry e{json.at("tensor"), Fate::kCopied,
                  json.at("rule"),   json.at("outputs").get<std::vector<std::string>>(),
                  json.at("sha256"), json.at("outputs_xxh128").get<std::vector<std::string>>()};
    const auto fate = std::ranges::find(kFates, json.at("fate").get<std::string>(), fate_name);
    if (fate == std::end(kFates) || e.outputs.size() != e.outputs_xxh128.size()) return {};
    e.fate = *fate;
    return e;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

}  // namespace mopt
