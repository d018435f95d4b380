#include "host/pipeline/timeline.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace mopt::pipeline {

using Span = Report::Timeline::Span;

namespace {

// Bars of one lane: a page shows no more, and a model of a thousand blocks has no longer report.
constexpr size_t kMostSpans = 40;

struct Name {
  const char* phase;  // of a profiler's range
  const char* lane;
  const char* wait;  // for what; empty: work
};
constexpr std::array<Name, kPhases> kNames{{{"read", "read", ""},
                                            {"hash", "hash", ""},
                                            {"copy", "copy in", ""},
                                            {"forward", "forward", ""},
                                            {"solve", "solve", ""},
                                            {"encode", "encode", ""},
                                            {"copy out", "copy out", ""},
                                            {"write", "write", ""},
                                            {"sync", "sync", ""},
                                            {"verify", "verify", ""},
                                            {"eval", "eval", ""},
                                            {"wait for read", "wait", "read"},
                                            {"wait for device", "wait", "device"},
                                            {"wait for write", "wait", "write"}}};

const Name& name_of(Phase phase) {
  return kNames[static_cast<size_t>(phase)];
}

bool is_wait(Phase phase) {
  return name_of(phase).wait[0] != '\0';
}

double length(const Interval& i) {
  return i.end - i.begin;
}

std::string in_seconds(double seconds) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.2f s", seconds);
  return text.data();
}

std::string last_unit(const Span& span) {
  return span.to.empty() ? span.unit : span.to;
}

void join(Span& a, const Span& b) {
  if (last_unit(a) != last_unit(b)) a.to = last_unit(b);
  if (a.to == a.unit) a.to.clear();
  if (a.wait != b.wait) a.wait = a.busy < b.busy ? b.wait : a.wait;
  a.end = b.end;
  a.busy += b.busy;
}

template <class Joined>
std::vector<Span> join_neighbours(const std::vector<Span>& spans, Joined joined) {
  std::vector<Span> out;
  for (const Span& span : spans) {
    if (!out.empty() && joined(out.back(), span)) {
      join(out.back(), span);
    } else {
      out.push_back(span);
    }
  }
  return out;
}

}  // namespace

void Intervals::add(Interval i) {
  if (!(i.end > i.begin)) return;
  // Most come at the end.
  auto after = all_.end();
  while (after != all_.begin() && std::prev(after)->begin > i.end)
    --after;
  auto first = after;
  while (first != all_.begin() && std::prev(first)->end >= i.begin)
    --first;
  if (first == after) {
    all_.insert(after, i);
  } else {
    first->begin = std::min(first->begin, i.begin);
    first->end = std::max(std::prev(after)->end, i.end);
    all_.erase(std::next(first), after);
  }
  if (all_.size() <= kMost) return;
  size_t closest = 1;
  const auto gap = [&](size_t at) { return all_[at].begin - all_[at - 1].end; };
  for (size_t at = 2; at < all_.size(); ++at) {
    if (gap(at) < gap(closest)) closest = at;
  }
  all_[closest - 1].end = all_[closest].end;
  all_.erase(all_.begin() + static_cast<std::ptrdiff_t>(closest));
}

double Intervals::measure() const {
  double sum = 0;
  for (const Interval& i : all_)
    sum += length(i);
  return sum;
}

std::vector<Span> merged(std::vector<Stretch> stretches, size_t most, double total) {
  std::ranges::stable_sort(stretches, {}, [](const Stretch& s) { return s.at.begin; });
  std::vector<Span> spans;
  for (const Stretch& s : stretches) {
    const double begin = spans.empty() ? s.at.begin : std::max(s.at.begin, spans.back().end);
    if (!(s.at.end > begin)) continue;
    spans.push_back({std::string(s.unit), {}, name_of(s.phase).wait, begin, s.at.end, 0});
    spans.back().busy = s.at.end - begin;
  }
  const double seen = total / static_cast<double>(most);
  spans = join_neighbours(spans, [&](const Span& a, const Span& b) {
    return a.unit == b.unit && a.wait == b.wait && b.begin - a.end <= seen;
  });
  if (spans.size() <= most || most < 2) return spans;
  // Two neighbours that stay apart are longer than this together: there are at most `most`.
  const double apart = 2 * (spans.back().end - spans.front().begin) / static_cast<double>(most - 1);
  return join_neighbours(spans,
                         [&](const Span& a, const Span& b) { return b.end - a.begin <= apart; });
}

std::string range_name(Phase phase, std::string_view unit) {
  std::string name = name_of(phase).phase;
  if (!unit.empty()) name.append(" ").append(unit);
  return name;
}

double Timeline::now() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

Timeline::Scope::Scope(Timeline* timeline, Phase phase, std::string_view unit)
    : timeline_(timeline), phase_(phase), unit_(unit) {
  if (timeline_ == nullptr) return;
  if (is_wait(phase) && !timeline_->on_loop_thread()) {
    timeline_ = nullptr;
    return;
  }
  if (timeline_->device_ != nullptr) {
    name_ = range_name(phase, unit);
    range_.emplace(timeline_->device_, name_.c_str());
  }
  begin_ = timeline_->now();
  if (!timeline_->on_loop_thread()) return;
  outer_ = std::exchange(timeline_->open_, this);
  if (outer_ != nullptr) outer_->pause(begin_);
}

Timeline::Scope::~Scope() {
  if (timeline_ == nullptr) return;
  const double end = timeline_->now();
  pause(end);
  if (!timeline_->on_loop_thread()) return;
  timeline_->open_ = outer_;
  if (outer_ != nullptr) outer_->begin_ = end;
}

void Timeline::Scope::pause(double now) {
  timeline_->add(phase_, unit_, {begin_, now});
}

void Timeline::add(Phase phase, std::string_view unit, Interval at) {
  const std::lock_guard lock(mutex_);
  phases_[static_cast<size_t>(phase)][unit].add(at);
}

void Timeline::add_on_device(Phase phase, std::string_view unit, Interval at) {
  const std::lock_guard lock(mutex_);
  phases_[static_cast<size_t>(phase)][unit].add(at);
  device_busy_.add(at);
}

void Timeline::begin_loop() {
  loop_ = {now(), 0};
}
void Timeline::end_loop() {
  loop_.end = now();
}

double Timeline::busy(Phase phase) const {
  const std::lock_guard lock(mutex_);
  Intervals all;
  for (const auto& [unit, intervals] : phases_[static_cast<size_t>(phase)]) {
    for (const Interval& i : intervals.all())
      all.add(i);
  }
  return all.measure();
}

double Timeline::within_loop(Phase phase) const {
  const std::lock_guard lock(mutex_);
  Intervals all;
  for (const auto& [unit, intervals] : phases_[static_cast<size_t>(phase)]) {
    for (const Interval& i : intervals.all())
      all.add({std::max(i.begin, loop_.begin), std::min(i.end, loop_.end)});
  }
  return all.measure();
}

Report::Timeline Timeline::report() const {
  Report::Timeline out;
  const double total = now();
  for (size_t p = 0; p < kPhases; ++p) {
    const auto phase = static_cast<Phase>(p);
    const std::string lane = name_of(phase).lane;
    if (out.lanes.empty() || out.lanes.back().name != lane) out.lanes.push_back({lane, 0, {}});
    out.lanes.back().busy += busy(phase);
  }
  std::vector<Stretch> stretches;
  size_t p = 0;
  for (Report::Timeline::Lane& lane : out.lanes) {
    stretches.clear();
    const std::lock_guard lock(mutex_);
    for (; p < kPhases && lane.name == kNames[p].lane; ++p) {
      for (const auto& [unit, intervals] : phases_[p]) {
        for (const Interval& i : intervals.all())
          stretches.push_back({unit, i, static_cast<Phase>(p)});
      }
    }
    lane.spans = merged(stretches, kMostSpans, total);
  }
  std::erase_if(out.lanes, [](const auto& lane) { return lane.spans.empty(); });
  out.loop_begin = loop_.begin;
  out.loop_end = loop_.end;
  out.waited = {busy(Phase::kWaitRead), busy(Phase::kWaitDevice), busy(Phase::kWaitWrite)};
  if (device_ != nullptr) {
    const std::lock_guard lock(mutex_);
    out.device_busy = device_busy_.measure();
  }
  if (loop_.end > loop_.begin) out.text = text(out);
  return out;
}

// What the loop's thread spent its time on: the most of it is what limited the run.
std::string Timeline::text(const Report::Timeline& t) const {
  const double loop = length(loop_);
  struct Share {
    const char* limit;
    std::string text;
    double seconds;
  };
  std::vector<Share> shares;
  double named = 0;
  const auto share = [&](Phase phase, const char* limit, const std::string& text) {
    shares.push_back({limit, text, within_loop(phase)});
    named += shares.back().seconds;
  };
  if (device_ != nullptr) {
    share(Phase::kWaitRead, "reading", "waiting for reading");
    share(Phase::kWaitDevice, "the device", "for the device");
    share(Phase::kWaitWrite, "writing", "for writing");
  } else {
    share(Phase::kRead, "reading", "reading");
    share(Phase::kForward, "the forward", "in the forward");
    share(Phase::kSolve, "solving", "solving");
    share(Phase::kEncode, "encoding", "encoding");
    share(Phase::kWrite, "writing", "writing");
    share(Phase::kSync, "the disk's sync", "syncing");
  }
  shares.push_back({"the loop's own thread", "on the rest", std::max(0.0, loop - named)});
  const Share& most = *std::ranges::max_element(shares, {}, &Share::seconds);
  std::string text = std::string("limited by ") + most.limit + ": of " + in_seconds(loop) +
                     " of the loop its thread spent ";
  for (const Share& s : shares)
    text += in_seconds(s.seconds) + " " + s.text + (&s == &shares.back() ? "" : ", ");
  if (device_ == nullptr) return text;
  std::array<char, 32> percent{};
  std::snprintf(percent.data(), percent.size(), "%.0f %%", 100 * t.device_busy / loop);
  return text + "; the device was busy " + percent.data() + " of it";
}

DeviceClock::DeviceClock(Timeline& timeline, compute::Queue& queue)
    : timeline_(timeline), queue_(queue), start_(queue.record()) {
  start_->wait();
  at_ = timeline_.now();
}

void DeviceClock::add(Phase phase, std::string_view unit, compute::Event& begin,
                      compute::Event& end) {
  timeline_.add_on_device(phase, unit,
                          {at_ + begin.seconds_after(*start_), at_ + end.seconds_after(*start_)});
}

void DeviceClock::enter(Phase phase) {
  if (!marks_.empty() && marks_.back().phase == phase) return;
  marks_.push_back({phase, queue_.record()});
}

compute::EventPtr DeviceClock::leave() {
  return end_ = queue_.record();
}

void DeviceClock::tell(std::string_view unit) {
  for (size_t i = 0; i < marks_.size(); ++i) {
    compute::Event& end = i + 1 < marks_.size() ? *marks_[i + 1].event : *end_;
    add(marks_[i].phase, unit, *marks_[i].event, end);
  }
  marks_.clear();
}

}  // namespace mopt::pipeline
