#include "host/pipeline/journal.hpp"

#include <doctest/doctest.h>

#include <thread>

#include "host/recipe/diagnostic.hpp"
#include "tests/model_files.hpp"

namespace mopt::pipeline {
namespace {

using test::TempDir;

UnitRecord record(const std::string& unit) {
  UnitRecord r;
  r.unit = unit;
  r.xxh128 = std::string(32, 'a');
  r.layers.push_back({"l.weight", "mlp.up", "fp8", {4, 8}, 64, 36, 0.25, kNotMeasured});
  r.ledger.push_back(
      {"l.weight", Fate::kQuantized, "rule", {"l.weight", "l.weight_scale"}, "ff", {"1", "2"}});
  Diagnostic d;
  d.code = "W102";
  d.tensor = "l.weight";
  d.message = "all \"values\"\nare zero \xE2\x82\xAC";
  d.severity = Severity::kWarning;
  r.warnings.push_back(d);
  return r;
}

std::string code_of(const std::function<void()>& fn, std::string* text = nullptr) {
  try {
    fn();
  } catch (const Failure& f) {
    if (text != nullptr) *text = f.what();
    return f.diagnostics()[0].code;
  }
  return "";
}

const Fingerprint kNow{{"the recipe", "1"}, {"the program", "2"}};

std::shared_future<Fingerprint> known(const Fingerprint& f) {
  std::promise<Fingerprint> promise;
  promise.set_value(f);
  return promise.get_future();
}

TEST_CASE("what was journaled comes back word for word") {
  TempDir dir;
  {
    Journal journal(dir / "j", known(kNow));
    journal.append(record("decoder.0"));
    journal.append(record("decoder.1"));
    CHECK(journal.has("decoder.0"));
  }
  const Journal again = Journal::resume(dir / "j", kNow);
  REQUIRE(again.finished().size() == 2);
  CHECK(again.has("decoder.1"));
  CHECK_FALSE(again.has("decoder.2"));
  const UnitRecord &then = again.finished()[0], now = record("decoder.0");
  CHECK(then.unit == now.unit);
  CHECK(then.xxh128 == now.xxh128);
  CHECK(then.layers[0].shape == now.layers[0].shape);
  CHECK(then.layers[0].weight_error == 0.25);
  CHECK(std::isnan(then.layers[0].output_error) == std::isnan(kNotMeasured));
  CHECK(then.ledger[0].outputs == now.ledger[0].outputs);
  CHECK(then.ledger[0].fate == Fate::kQuantized);
  CHECK(then.warnings[0].message == now.warnings[0].message);
}

TEST_CASE("a line that a crash cut off is as if it were not there, at every length") {
  TempDir dir;
  {
    Journal journal(dir / "j", known(kNow));
    journal.append(record("decoder.0"));
    journal.append(record("decoder.1"));
  }
  const std::string whole = test::read_text(dir / "j");
  const size_t second = whole.find('\n', whole.find('\n') + 1) + 1;
  for (size_t size = second; size < whole.size(); size += 7) {
    test::write_text(dir / "cut", whole.substr(0, size));
    {
      Journal journal = Journal::resume(dir / "cut", kNow);
      REQUIRE(journal.finished().size() == 1);
      journal.append(record("decoder.1"));
    }
    CHECK(test::read_text(dir / "cut") == whole);
  }
}

TEST_CASE("a journal without a complete first line is unusable") {
  TempDir dir;
  CHECK_FALSE(Journal::usable(dir / "absent"));
  test::write_text(dir / "j", "{\"the recipe\"");
  CHECK_FALSE(Journal::usable(dir / "j"));
  test::write_text(dir / "j", "{\"the recipe\":\"1\"}\n");
  CHECK(Journal::usable(dir / "j"));
}

TEST_CASE("the first line waits for what it says, and no unit comes before it") {
  TempDir dir;
  std::promise<Fingerprint> promise;
  {
    Journal journal(dir / "j", promise.get_future());
    CHECK_FALSE(Journal::usable(dir / "j"));
    std::thread late([&] { promise.set_value(kNow); });
    journal.append(record("a"));
    late.join();
    CHECK(Journal::resume(dir / "j", kNow).has("a"));
  }
  Journal begun(dir / "k", known(kNow));
  for (int times = 0; times < 2; ++times)
    begun.begin();
  begun.append(record("a"));
  CHECK(test::read_text(dir / "k") == test::read_text(dir / "j"));
}

TEST_CASE("what kept the first line from being made shows with the first unit") {
  TempDir dir;
  std::promise<Fingerprint> promise;
  promise.set_exception(std::make_exception_ptr(Error(MOPT_IO, "it cannot be read", "m")));
  Journal journal(dir / "j", promise.get_future());
  CHECK_THROWS_AS(journal.append(record("a")), Error);
  CHECK_FALSE(Journal::usable(dir / "j"));
}

TEST_CASE("what changed since the interruption is named") {
  TempDir dir;
  Journal(dir / "j", known(kNow)).append(record("a"));
  std::string text;
  const Fingerprint other{{"the recipe", "X"}, {"the program", "2"}, {"plugin a.so", "3"}};
  CHECK(code_of([&] { Journal::resume(dir / "j", other); }, &text) == "J101");
  CHECK(text.find("plugin a.so, the recipe") != std::string::npos);
  CHECK(text.find("the program") == std::string::npos);
  CHECK(code_of([&] { Journal::resume(dir / "j", {{"the recipe", "1"}}); }, &text) == "J101");
  CHECK(text.find("the program") != std::string::npos);
}

TEST_CASE("a damaged line is a damaged journal, whatever is wrong with it") {
  TempDir dir;
  const std::string head = "{\"the program\":\"2\",\"the recipe\":\"1\"}\n";
  for (const char* line :
       {"garbage", "{}", "[]", "7", R"({"unit":"a"})",
        R"({"unit":"a","xxh128":"b","layers":[["n"]],"ledger":[],"warnings":[]})",
        R"({"unit":"a","xxh128":"b","layers":[],"ledger":[["t",9,"r",[],"s",[]]],"warnings":[]})",
        R"({"unit":"a","xxh128":"b","layers":[],"ledger":[["t"]],"warnings":[]})",
        R"({"unit":"a","xxh128":"b","layers":[],"ledger":[],"warnings":[[1,2,3,4]]})"}) {
    CAPTURE(line);
    test::write_text(dir / "j", head + line + "\n");
    CHECK(code_of([&] { Journal::resume(dir / "j", kNow); }) == "J102");
  }
  test::write_text(dir / "j", "[1,2]\n");
  CHECK(code_of([&] { Journal::resume(dir / "j", kNow); }) == "J102");
}

}  // namespace
}  // namespace mopt::pipeline
