#include "host/report/html.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace mopt;

namespace {

Report report_of(size_t layers) {
  Report r;
  r.recipe = "nvfp4";
  r.model.path = "models/tiny";
  r.model.bytes = 1000;
  r.output.path = "out";
  r.output.bytes = 250;
  r.seconds.total = 3;
  r.seconds.read = 1;
  for (size_t i = 0; i < layers; ++i) {
    r.layers.push_back({"layer." + std::to_string(i),
                        "mlp.up",
                        "nvfp4",
                        {4, 2},
                        16,
                        5,
                        0.01 * static_cast<double>(i + 1),
                        kNotMeasured});
  }
  return r;
}

Report::Timeline timeline() {
  Report::Timeline t;
  t.text = "limited by <reading>";
  t.waited.read = 4;
  t.lanes = {{"read", 1, {{"layers.0", "layers.3", "", 2, 4, 1}}},
             {"wait", 4, {{"layers.1", "", "read", 4, 8, 4}}}};
  return t;
}

size_t count(const std::string& text, std::string_view piece) {
  size_t n = 0;
  for (size_t at = text.find(piece); at != std::string::npos; at = text.find(piece, at + 1))
    ++n;
  return n;
}

// Every element that is opened is closed, in order. Void elements as HTML has them.
std::string imbalance(const std::string& html) {
  const std::set<std::string> kVoid = {"meta", "wbr", "!doctype", "rect", "path"};
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const size_t end = html.find_first_of(" >", at);
    const std::string tag = html.substr(at + 1, end - at - 1);
    if (kVoid.contains(tag)) continue;
    if (!tag.starts_with('/')) {
      open.push_back(tag);
    } else if (open.empty() || open.back() != tag.substr(1)) {
      return tag + " at " + std::to_string(at);
    } else {
      open.pop_back();
    }
  }
  return open.empty() ? "" : open.back() + " is not closed";
}

}  // namespace

TEST_CASE("report.html: every element is closed, with little and with much to say") {
  CHECK(imbalance(to_html(Report{})) == "");
  Report r = report_of(20);
  r.calibration = Report::Calibration{"self", 1, 2, "00"};
  r.kept = {{"lm_head.weight", "no rule"}, {"norm.weight", "no rule"}};
  r.experts = {{0, 0, 5}, {0, 1, 0}};
  r.warnings = {{"W101", "", 0, 0, "", "vllm refuses", "", Severity::kWarning}};
  r.verify = Report::Verify{true, "hf", {{"vllm", "takes", ""}}, {}};
  r.eval = {{"ppl", "perplexity", "d.txt", 100, 1, 2.7, 2.6, 1.04, 1.02, false}};
  r.timeline = timeline();
  CHECK(imbalance(to_html(r)) == "");
}

TEST_CASE("report.html: the timeline has a row per lane, over one axis in seconds") {
  Report r = report_of(1);
  CHECK(to_html(r).find("Timeline") == std::string::npos);
  r.timeline = timeline();
  r.seconds.total = 8;
  const std::string html = to_html(r);
  CHECK(html.find("<p>Limited by &lt;reading&gt;.</p>") != std::string::npos);
  // Half of its time busy, from a quarter of the run to its half.
  CHECK(count(html, "x=\"25.00\" width=\"25.00\" height=\"14\" fill-opacity=\"0.50\"") == 1);
  CHECK(count(html, "layers.0 to layers.3: 2.00 to 4.00 s, busy 1.00 s") == 1);
  CHECK(count(html, "layers.1, for read: 4.00 to 8.00 s, busy 4.00 s") == 1);
  CHECK(html.find(">reading<") < html.find(">loop waits<"));
  CHECK(html.find("waited for reading 4.0 s") != std::string::npos);
  for (const char* label : {">0 s<", ">2<", ">4<", ">6<", ">8<"}) {
    CAPTURE(label);
    CHECK(count(html, label) == 1);
  }
}

TEST_CASE("report.html: a timeline of any length has few ticks, and bars that can be seen") {
  for (const double total : {1e-4, 0.03, 1.0, 7.0, 59.0, 100.0, 3601.0, 1e6}) {
    CAPTURE(total);
    Report r;
    r.seconds.total = total;
    r.timeline.lanes = {{"read", 1e-9, {{"u", "", "", 0, 1e-9, 1e-9}}},
                        {"unheard of", total, {{"u", "", "", 0, total, total}}}};
    const std::string html = to_html(r);
    const size_t ticks = count(html, "<i style=\"left:");
    CHECK(ticks >= 3);
    CHECK(ticks <= 7);
    CHECK(count(html, "width=\"0.25\"") == 1);
    CHECK(count(html, "width=\"100.00\" height=\"14\"") == 1);
    CHECK(html.find(">unheard of<") != std::string::npos);
  }
}

TEST_CASE("report.html: nothing that comes from a file is markup") {
  const std::string evil = "<script>alert('1')</script>\"&\n\x1b[31m";
  Report r = report_of(1);
  r.recipe = r.command = r.model.path = r.model.adapter = r.model.architecture = evil;
  r.machine.cpu = r.output.path = r.mopt.commit = evil;
  r.layers[0].name = r.layers[0].role = r.layers[0].scheme = evil;
  r.kept = {{evil, evil}};
  r.calibration = Report::Calibration{evil, 1, 1, evil};
  r.warnings = {{"W101", evil, 0, 0, evil, evil, evil, Severity::kWarning}};
  r.verify = Report::Verify{false, evil, {{evil, evil, evil}}, r.warnings};
  r.eval = {{evil, evil, evil, 1, 1, 1, 1, 1, 1, true}};
  r.timeline = timeline();
  r.timeline.text = r.timeline.lanes[0].name = evil;
  r.timeline.lanes[1].spans[0] = {evil, evil, evil, 0, 1, 1};
  const std::string html = to_html(r);
  CHECK(html.find("<script") == std::string::npos);
  CHECK(html.find("alert('") == std::string::npos);
  CHECK(html.find('\x1b') == std::string::npos);
  CHECK(imbalance(html) == "");
}

TEST_CASE("report.html stands alone: no scripts, links or outside resources") {
  const std::string html = to_html(report_of(3));
  for (const char* piece : {"<script", "<link", "src=", "href=", "url(", "http", "@import"}) {
    CAPTURE(piece);
    CHECK(html.find(piece) == std::string::npos);
  }
}

TEST_CASE("report.html: sections appear when there is something to say") {
  const std::string empty = to_html(Report{});
  for (const char* title : {"Evaluations", "Verification", "Warnings", "Tokens per expert",
                            "Quantized layers", "Kept as they are"}) {
    CAPTURE(title);
    CHECK(empty.find(std::string("<h2>") + title) == std::string::npos);
  }
  CHECK(to_html(report_of(2)).find("<h2>Quantized layers (2)") != std::string::npos);
}

TEST_CASE("report.html: layers keep the model's order and the five worst are marked") {
  Report r = report_of(20);
  std::swap(r.layers[0], r.layers[19]);
  const std::string html = to_html(r);
  CHECK(count(html, "<tr class=\"worst\">") == 5);
  const size_t first = html.find("<tr", html.find("<tbody>"));
  CHECK(html.compare(first, 18, "<tr class=\"worst\">") == 0);
  CHECK(html.find("<wbr>19") < html.find("<wbr>1<"));
  CHECK(count(to_html(report_of(5)), "class=\"worst\"") == 0);
}

TEST_CASE("report.html: bars are relative to the largest error of their column") {
  const std::string html = to_html(report_of(4));
  for (const char* width : {"\"25.0\"", "\"50.0\"", "\"75.0\"", "\"100.0\""}) {
    CAPTURE(width);
    CHECK(count(html, std::string("<rect width=") + width) == 1);
  }
}

TEST_CASE("report.html: sizes and ratio stand at the top") {
  const std::string html = to_html(report_of(1));
  CHECK(html.find("<b>1.00 kB</b>") != std::string::npos);
  CHECK(html.find("<b>250 bytes</b>") != std::string::npos);
  CHECK(html.find("<b>4.00 ×</b>") != std::string::npos);
}

TEST_CASE("html_escape leaves no character that could end an attribute or open an element") {
  CHECK(html_escape("a<b>&\"'") == "a&lt;b&gt;&amp;&quot;&#39;");
  for (int c = 0; c < 128; ++c) {
    const std::string out = html_escape(std::string(1, static_cast<char>(c)));
    CAPTURE(c);
    CHECK(out.find_first_of("<>\"'") == std::string::npos);
    for (const char o : out)
      CHECK(static_cast<unsigned char>(o) >= 0x20);
  }
}

TEST_CASE("html: of a run on a device it says where activations rested") {
  Report r = report_of(1);
  CHECK(to_html(r).find("activations of") == std::string::npos);
  r.memory.activations = Report::Resting{8192, 3, 12, 1};
  CHECK(to_html(r).find("activations of 16 batches rested on the device (3), in pinned memory (12) "
                        "and on disk (1)") != std::string::npos);
}
