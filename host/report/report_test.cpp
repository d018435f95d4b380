#include "host/report/report.hpp"

#include <doctest/doctest.h>

#include "host/report/json.hpp"

using namespace mopt;

namespace {

std::vector<std::string> keys(const Json& object) {
  std::vector<std::string> names;
  for (const auto& item : object.items())
    names.push_back(item.key());
  return names;
}

// The object in the contract's words: {"a", "b":{"c","d"}} -> a b.c b.d; arrays by their element.
std::string outline(const Json& json, const std::string& prefix = {}) {
  std::string text;
  for (const auto& [key, value] : json.items()) {
    const Json& inner = value.is_array() && !value.empty() ? value.front() : value;
    text += inner.is_object() ? outline(inner, prefix + key + ".") : prefix + key + " ";
  }
  return text;
}

Report full_report() {
  Report r;
  r.mopt = {"0.1.0", 0, "abc123"};
  r.memory.activations = Report::Resting{8192, 3, 12, 1};
  r.calibration = Report::Calibration{"self", 512, 262144, "00ff"};
  r.layers = {{"model.layers.0.mlp.up_proj",
               "mlp.up",
               "nvfp4",
               {1536, 576},
               1769472,
               497664,
               0.0912345678,
               kNotMeasured}};
  r.kept = {{"lm_head.weight", "no rule matches"}};
  r.experts = {{3, 7, 0}};
  r.warnings = {{"W101", "", 0, 0, "", "vllm refuses", "", Severity::kWarning}};
  r.timeline.text = "limited by reading";
  r.timeline.lanes = {{"read", 1.5, {{"layers.0", "", "", 0.5, 2, 1.25}}},
                      {"wait", 1, {{"layers.0", "layers.1", "read", 1, 2, 1}}}};
  return r;
}

}  // namespace

TEST_CASE("report.json has the keys of the contract, in its order") {
  const Json json = Json::parse(to_json(full_report()));
  CHECK(outline(json) ==
        "schema mopt.version mopt.abi mopt.commit recipe command model.path model.adapter "
        "model.architecture model.parameters model.bytes machine.cpu machine.cores machine.device "
        "machine.driver calibration.source calibration.rows calibration.tokens calibration.sha256 "
        "output.path output.bytes output.tensors output.bits_per_weight seconds.total seconds.read "
        "seconds.forward seconds.solve seconds.encode seconds.write seconds.verify seconds.eval "
        "memory.peak_bytes memory.limit_bytes memory.device_peak_bytes "
        "memory.activations.batch_tokens "
        "memory.activations.on_device memory.activations.pinned memory.activations.on_disk "
        "layers.name layers.role layers.scheme layers.shape layers.bytes_before layers.bytes_after "
        "layers.weight_error "
        "layers.output_error kept.tensor kept.reason experts.layer experts.expert experts.tokens "
        "warnings.code warnings.message verify eval "
        "timeline.text timeline.loop.begin timeline.loop.end timeline.waited.read "
        "timeline.waited.device timeline.waited.write timeline.busy.read timeline.busy.wait "
        "timeline.busy.device timeline.lanes.lane timeline.lanes.spans.unit "
        "timeline.lanes.spans.begin timeline.lanes.spans.end timeline.lanes.spans.busy ");
}

TEST_CASE("report.json: a span says whose work it was, and what a wait was for") {
  const Json lanes = Json::parse(to_json(full_report()))["timeline"]["lanes"];
  CHECK(lanes[0]["spans"][0].dump() == R"({"unit":"layers.0","begin":0.5,"end":2.0,"busy":1.25})");
  CHECK(lanes[1]["spans"][0]["to"] == "layers.1");
  CHECK(lanes[1]["spans"][0]["for"] == "read");
}

TEST_CASE("report.json: what was not measured or is not there is null") {
  const Json json = Json::parse(to_json(full_report()));
  CHECK(json["layers"][0]["output_error"].is_null());
  CHECK(json["output"]["bits_per_weight"].is_null());
  CHECK(json["memory"]["limit_bytes"].is_null());
  CHECK(json["memory"]["activations"]["pinned"] == 12);
  CHECK(Json::parse(to_json(Report{}))["memory"]["activations"].is_null());
  CHECK(json["verify"].is_null());
  CHECK(Json::parse(to_json(Report{}))["calibration"].is_null());
}

TEST_CASE("report.json: measurements have six significant digits, counts all of theirs") {
  Report r = full_report();
  r.model.parameters = 18446744073709551615u;
  const std::string text = to_json(r);
  CHECK(text.find("\"weight_error\":0.0912346,") != std::string::npos);
  CHECK(text.find("18446744073709551615") != std::string::npos);
}

TEST_CASE("report.json: a name that is not UTF-8 does not spoil the document") {
  Report r = full_report();
  r.layers[0].name = "bad\xff\"name\n";
  const Json json = Json::parse(to_json(r));
  CHECK(json["layers"][0]["name"] == "bad\uFFFD\"name\n");
}

TEST_CASE("a ledger entry is one line with the keys of the contract") {
  const std::string line =
      to_json_line({"a\nb", Fate::kTransformed, "linears", {"x", "y"}, "00ff", {"1", "2"}});
  CHECK(line ==
        "{\"tensor\":\"a\\nb\",\"fate\":\"transformed\",\"rule\":\"linears\","
        "\"outputs\":[\"x\",\"y\"],\"sha256\":\"00ff\",\"outputs_xxh128\":[\"1\",\"2\"]}\n");
}

TEST_CASE("a line of the ledger reads back as it was written") {
  const LedgerEntry entry{"a\nb", Fate::kDropped, "r", {"x", "y"}, "00ff", {"1", "2"}};
  const auto again = ledger_entry(to_json_line(entry));
  REQUIRE(again);
  CHECK(again->tensor == entry.tensor);
  CHECK(again->fate == entry.fate);
  CHECK(again->rule == entry.rule);
  CHECK(again->outputs == entry.outputs);
  CHECK(again->sha256 == entry.sha256);
  CHECK(again->outputs_xxh128 == entry.outputs_xxh128);
}

TEST_CASE("a damaged line of the ledger is none") {
  const std::string good = to_json_line({"t", Fate::kCopied, "", {"t"}, "ff", {"1"}});
  for (size_t n = 0; n + 1 < good.size(); ++n)
    CHECK_FALSE(ledger_entry(good.substr(0, n)));
  for (const char* bad :
       {"[]", "3", "{}",
        R"({"tensor":1,"fate":"copied","rule":"","outputs":[],"sha256":"","outputs_xxh128":[]})",
        R"({"tensor":"t","fate":"lost","rule":"","outputs":[],"sha256":"","outputs_xxh128":[]})",
        R"({"tensor":"t","fate":"copied","rule":"","outputs":[],"sha256":"",)"
        R"("outputs_xxh128":["1"]})",
        R"({"tensor":"t","fate":"copied","rule":"","outputs":["t"],"sha256":""})"}) {
    CAPTURE(bad);
    CHECK_FALSE(ledger_entry(bad));
  }
}

TEST_CASE("fates have the names of the contract") {
  CHECK(fate_name(Fate::kQuantized) == "quantized");
  CHECK(fate_name(Fate::kCopied) == "copied");
  CHECK(fate_name(Fate::kTransformed) == "transformed");
  CHECK(fate_name(Fate::kDropped) == "dropped");
}

TEST_CASE("a problem leaves out what it does not know") {
  Diagnostic d;
  d.code = "E101";
  d.message = "unknown key";
  CHECK(keys(json_problem(d)) == std::vector<std::string>{"code", "message"});
  d.file = "q.toml";
  d.line = 3;
  d.column = 1;
  d.tensor = "t";
  d.remedy = "mend it";
  CHECK(keys(json_problem(d)) ==
        std::vector<std::string>{"code", "file", "line", "column", "tensor", "message", "remedy"});
}

TEST_CASE("a page has a member or an element a line and parses to what it was made of") {
  const Json json = {{"a", 1}, {"b", {{{"c", 1}}, {{"c", 2}}}}, {"e", Json::array()}};
  const std::string page = json_page(json);
  CHECK(page == "{\n\"a\": 1,\n\"b\": [\n  {\"c\":1},\n  {\"c\":2}\n],\n\"e\": []\n}\n");
  CHECK(Json::parse(page) == json);
}

TEST_CASE("a page that grows says the same as one that is made of values") {
  const std::vector<int64_t> shape = {4, 2};
  JsonPage page;
  page.member("format", "safe\"tensors");
  page.open_rows("tensors");
  for (const char* name : {"plain.name", "q\"uote", "back\\slash", "line\nbreak", "ü", "bad\xff"}) {
    page.open_row();
    page.text("name", name);
    page.text_or_null("scheme", name[0] == 'p' ? "" : name);
    page.number("bytes", 18446744073709551615u);
    page.numbers("shape", shape);
    page.close_row();
  }
  page.close_rows();
  page.open_rows("none");
  page.close_rows();
  page.member("total", 3);
  Json same;
  same["format"] = "safe\"tensors";
  for (const char* name :
       {"plain.name", "q\"uote", "back\\slash", "line\nbreak", "ü", "bad\uFFFD"}) {
    same["tensors"].push_back({{"name", name},
                               {"scheme", name[0] == 'p' ? Json(nullptr) : Json(name)},
                               {"bytes", 18446744073709551615u},
                               {"shape", shape}});
  }
  same["none"] = Json::array();
  same["total"] = 3;
  CHECK(page.finish() == json_page(same));
}
