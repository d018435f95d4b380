#include "host/report/html.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <span>

#include "host/report/html_parts.hpp"
#include "host/report/html_style.hpp"
#include "host/report/html_timeline.hpp"
#include "host/report/progress.hpp"

namespace mopt {
namespace {

constexpr size_t kWorst = 5;  // layers that are marked

std::string grouped(uint64_t number) {
  std::string text = std::to_string(number);
  for (size_t at = text.size(); at > 3;) {
    at -= 3;
    text.insert(at, "\u202F");  // narrow space
  }
  return text;
}

std::string size_text(uint64_t bytes) {
  return bytes_text(static_cast<double>(bytes));
}

// "17 %" of errors as people compare them; small ones keep two digits.
std::string percent(double value) {
  return std::isfinite(value) ? text_of(100 * value, "%.3g") + " %" : "–";
}

// Names may break after their dots and underscores.
std::string name_html(std::string_view name) {
  std::string out;
  size_t begin = 0;
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] != '.' && name[i] != '_' && name[i] != '/') continue;
    out += html_escape(name.substr(begin, i + 1 - begin)) + "<wbr>";
    begin = i + 1;
  }
  return element("code", out + html_escape(name.substr(begin)));
}

std::string tile(const std::string& value, const std::string& label) {
  return element("div", element("b", html_escape(value)) + element("span", html_escape(label)),
                 "tile") +
         "\n";
}

std::string fact(const std::string& label, const std::string& html) {
  return element("dt", html_escape(label)) + element("dd", html) + "\n";
}

std::string cell(std::string_view label, const std::string& html, std::string_view cls = {}) {
  const std::string attribute = cls.empty() ? "" : " class=\"" + std::string(cls) + "\"";
  return "<td" + attribute + " data-label=\"" + html_escape(label) + "\">" + html + "</td>";
}

// A table that becomes a list of cards on a narrow screen. Titles that begin with '#' are numbers.
std::string table(std::span<const char* const> titles, const std::string& rows) {
  std::string head;
  for (const std::string_view title : titles) {
    const bool number = title.starts_with('#');
    head += element("th", html_escape(title.substr(number ? 1 : 0)), number ? "num" : "");
  }
  return "<table class=\"cards\"><thead>" + element("tr", head) + "</thead>\n<tbody>\n" + rows +
         "</tbody></table>\n";
}

std::string base_name(const std::string& path) {
  std::string_view name = path;
  while (name.size() > 1 && name.ends_with('/'))
    name.remove_suffix(1);
  return std::string(name.substr(name.rfind('/') + 1));
}

std::string header(const Report& r) {
  std::string verdict;
  if (r.verify) {
    verdict = element("p", r.verify->ok ? "✓ verified" : "✗ verification failed",
                      r.verify->ok ? "verdict good" : "verdict bad");
  }
  const auto missed = std::ranges::count_if(
      r.eval, [](const Report::Eval& e) { return e.passed.has_value() && !*e.passed; });
  if (missed > 0) verdict += element("p", "✗ accuracy gate missed", "verdict bad");
  return element("header",
                 "\n" +
                     element("h1",
                             html_escape(base_name(r.model.path)) + " → " + html_escape(r.recipe)) +
                     "\n" + element("p", "written to " + name_html(r.output.path), "soft") +
                     verdict + "\n") +
         "\n";
}

std::string tiles(const Report& r) {
  const double ratio = r.output.bytes == 0 ? NAN
                                           : static_cast<double>(r.model.bytes) /
                                                 static_cast<double>(r.output.bytes);
  return element("div",
                 "\n" + tile(size_text(r.model.bytes), "before") +
                     tile(size_text(r.output.bytes), "after") +
                     tile(text_of(ratio, "%.2f") + " ×", "smaller") +
                     tile(text_of(r.output.bits_per_weight, "%.3g"), "bits per weight") +
                     tile(step_text(r.seconds.total), "total time") +
                     tile(size_text(r.memory.peak_bytes), "peak memory"),
                 "tiles") +
         "\n";
}

std::string memory_text(const Report::Memory& m) {
  std::string text = size_text(m.peak_bytes) + " at most";
  if (m.limit_bytes) text += ", limit " + size_text(*m.limit_bytes);
  if (m.device_peak_bytes) text += ", on the device " + size_text(*m.device_peak_bytes);
  if (!m.activations) return text;
  const Report::Resting& a = *m.activations;
  return text + "; activations of " + grouped(a.on_device + a.pinned + a.on_disk) +
         " batches rested on the device (" + grouped(a.on_device) + "), in pinned memory (" +
         grouped(a.pinned) + ") and on disk (" + grouped(a.on_disk) + ")";
}

std::string done(const Report& r) {
  std::string facts =
      fact("Command", element("code", html_escape(r.command))) +
      fact("Model", name_html(r.model.path)) +
      fact("Architecture",
           html_escape(r.model.architecture +
                       (r.model.adapter.empty() ? "" : ", adapter " + r.model.adapter))) +
      fact("Parameters", grouped(r.model.parameters)) +
      fact("Output", name_html(r.output.path) + ", " + grouped(r.output.tensors) + " tensors");
  if (r.calibration) {
    const Report::Calibration& c = *r.calibration;
    facts +=
        fact("Calibration",
             html_escape(c.source) + ", " + grouped(static_cast<uint64_t>(c.rows)) + " rows, " +
                 grouped(static_cast<uint64_t>(c.tokens)) + " tokens" +
                 (c.sha256.empty()
                      ? ""
                      : element("p", "sha256 " + element("code", html_escape(c.sha256)), "soft")));
  } else {
    facts += fact("Calibration", "none: the recipe needs no data");
  }
  std::string machine = r.machine.cpu + ", " + std::to_string(r.machine.cores) +
                        (r.machine.cores == 1 ? " core" : " cores");
  if (!r.machine.device.empty()) machine += ", " + r.machine.device;
  if (!r.machine.driver.empty()) machine += ", driver " + r.machine.driver;
  facts += fact("Machine", html_escape(machine)) +
           fact("Memory", html_escape(memory_text(r.memory))) +
           fact("Program", html_escape("mopt-host " + r.mopt.version + ", ABI " +
                                       std::to_string(r.mopt.abi) + ", commit " + r.mopt.commit));
  return section("What was done", element("dl", "\n" + facts));
}

std::string time_split(const Report& r) {
  const Report::Seconds& s = r.seconds;
  struct Part {
    const char* name;
    double seconds;
  };
  const double named = s.read + s.forward + s.solve + s.encode + s.write + s.verify + s.eval;
  const Part parts[] = {{"read", s.read},     {"forward", s.forward},
                        {"solve", s.solve},   {"encode", s.encode},
                        {"write", s.write},   {"verify", s.verify},
                        {"evaluate", s.eval}, {"other", std::max(0.0, s.total - named)}};
  // Steps that overlap can add up to more than the total.
  const double whole = std::max(s.total, named);
  if (!(whole > 0)) return {};
  std::string bar, legend;
  double at = 0;
  for (size_t i = 0; i < std::size(parts); ++i) {
    const double width = 100 * parts[i].seconds / whole;
    const std::string cls = "t" + std::to_string(i + 1);
    if (width < 0.05) continue;
    bar += "<rect class=\"" + cls + "\" x=\"" + text_of(at, "%.2f") + "\" width=\"" +
           text_of(width, "%.2f") + "\" height=\"22\"/>";
    legend +=
        element("li",
                "<i class=\"" + cls + "\"></i>" +
                    element("span", std::string(parts[i].name) + " " + step_text(parts[i].seconds)),
                cls);
    at += width;
  }
  return section("Time",
                 "<svg class=\"time\" viewBox=\"0 0 100 22\" preserveAspectRatio=\"none\" "
                 "role=\"img\" aria-label=\"time per step\">" +
                     bar + "</svg>\n" + element("ul", legend, "legend") + "\n");
}

std::string problem_list(const std::vector<Diagnostic>& problems) {
  std::string items;
  for (const Diagnostic& d : problems) {
    items +=
        element("li", html_escape(format(d)), d.severity == Severity::kWarning ? "warn" : "bad") +
        "\n";
  }
  return element("ul", "\n" + items, "plain") + "\n";
}

std::string verification(const Report& r) {
  if (!r.verify) return {};
  const Report::Verify& v = *r.verify;
  std::string inside =
      element("p", v.ok ? "The written checkpoint is whole" : "It failed", v.ok ? "good" : "bad");
  if (!v.format.empty()) inside += element("p", "format " + html_escape(v.format), "soft");
  if (!v.problems.empty()) inside += problem_list(v.problems);
  if (v.engines.empty()) return section("Verification", inside);
  std::string rows;
  for (const EngineVerdict& e : v.engines) {
    const char* cls = e.verdict == "takes" ? "good" : e.verdict == "refuses" ? "bad" : "soft";
    rows += element("tr", cell("", element("b", html_escape(e.engine)), "name") +
                              cell("verdict", element("span", html_escape(e.verdict), cls)) +
                              cell("reason", html_escape(e.reason), "wide")) +
            "\n";
  }
  constexpr const char* kTitles[] = {"engine", "verdict", "reason"};
  return section("Verification", inside + table(kTitles, rows));
}

std::string evaluations(const Report& r) {
  if (r.eval.empty()) return {};
  std::string rows;
  for (const Report::Eval& e : r.eval) {
    const std::string gate = !e.passed
                                 ? element("span", "no gate", "soft")
                                 : element("span",
                                           (*e.passed ? "passed, at most " : "missed, at most ") +
                                               text_of(e.max_ratio, "%.4g"),
                                           *e.passed ? "good" : "bad");
    rows += element("tr",
                    cell("", element("b", html_escape(e.id)) + " " + html_escape(e.kind), "name") +
                        cell("data", name_html(e.data), "wide") +
                        cell("tokens", grouped(static_cast<uint64_t>(e.tokens)), "num") +
                        cell("perplexity", text_of(e.perplexity, "%.5g"), "num") +
                        cell("source", text_of(e.reference_perplexity, "%.5g"), "num") +
                        cell("ratio", text_of(e.ratio, "%.4f"), "num") + cell("gate", gate)) +
            "\n";
  }
  constexpr const char* kTitles[] = {"evaluation", "data",   "#tokens", "#perplexity",
                                     "#source",    "#ratio", "gate"};
  return section("Evaluations", table(kTitles, rows));
}

std::string warnings(const Report& r) {
  if (r.warnings.empty()) return {};
  return section("Warnings", problem_list(r.warnings));
}

// The error by which layers are judged: of the output where it was measured.
double badness(const Report::Layer& l) {
  if (std::isfinite(l.output_error)) return l.output_error;
  return std::isfinite(l.weight_error) ? l.weight_error : -1;
}

// Layers at or above it are marked; beyond all of them when there are too few to compare.
double worst_limit(const std::vector<Report::Layer>& layers) {
  if (layers.size() < 2 * kWorst) return std::numeric_limits<double>::infinity();
  std::vector<double> all;
  for (const Report::Layer& l : layers)
    all.push_back(badness(l));
  std::ranges::nth_element(all, all.begin() + kWorst - 1, std::greater<>());
  return all[kWorst - 1] > 0 ? all[kWorst - 1] : std::numeric_limits<double>::infinity();
}

std::string error_cell(const char* label, double error, double largest, const char* cls) {
  if (!std::isfinite(error)) return cell(label, "–", "error");
  const double width = largest > 0 ? 100 * error / largest : 0;
  return cell(label,
              percent(error) + "<svg class=\"bar " + cls +
                  "\" viewBox=\"0 0 100 5\" preserveAspectRatio=\"none\" aria-hidden=\"true\">"
                  "<rect width=\"" +
                  text_of(width, "%.1f") + "\" height=\"5\"/></svg>",
              "error");
}

std::string layers(const Report& r) {
  if (r.layers.empty()) return {};
  double weight = 0, output = 0;
  for (const Report::Layer& l : r.layers) {
    if (std::isfinite(l.weight_error)) weight = std::max(weight, l.weight_error);
    if (std::isfinite(l.output_error)) output = std::max(output, l.output_error);
  }
  const double limit = worst_limit(r.layers);
  std::string rows;
  for (const Report::Layer& l : r.layers) {
    rows += element("tr",
                    cell("", name_html(l.name), "name") + cell("role", html_escape(l.role)) +
                        cell("scheme", html_escape(l.scheme)) +
                        cell("shape", html_escape(shape_text(l.shape))) +
                        cell("before", size_text(l.bytes_before), "num") +
                        cell("after", size_text(l.bytes_after), "num") +
                        error_cell("weight error", l.weight_error, weight, "weight") +
                        error_cell("output error", l.output_error, output, "output"),
                    badness(l) >= limit ? "worst" : "") +
            "\n";
  }
  constexpr const char* kTitles[] = {"layer",   "role",   "scheme",       "shape",
                                     "#before", "#after", "weight error", "output error"};
  std::string note =
      "Relative errors: ‖Wq − W‖ / ‖W‖ of the weight, and the same of the layer's "
      "output where calibration data ran through it.";
  if (std::isfinite(limit)) note += " The worst layers are marked.";
  return section("Quantized layers (" + grouped(r.layers.size()) + ")",
                 element("p", note, "soft") + table(kTitles, rows), "long");
}

std::string experts(const Report& r) {
  if (r.experts.empty()) return {};
  std::map<int64_t, std::vector<int64_t>> tokens;
  for (const Report::Expert& e : r.experts)
    tokens[e.layer].push_back(e.tokens);
  std::string rows;
  for (auto& [layer, counts] : tokens) {
    std::ranges::sort(counts);
    const auto unreached = std::ranges::count(counts, 0);
    const auto number = [](int64_t n) { return grouped(static_cast<uint64_t>(n)); };
    rows += element("tr",
                    cell("", "layer " + std::to_string(layer), "name") +
                        cell("experts", grouped(counts.size()), "num") +
                        cell("fewest tokens", number(counts.front()), "num") +
                        cell("median", number(counts[counts.size() / 2]), "num") +
                        cell("most", number(counts.back()), "num") +
                        cell("unreached", number(unreached), "num"),
                    unreached > 0 ? "worst" : "") +
            "\n";
  }
  constexpr const char* kTitles[] = {"layer",   "#experts", "#fewest tokens",
                                     "#median", "#most",    "#unreached"};
  return section("Tokens per expert", table(kTitles, rows), "long");
}

std::string kept(const Report& r) {
  if (r.kept.empty()) return {};
  std::map<std::string, std::vector<std::string>> by_reason;
  for (const Report::Kept& k : r.kept)
    by_reason[k.reason].push_back(k.tensor);
  std::string inside;
  for (const auto& [reason, tensors] : by_reason) {
    std::string items;
    for (const std::string& tensor : tensors)
      items += element("li", name_html(tensor)) + "\n";
    inside += element("details",
                      element("summary",
                              html_escape(reason) + " " +
                                  element("span", "(" + grouped(tensors.size()) + ")", "soft")) +
                          element("ul", "\n" + items, "plain")) +
              "\n";
  }
  return section("Kept as they are (" + grouped(r.kept.size()) + ")", inside, "long");
}

}  // namespace

std::string html_escape(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string to_html(const Report& r) {
  return "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
         html_escape(base_name(r.model.path) + " → " + r.recipe) + "</title>\n<style>" +
         std::string(html_style()) + "</style>\n</head>\n<body>\n" + header(r) + tiles(r) +
         verification(r) + evaluations(r) + warnings(r) + done(r) + time_split(r) +
         timeline_html(r) + layers(r) + experts(r) + kept(r) + "</body>\n</html>\n";
}

}  // namespace mopt
