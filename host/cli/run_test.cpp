// The whole program on captured streams: what goes to standard output, what to standard error.
#include "host/cli/run.hpp"

#include <doctest/doctest.h>

#include <sstream>

#include "host/report/json.hpp"
#include "host/report/version.hpp"

using namespace mopt;
using namespace mopt::cli;

namespace {

struct Result {
  int exit = 0;
  std::string out, err;
};

Stream stream_into(std::string& text, Delivery delivery, int width) {
  return {[&text, delivery](std::string_view bytes) {
            if (delivery == Delivery::kDone) text += bytes;
            return delivery;
          },
          [width] { return width; }, width != 0};
}

struct Setting {
  Delivery delivery = Delivery::kDone;
  int width = 0;  // of both streams; 0: no terminal
};

// An executable in an empty prefix: no plugins, no recipes.
Result run_words(const std::vector<std::string>& words, Setting setting = {}) {
  Result result;
  std::istringstream in;
  const Process process{"/nonexistent/prefix/bin/mopt-host",
                        stream_into(result.out, setting.delivery, setting.width),
                        stream_into(result.err, Delivery::kDone, setting.width), &in};
  result.exit = run(words, process);
  return result;
}

}  // namespace

TEST_CASE("the version is one line on standard output") {
  const Result r = run_words({"--version"});
  CHECK(r.exit == 0);
  CHECK(r.out.find("mopt-host " + std::string(version()) + " ") == 0);
  CHECK(r.out.find('\n') == r.out.size() - 1);
  CHECK(r.err.empty());
}

TEST_CASE("help goes to standard output, a usage error to standard error") {
  const Result help = run_words({"eval", "--help"});
  CHECK(help.exit == 0);
  CHECK(help.err.empty());
  CHECK(help.out.find("Usage: mopt-host eval PATH") == 0);
  const Result error = run_words({"evil"});
  CHECK(error.exit == 2);
  CHECK(error.out.empty());
  CHECK(error.err == "error[U101]: unknown command 'evil'; did you mean 'eval'?\n");
}

TEST_CASE("with --json a failure is one JSON document on standard output") {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"evil", "--json"},
                                                {"inspect", "/nonexistent/x", "--json"},
                                                {"plugins", "--json", "--device", "cuda"}}) {
    const Result r = run_words(words);
    CHECK(r.exit != 0);
    const Json json = Json::parse(r.out, nullptr, false);
    REQUIRE(json.is_object());
    CHECK(json["problems"].size() == 1);
    CHECK_FALSE(r.err.empty());
  }
}

TEST_CASE("a device that this build does not have is refused") {
  const Result r = run_words({"plugins", "--device", "cuda:1"});
  CHECK(r.exit == 6);
  CHECK(r.err.find("error[R103]") == 0);
  CHECK(r.err.find("no CUDA part") != std::string::npos);
}

TEST_CASE("a plugin directory or kernel that is not there is named") {
  CHECK(run_words({"plugins", "--plugin-dir", "/nonexistent/p"}).exit == 2);
  const Result r = run_words({"plugins", "--kernel", "linear.referenze"});
  CHECK(r.exit == 2);
  CHECK(r.err.find("linear.reference") != std::string::npos);
}

TEST_CASE("plugins lists where it searched, as text and as JSON") {
  const Result text = run_words({"plugins"});
  CHECK(text.exit == 0);
  CHECK(text.out.find("no plugin is loaded") == 0);
  const Json json = Json::parse(run_words({"plugins", "--json"}).out);
  CHECK(json["plugins"].empty());
  CHECK(json["searched"].back() == "/nonexistent/prefix/lib/mopt/plugins/abi-0");
}

TEST_CASE("explain knows codes, roles, engines and options without any plugin") {
  const auto kind = [](const char* name) {
    return Json::parse(run_words({"explain", name, "--json"}).out)["kind"].get<std::string>();
  };
  CHECK(kind("E301") == "diagnostic code");
  CHECK(kind("mlp.down") == "role");
  CHECK(kind("vllm") == "engine");
  CHECK(kind("window") == "option");
  CHECK(kind("json") == "option");
  CHECK(kind("roles") == "role");
}

TEST_CASE("explain suggests the nearest name") {
  const Result r = run_words({"explain", "E3O1"});
  CHECK(r.exit == 2);
  CHECK(r.err.find("error[U102]") == 0);
  CHECK(r.err.find("'E301'") != std::string::npos);
}

TEST_CASE("explain fits a terminal of 40 columns") {
  std::istringstream lines(run_words({"explain", "E301"}, {Delivery::kDone, 40}).out);
  for (std::string line; std::getline(lines, line);) {
    CAPTURE(line);
    CHECK(display_width(line) <= 40);
  }
}

TEST_CASE("a reader that went away is no fault, a full disk is") {
  CHECK(run_words({"--help"}, {Delivery::kReaderGone, 0}).exit == 0);
  const Result r = run_words({"--help"}, {Delivery::kFailed, 0});
  CHECK(r.exit == 6);
  CHECK(r.err.find("error[R106]") == 0);
}

TEST_CASE("diagnostics are coloured on terminals and when asked for, never else") {
  const char* escape = "\x1b[";
  CHECK(run_words({"evil"}).err.find(escape) == std::string::npos);
  CHECK(run_words({"inspect", "/nonexistent/x", "--color", "always"}).err.find(escape) !=
        std::string::npos);
  CHECK(run_words({"inspect", "/nonexistent/x", "--color", "never"}, {Delivery::kDone, 80})
            .err.find(escape) == std::string::npos);
}

TEST_CASE("colour adds to a diagnostic and changes nothing of it") {
  Diagnostic d;
  d.code = "E101";
  d.file = "q.toml";
  d.line = 3;
  d.message = "unknown key";
  CHECK(colored(d) == "\x1b[1mq.toml:3: \x1b[0m\x1b[1;31merror[E101]:\x1b[0m unknown key");
  d.file.clear();
  d.line = 0;
  d.severity = Severity::kWarning;
  CHECK(colored(d) == "\x1b[1;33mwarning[E101]:\x1b[0m unknown key");
}
