#include "host/pipeline/output.hpp"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "host/recipe/diagnostic.hpp"
#include "tests/model_files.hpp"

namespace mopt::pipeline {
namespace {

namespace fs = std::filesystem;
using test::read_text;
using test::TempDir;
using test::write_text;

struct Fixture {
  TempDir dir;
  fs::path source = dir / "source", out = dir / "out", partial = dir / "out.partial";
  Fixture() { fs::create_directories(source); }

  OutputDirectory open(Unfinished unfinished = Unfinished::kRefuse,
                       Existing existing = Existing::kRefuse) {
    return {out, source, unfinished, existing};
  }
  // A run that is killed: the directory stays as it is.
  void killed(const std::function<void(OutputDirectory&)>& work,
              Existing existing = Existing::kRefuse) {
    const pid_t child = fork();
    if (child == 0) {
      OutputDirectory output(out, source, Unfinished::kRefuse, existing);
      work(output);
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    REQUIRE(WIFEXITED(status));
    REQUIRE(WEXITSTATUS(status) == 0);
  }
  std::string code(Unfinished unfinished, Existing existing = Existing::kRefuse) {
    try {
      open(unfinished, existing);
    } catch (const Failure& f) {
      message = f.what();
      return f.diagnostics()[0].code;
    }
    return "";
  }
  std::string message;
};

void work(OutputDirectory& output) {
  output.write("mopt/journal.jsonl", "{}\n");
  output.write("weights", "new");
}

TEST_CASE_FIXTURE(Fixture, "nothing has the final name until it is published") {
  {
    OutputDirectory output = open();
    work(output);
    CHECK_FALSE(fs::exists(out));
    CHECK(read_text(partial / "weights") == "new");
    output.publish();
  }
  CHECK(read_text(out / "weights") == "new");
  CHECK_FALSE(fs::exists(partial));
  CHECK_FALSE(fs::exists(out / "mopt/pid"));
}

TEST_CASE_FIXTURE(Fixture, "a run that ended before it made anything leaves no directory") {
  { const OutputDirectory output = open(); }
  CHECK_FALSE(fs::exists(partial));
  killed([](OutputDirectory&) {});
  CHECK(fs::exists(partial));
  CHECK(code(Unfinished::kRefuse) == "");  // nothing was lost: no reason to ask
}

TEST_CASE_FIXTURE(Fixture, "an unfinished run is continued or thrown away, as is said") {
  killed(work);
  CHECK(code(Unfinished::kRefuse) == "R107");
  CHECK(message.find("--restart") != std::string::npos);
  CHECK(read_text(partial / "weights") == "new");
  {
    const OutputDirectory output = open(Unfinished::kResume);
    CHECK(read_text(partial / "weights") == "new");
  }
  CHECK(read_text(partial / "weights") == "new");
  const OutputDirectory output = open(Unfinished::kRestart);
  CHECK_FALSE(fs::exists(partial / "weights"));
}

TEST_CASE_FIXTURE(Fixture, "an output that exists is refused before anything is made") {
  fs::create_directories(out);
  CHECK(code(Unfinished::kRefuse) == "R105");
  CHECK(code(Unfinished::kResume) == "R105");
  CHECK(code(Unfinished::kRestart) == "R105");
  CHECK_FALSE(fs::exists(partial));
}

TEST_CASE_FIXTURE(Fixture,
                  "the old output stands until the new one replaces it, and then is gone") {
  write_text(out / "weights", "old");
  {
    OutputDirectory output = open(Unfinished::kRefuse, Existing::kOverwrite);
    work(output);
    CHECK(read_text(out / "weights") == "old");
    output.publish();
  }
  CHECK(read_text(out / "weights") == "new");
  CHECK_FALSE(fs::exists(partial));
  CHECK_FALSE(fs::exists(out / "mopt/replaces"));
}

TEST_CASE_FIXTURE(Fixture, "a replacement that fails in the middle leaves the old output alone") {
  write_text(out / "weights", "old");
  killed(work, Existing::kOverwrite);
  CHECK(read_text(out / "weights") == "old");
  SUBCASE("resumed as it was begun") {
    OutputDirectory output = open(Unfinished::kResume);
    output.publish();
    CHECK(read_text(out / "weights") == "new");
    CHECK_FALSE(fs::exists(partial));
  }
  SUBCASE("refused without a word about it") {
    CHECK(code(Unfinished::kRefuse) == "R105");
    CHECK(code(Unfinished::kRefuse, Existing::kOverwrite) == "R107");
  }
}

TEST_CASE_FIXTURE(Fixture, "killed between the exchange and the removal, the new output stays") {
  write_text(out / "weights", "old");
  killed(work, Existing::kOverwrite);
  // What renameat2 did before the process died.
  fs::rename(out, dir / "aside");
  fs::rename(partial, out);
  fs::rename(dir / "aside", partial);
  SUBCASE("found by the next run") {
    CHECK(code(Unfinished::kResume) == "R105");  // it is finished: run() says so
    CHECK(read_text(out / "weights") == "new");
  }
  SUBCASE("found by a run that replaces it again") {
    OutputDirectory output = open(Unfinished::kResume, Existing::kOverwrite);
    CHECK(read_text(out / "weights") == "new");
    CHECK_FALSE(fs::exists(partial / "weights"));
  }
  SUBCASE("asked for") {
    CHECK(OutputDirectory::end_replacement(out));
    CHECK_FALSE(fs::exists(partial));
    CHECK_FALSE(OutputDirectory::end_replacement(out));
  }
  CHECK_FALSE(fs::exists(out / "mopt/replaces"));
}

TEST_CASE_FIXTURE(Fixture, "a second process is refused with the first one's id") {
  int to_parent[2], to_child[2];
  REQUIRE(pipe(to_parent) == 0);
  REQUIRE(pipe(to_child) == 0);
  const pid_t child = fork();
  if (child == 0) {
    const OutputDirectory output(out, source, Unfinished::kRefuse, Existing::kRefuse);
    char byte = 'x';
    if (write(to_parent[1], &byte, 1) != 1 || read(to_child[0], &byte, 1) != 1) _exit(1);
    _exit(0);
  }
  char byte = 0;
  REQUIRE(read(to_parent[0], &byte, 1) == 1);
  for (const Unfinished mode : {Unfinished::kRefuse, Unfinished::kResume, Unfinished::kRestart}) {
    CHECK(code(mode) == "R104");
    CHECK(message.find("process " + std::to_string(child)) != std::string::npos);
  }
  // Before the first file and after the last one there is none that names it.
  fs::remove(fs::path(out.string() + ".partial") / "mopt/pid");
  CHECK(code(Unfinished::kResume) == "R104");
  CHECK(message.find("process " + std::to_string(child)) != std::string::npos);
  REQUIRE(write(to_child[1], &byte, 1) == 1);
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(code(Unfinished::kResume) == "");
}

TEST_CASE_FIXTURE(Fixture, "source and output stand apart, in both directions and through links") {
  out = source / "out";
  CHECK(code(Unfinished::kRefuse) == "R108");
  out = source;
  CHECK(code(Unfinished::kRefuse, Existing::kOverwrite) == "R108");
  fs::create_directory_symlink(source, dir / "link");
  out = dir / "link/out";
  CHECK(code(Unfinished::kRefuse) == "R108");
  out = dir.path();  // holds the source: replacing it would remove that
  CHECK(code(Unfinished::kRefuse, Existing::kOverwrite) == "R108");
  write_text(dir / "files/model.gguf", "x");
  source = dir / "files/model.gguf";
  out = dir / "files";
  CHECK(code(Unfinished::kRefuse, Existing::kOverwrite) == "R108");
  out = dir / "files/out";
  CHECK(code(Unfinished::kRefuse) == "");
}

TEST_CASE_FIXTURE(Fixture, "a path with a slash at its end is the same output") {
  fs::create_directories(out);
  out = out.string() + "/";
  CHECK(code(Unfinished::kRefuse) == "R105");
}

TEST_CASE_FIXTURE(Fixture, "files are copied byte for byte, whatever their size") {
  std::string bytes(3'000'001, '\0');
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<char>(i * 2654435761u >> 13);
  write_text(source / "big", bytes);
  write_text(source / "empty", "");
  const OutputDirectory output = open();
  output.copy("big", source / "big");
  output.copy("empty", source / "empty");
  CHECK(read_text(partial / "big") == bytes);
  CHECK(fs::file_size(partial / "empty") == 0);
  CHECK_FALSE(fs::exists(partial / "big.new"));
}

TEST_CASE_FIXTURE(Fixture, "a directory that cannot be made is a failure of resources") {
  write_text(dir / "file", "");
  out = dir / "file/out";
  CHECK(code(Unfinished::kRefuse) == "R106");
}

}  // namespace
}  // namespace mopt::pipeline
