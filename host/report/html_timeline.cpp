#include "host/report/html_timeline.hpp"

#include <algorithm>
#include <cmath>

#include "host/report/html.hpp"
#include "host/report/html_parts.hpp"

namespace mopt {
namespace {

using Timeline = Report::Timeline;

// In hundredths of the axis; a shorter bar would not be seen.
constexpr double kNarrowest = 0.25;
// Of a bar that was busy for a small part of its time.
constexpr double kPalest = 0.45;
constexpr int kMostTicks = 6;

struct Row {
  std::string_view name;
  const char* label;
  const char* colour;  // as in the bar of time by step, where both have it
};
constexpr Row kRows[] = {
    {"read", "reading", "t1"},
    {"hash", "hashing", "t7"},
    {"copy in", "to the device", "t3"},
    {"forward", "forward", "t2"},
    {"solve", "solving", "t3"},
    {"encode", "encoding", "t4"},
    {"write", "writing", "t5"},
    {"sync", "syncing", "t5"},
    {"copy out", "off the device", "t3"},
    {"verify", "verifying", "t6"},
    {"eval", "evaluating", "t7"},
    {"wait", "loop waits", "t8"},
};

Row row_of(const std::string& lane) {
  const auto found = std::ranges::find(kRows, lane, &Row::name);
  return found == std::end(kRows) ? Row{lane, lane.c_str(), "t8"} : *found;
}

// What a wait was for has the colour of who was waited for.
const char* colour(const Row& row, const Timeline::Span& span) {
  if (span.wait == "read") return "t1";
  if (span.wait == "device") return "t2";
  return span.wait == "write" ? "t5" : row.colour;
}

std::string brief(double seconds) {
  return seconds < 1 ? text_of(seconds, "%.2f") + " s" : step_text(seconds);
}

// 1, 2 or 5 times a power of ten.
double tick_step(double total) {
  const double least = total / kMostTicks;
  const double power = std::pow(10, std::floor(std::log10(least)));
  for (const double step : {1.0, 2.0, 5.0}) {
    if (step * power >= least) return step * power;
  }
  return 10 * power;
}

std::string title(const Timeline::Span& s) {
  std::string text = s.unit;
  if (!s.to.empty()) text += " to " + s.to;
  if (!s.wait.empty()) text += (text.empty() ? "for " : ", for ") + s.wait;
  return text + (text.empty() ? "" : ": ") + text_of(s.begin, "%.2f") + " to " +
         text_of(s.end, "%.2f") + " s, busy " + text_of(s.busy, "%.2f") + " s";
}

std::string bar(const Row& row, const Timeline::Span& s, double total) {
  const double share = std::clamp(s.busy / (s.end - s.begin), kPalest, 1.0);
  const double width = std::max(kNarrowest, 100 * (s.end - s.begin) / total);
  const double x = std::min(100 * s.begin / total, 100 - kNarrowest);
  return "<g>" + element("title", html_escape(title(s))) + "<rect class=\"" + colour(row, s) +
         "\" x=\"" + text_of(x, "%.2f") + "\" width=\"" + text_of(width, "%.2f") +
         "\" height=\"14\" fill-opacity=\"" + text_of(share, "%.2f") + "\"/></g>";
}

std::string lines(double total) {
  std::string path;
  for (double at = tick_step(total); at < total; at += tick_step(total))
    path += "M" + text_of(100 * at / total, "%.2f") + " 0V14";
  return "<path class=\"tick\" d=\"" + path + "\"/>";
}

std::string lane_html(const Timeline::Lane& lane, double total) {
  const Row row = row_of(lane.name);
  std::string bars;
  for (const Timeline::Span& s : lane.spans)
    bars += bar(row, s, total);
  return element("span", html_escape(row.label)) +
         "<svg viewBox=\"0 0 100 14\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"" +
         html_escape(row.label) + " " + brief(lane.busy) + "\">" + lines(total) + bars + "</svg>" +
         element("span", brief(lane.busy), "num") + "\n";
}

std::string axis(double total) {
  const double step = tick_step(total);
  std::string labels;
  for (double at = 0; at < total + step / 1e3; at += step) {
    labels += "<i style=\"left:" + text_of(100 * at / total, "%.2f") + "%\">" +
              text_of(at, "%.4g") + (at == 0 ? " s" : "") + "</i>";
  }
  return "<span></span>" + element("div", labels, "axis") + element("span", "busy", "num soft") +
         "\n";
}

std::string sentence(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 32);
  return text + ".";
}

}  // namespace

std::string timeline_html(const Report& r) {
  const Timeline& t = r.timeline;
  double total = r.seconds.total;
  std::string rows;
  bool waits = false;
  for (const Timeline::Lane& lane : t.lanes) {
    for (const Timeline::Span& s : lane.spans)
      total = std::max(total, s.end);
    waits = waits || lane.name == "wait";
  }
  if (t.lanes.empty() || !(total > 0)) return {};
  for (const Timeline::Lane& lane : t.lanes)
    rows += lane_html(lane, total);
  std::string inside;
  if (!t.text.empty()) inside += element("p", html_escape(sentence(t.text))) + "\n";
  inside += element("div", "\n" + rows + axis(total), "lanes") + "\n";
  if (waits) {
    const auto item = [](const char* cls, const std::string& text, double seconds) {
      return element("li",
                     "<i class=\"" + std::string(cls) + "\"></i>" +
                         element("span", text + " " + brief(seconds)),
                     cls);
    };
    inside += element("ul",
                      item("t1", "waited for reading", t.waited.read) +
                          item("t2", "for the device", t.waited.device) +
                          item("t5", "for writing", t.waited.write),
                      "legend") +
              "\n";
  }
  return section(
      "Timeline",
      inside + element("p", "Paler where it was busy for a part of the time.", "soft") + "\n");
}

}  // namespace mopt
