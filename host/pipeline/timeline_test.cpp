#include "host/pipeline/timeline.hpp"

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "host/pipeline/on_both_test.hpp"

namespace mopt::pipeline::test {
namespace {

using Span = Report::Timeline::Span;
using Lane = Report::Timeline::Lane;

void sleep(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

// Whether each hundredth of a second from 0 to 10 is covered.
std::vector<bool> ticks(const std::vector<Interval>& intervals) {
  std::vector<bool> out(1000);
  for (const Interval& i : intervals) {
    for (auto t = std::lround(i.begin * 100); t < std::lround(i.end * 100); ++t)
      out[static_cast<size_t>(t)] = true;
  }
  return out;
}

TEST_CASE("intervals hold what was added, in order and without overlap") {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    Intervals intervals;
    std::vector<Interval> added;
    for (int n = 0; n < 30; ++n) {
      const double begin = static_cast<double>(random() % 900) / 100;
      added.push_back({begin, begin + static_cast<double>(random() % 60) / 100});
      intervals.add(added.back());
    }
    const std::vector<bool> want = ticks(added);
    CHECK(ticks(intervals.all()) == want);
    CHECK(intervals.measure() ==
          doctest::Approx(static_cast<double>(std::ranges::count(want, true)) / 100));
    for (size_t i = 1; i < intervals.all().size(); ++i)
      CHECK(intervals.all()[i - 1].end < intervals.all()[i].begin);
  }
}

TEST_CASE("intervals beyond a number join where the gap is smallest") {
  Intervals intervals;
  for (size_t i = 0; i <= Intervals::kMost; ++i) {
    const double begin = static_cast<double>(i) * 2 - (i == 100 ? 0.5 : 0);
    intervals.add({begin, begin + 1});
  }
  CHECK(intervals.all().size() == Intervals::kMost);
  CHECK(intervals.all()[99] == Interval{198, 200.5});
  CHECK(intervals.all()[100].begin == 202);
}

TEST_CASE("merged spans follow each other and account for all of the lane's time") {
  std::mt19937 random(2);
  const std::vector<std::string> units = {"a", "b", "c", "d", "e", "f", "g"};
  for (const size_t most : {2, 3, 10, 40, 1000}) {
    for (int round = 0; round < 50; ++round) {
      std::vector<Stretch> stretches;
      std::vector<Interval> plain;
      const size_t count = random() % 120;
      for (size_t n = 0; n < count; ++n) {
        const double begin = static_cast<double>(random() % 900) / 100;
        const Interval at{begin, begin + static_cast<double>(random() % 20) / 100};
        stretches.push_back({units[random() % units.size()], at});
        plain.push_back(at);
      }
      const std::vector<Span> spans = merged(stretches, most, 10);
      CHECK(spans.size() <= most);
      double busy = 0, last = 0;
      for (const Span& s : spans) {
        CHECK(s.begin >= last);
        CHECK(s.end > s.begin);
        CHECK(s.busy <= s.end - s.begin + 1e-9);
        last = s.end;
        busy += s.busy;
      }
      const auto covered = std::ranges::count(ticks(plain), true);
      CHECK(busy == doctest::Approx(static_cast<double>(covered) / 100));
    }
  }
}

TEST_CASE("merged spans keep units apart while there is room, and name the first and the last") {
  const std::vector<Stretch> stretches = {
      {"a", {0, 1}}, {"b", {1, 2}}, {"b", {2.1, 3}}, {"c", {2.5, 6}}, {"d", {7, 8}}};
  const std::vector<Span> all = merged(stretches, 10, 8);
  REQUIRE(all.size() == 4);
  CHECK(all[1].unit == "b");
  CHECK(all[1].to.empty());
  CHECK(all[1].busy == doctest::Approx(1.9));
  CHECK(all[2].begin == 3);
  const std::vector<Span> two = merged(stretches, 2, 8);
  REQUIRE(two.size() == 1);
  CHECK(two[0].unit == "a");
  CHECK(two[0].to == "d");
  CHECK(two[0].busy == doctest::Approx(6.9));
  CHECK(merged({}, 10, 0).empty());
}

TEST_CASE("a scope within another one interrupts it, on the loop's thread") {
  Timeline timeline;
  {
    const Timeline::Scope encode(&timeline, Phase::kEncode, "a");
    sleep(0.02);
    const Timeline::Scope write(&timeline, Phase::kWrite, "a");
    sleep(0.04);
  }
  const double total = timeline.now();
  CHECK(timeline.busy(Phase::kEncode) >= 0.02);
  CHECK(timeline.busy(Phase::kWrite) >= 0.04);
  CHECK(timeline.busy(Phase::kEncode) + timeline.busy(Phase::kWrite) <= total);
}

TEST_CASE("threads that do the same at once count once; only the loop's thread waits") {
  Timeline timeline;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const Timeline::Scope read(&timeline, Phase::kRead, "a");
      const Timeline::Scope wait(&timeline, Phase::kWaitWrite, "a");
      sleep(0.03);
    });
  }
  for (std::thread& t : threads)
    t.join();
  CHECK(timeline.busy(Phase::kRead) >= 0.03);
  CHECK(timeline.busy(Phase::kRead) <= timeline.now());
  CHECK(timeline.busy(Phase::kWaitWrite) == 0);
  { const Timeline::Scope wait(&timeline, Phase::kWaitWrite, "a"); }
  CHECK(timeline.busy(Phase::kWaitWrite) > 0);
}

TEST_CASE("nobody looks without a timeline") {
  const Timeline::Scope scope(nullptr, Phase::kRead, "a");
}

TEST_CASE("the sentence names what took most of the loop's thread") {
  Timeline timeline;
  timeline.begin_loop();
  const auto spend = [&](Phase phase, double seconds) {
    const double begin = timeline.now();
    sleep(seconds);
    timeline.add(phase, "a", {begin, timeline.now()});
  };
  spend(Phase::kRead, 0.01);
  spend(Phase::kEncode, 0.03);
  timeline.end_loop();
  CHECK(timeline.report().text.starts_with("limited by encoding: of 0.0"));
  spend(Phase::kRead, 0.05);  // after the loop
  CHECK(timeline.report().text.starts_with("limited by encoding: of 0.0"));
  CHECK(Timeline().report().text.empty());
}

TEST_CASE("the device's clock tells its queue's phases in the run's seconds") {
  compute::test::EmulatedDevice device({.work = compute::test::WorkMode::kOnThread});
  const auto queue = device.make_queue("q");
  Timeline timeline(&device);
  sleep(0.01);
  DeviceClock clock(timeline, *queue);
  const double before = timeline.now();
  const auto work = [&](Phase phase, double seconds) {
    clock.enter(phase);
    clock.enter(phase);
    compute::test::emulated_queue(*queue).submit([=] { sleep(seconds); });
  };
  work(Phase::kEncode, 0.03);
  work(Phase::kCopyOut, 0.01);
  work(Phase::kEncode, 0.02);
  sleep(0.02);  // enqueued, and under way meanwhile
  clock.leave()->wait();
  clock.tell("a");
  const double after = timeline.now();
  CHECK(timeline.busy(Phase::kEncode) >= 0.05);
  CHECK(timeline.busy(Phase::kCopyOut) >= 0.01);
  const Report::Timeline report = timeline.report();
  CHECK(report.device_busy <= after - before + 0.005);
  CHECK(report.device_busy >= 0.06);
  for (const Lane& lane : report.lanes) {
    CHECK(lane.spans.front().begin >= before - 0.005);
    CHECK(lane.spans.back().end <= after + 0.005);
  }
}

std::vector<std::string> names(const Report::Timeline& t) {
  std::vector<std::string> out;
  for (const Lane& lane : t.lanes)
    out.push_back(lane.name);
  return out;
}

const Lane& lane(const Report& r, const std::string& name) {
  return *std::ranges::find(r.timeline.lanes, name, &Lane::name);
}

void check_times(const Report& r) {
  const Report::Timeline& t = r.timeline;
  CHECK(t.loop_begin > 0);
  CHECK(t.loop_end > t.loop_begin);
  CHECK(t.loop_end < r.seconds.total);
  size_t spans = 0;
  for (const Lane& lane : t.lanes) {
    CAPTURE(lane.name);
    double last = 0, busy = 0;
    for (const Span& s : lane.spans) {
      CHECK(s.begin >= last - 1e-9);
      CHECK(s.end > s.begin);
      CHECK(s.end <= r.seconds.total);
      last = s.end;
      busy += s.busy;
    }
    CHECK(busy == doctest::Approx(lane.busy).epsilon(1e-6));
    spans += lane.spans.size();
  }
  CHECK(spans < 480);
}

// The table that evaluates on a file of ids.
std::string evaluated_on(const fs::path& file) {
  return "[[eval]]\nid = \"ppl\"\nkind = \"perplexity\"\nwindow = 12\ndata = \"" + file.string() +
         "\"\n";
}

TEST_CASE_FIXTURE(OnBoth, "the report of a run on a device has a lane for every phase") {
  write_model({.layers = 5, .unknown = {"extra"}});
  const std::string tables = kCalibrated + evaluated_on(write_ids());
  for (const compute::test::WorkMode work :
       {compute::test::WorkMode::kAtOnce, compute::test::WorkMode::kOnThread}) {
    compute::test::EmulatedDevice device({.work = work});
    std::string said;
    run_on(&device, tables, work == compute::test::WorkMode::kAtOnce ? "at_once" : "thread",
           [&](RunRequest& request) {
             request.say = [&](const std::string& line) { said += line + "\n"; };
           });
    check_times(report);
    CHECK(names(report.timeline) == std::vector<std::string>{"read", "hash", "copy in", "forward",
                                                             "solve", "encode", "copy out", "write",
                                                             "sync", "verify", "eval", "wait"});
    CHECK(said.find("the device was busy") != std::string::npos);
    CHECK(said.find(report.timeline.text) != std::string::npos);
    // By its unit, one after the other; the model's text, made before, first.
    const std::vector<Span>& forward = lane(report, "forward").spans;
    REQUIRE(forward.size() >= 6);
    CHECK(forward[0].unit == "calibration text");
    for (size_t i = 1; i + 1 < forward.size(); ++i)
      CHECK(forward[i].unit != forward[i + 1].unit);
    const Report::Timeline& t = report.timeline;
    CHECK(t.device_busy > 0);
    CHECK(t.device_busy <= t.loop_end - t.loop_begin);
    CHECK(t.waited.read + t.waited.device + t.waited.write <= t.loop_end - t.loop_begin);
    CHECK(t.waited.device > 0);
    CHECK(device.complaints() == std::vector<std::string>());
  }
}

TEST_CASE_FIXTURE(OnBoth, "the report of a run on the CPU has its phases one after the other") {
  write_model({.layers = 5});
  run_on(nullptr, kCalibrated, "cpu");
  check_times(report);
  CHECK(names(report.timeline) ==
        std::vector<std::string>{"read", "forward", "solve", "encode", "write", "sync", "verify"});
  CHECK(std::isnan(report.timeline.device_busy));
  double all = 0;
  for (const Lane& lane : report.timeline.lanes)
    all += lane.busy;
  CHECK(all <= report.seconds.total);
  CHECK(report.seconds.read == doctest::Approx(lane(report, "read").busy));
  CHECK(report.seconds.encode == doctest::Approx(lane(report, "encode").busy));
}

}  // namespace
}  // namespace mopt::pipeline::test
