// Runs the recipe tests of files and folders: each in a directory of its own, with the built
// mopt-host. The last line is "N passed, N failed".
// Usage: recipe_tests [--filter TEXT] [--keep] PATH...     (MOPT_BUILD: the build tree)
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

#include "tests/golden.hpp"
#include "tests/recipe/checks.hpp"
#include "tests/recipe/process.hpp"
#include "tests/recipe/script.hpp"

namespace mopt::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Why this test cannot run here, or nothing.
std::string missing(const Script& script) {
  for (const std::string& need : script.needs) {
    const Words words = split_words(need);
    if (words.at(0) == "golden" && golden(words.at(1)).empty()) return "golden " + words[1];
    if (words[0] == "shared" && !fs::exists(variable("MOPT_SHARED") + "/" + words.at(1))) {
      return "shared " + words[1];
    }
    if (words[0] != "golden" && words[0] != "shared" && words[0] != "cpu") {
      throw std::runtime_error("'" + need + "' is nothing that a test can need");
    }
  }
  return {};
}

class Run {
 public:
  Run(const Script& script, const fs::path& directory) : script_(script), directory_(directory) {}

  // Throws at the first claim that does not hold.
  void all() {
    for (const Step& step : script_.steps) {
      if (!step.directive.starts_with("exit")) expect_success();
      try {
        one(step);
      } catch (const std::exception& e) {
        throw std::runtime_error(script_.file + ":" + std::to_string(step.line) + ": " + e.what());
      }
    }
    expect_success();
  }

 private:
  fs::path path(const std::string& name) const { return directory_ / expand(name); }
  std::string text(const std::string& name) const { return read_file(path(name).string()); }

  // $PLUGINS: the bad plugins; $LIBRARY: the product's; $BUILD, $SOURCE, $SHARED, $HERE.
  std::string expand(std::string word) const {
    const std::string build = variable("MOPT_BUILD");
    std::map<std::string, std::string> values{{"$PLUGINS", build + "/test/plugins"},
                                              {"$LIBRARY", build + "/lib/mopt/plugins/abi-0"},
                                              {"$BUILD", build},
                                              {"$SOURCE", MOPT_SOURCE},
                                              {"$SHARED", variable("MOPT_SHARED")},
                                              {"$HERE", directory_.string()}};
    values.insert(kept_.begin(), kept_.end());
    for (const auto& [name, value] : values) {
      for (size_t at; (at = word.find(name)) != std::string::npos;) {
        word.replace(at, name.size(), value);
      }
    }
    return word;
  }

  // A command is expected to end with 0 unless `exit` stands right behind it.
  void expect_success() {
    if (pending_) check_exit(0);
  }
  void check_exit(int expected) {
    pending_ = false;
    if (last_.exit == expected) return;
    throw std::runtime_error(script_.file + ":" + std::to_string(command_line_) +
                             ": expected exit " + std::to_string(expected) + ", found " +
                             std::to_string(last_.exit) + "; standard error:\n" + last_.err +
                             "  standard output:\n" + last_.out.substr(0, 2000));
  }

  void one(const Step& step) {
    static const std::map<std::string, void (Run::*)(const Step&)> kActions{
        {"recipe", &Run::write},
        {"write", &Run::write},
        {"stdin", &Run::set_input},
        {"env", &Run::set_variable},
        {"copy", &Run::copy},
        {"truncate", &Run::truncate},
        {"flip", &Run::flip},
        {"append", &Run::append},
        {"remove", &Run::remove},
        {"mkdir", &Run::mkdir},
        {"edit", &Run::edit},
        {"run", &Run::main_job},
        {"host", &Run::host},
        {"exit", &Run::exit_code},
        {"stdout", &Run::stream},
        {"stderr", &Run::stream},
        {"output", &Run::stream},
        {"stdout-is", &Run::whole},
        {"no-stdout", &Run::not_in_stream},
        {"no-stderr", &Run::not_in_stream},
        {"json", &Run::json},
        {"json-file", &Run::json},
        {"keep", &Run::keep},
        {"flip-tensor", &Run::flip_tensor},
        {"file", &Run::exists},
        {"no-file", &Run::exists},
        {"same", &Run::same},
        {"differ", &Run::same},
        {"contains", &Run::contains},
        {"lines", &Run::lines},
        {"size", &Run::size},
        {"tensor", &Run::tensor},
        {"close", &Run::close},
        {"export-matches", &Run::export_matches}};
    (this->*kActions.at(step.directive))(step);
  }

  const std::string& word(const Step& step, size_t i) const {
    if (i < step.words.size()) return step.words[i];
    throw std::runtime_error("'" + step.directive + "' needs " + std::to_string(i + 1) + " words");
  }
  void save(const fs::path& file, const std::string& content) const {
    fs::create_directories(file.parent_path());
    std::ofstream out(file, std::ios::binary);
    out << content;
    if (!out.flush()) throw std::runtime_error("cannot write " + file.string());
  }

  // ---- inputs
  void write(const Step& step) {
    save(step.directive == "recipe" ? path("recipe.toml") : path(word(step, 0)),
         joined(step.block));
  }
  void set_input(const Step& step) { input_ = joined(step.block); }
  void set_variable(const Step& step) { environment_[word(step, 0)] = expand(word(step, 1)); }
  void copy(const Step& step) {
    std::string from = expand(word(step, 0));
    if (from.starts_with("golden/")) from = golden(from.substr(7));
    if (from.empty()) throw std::runtime_error("there is no " + step.words[0]);
    const fs::path source = fs::path(from).is_absolute() ? fs::path(from) : directory_ / from;
    fs::create_directories(path(word(step, 1)).parent_path());
    fs::copy(source, path(step.words[1]), fs::copy_options::recursive);
    make_writable(path(step.words[1]));
  }
  static void make_writable(const fs::path& root) {
    fs::permissions(root, fs::perms::owner_write, fs::perm_options::add);
    if (!fs::is_directory(root)) return;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      fs::permissions(entry.path(), fs::perms::owner_write, fs::perm_options::add);
    }
  }
  // A negative number counts from the end.
  static size_t place(const std::string& number, size_t size) {
    const long long n = std::stoll(number);
    const long long at = n < 0 ? static_cast<long long>(size) + n : n;
    if (at < 0 || static_cast<size_t>(at) > size) throw std::runtime_error(number + " is outside");
    return static_cast<size_t>(at);
  }
  void truncate(const Step& step) {
    const std::string content = text(word(step, 0));
    save(path(step.words[0]), content.substr(0, place(word(step, 1), content.size())));
  }
  // Inverts the bits of one byte, or puts the given bytes there: flip FILE 0 "\x01\x02".
  void flip(const Step& step) {
    std::string content = text(word(step, 0));
    const size_t at = place(word(step, 1), content.size() - 1);
    const std::string bytes =
        step.words.size() > 2 ? step.words[2] : std::string(1, static_cast<char>(~content[at]));
    save(path(step.words[0]), content.replace(at, bytes.size(), bytes));
  }
  // Inverts the first byte of a tensor's data: flip-tensor FILE NAME.
  void flip_tensor(const Step& step) {
    const size_t at = tensor_offset(path(word(step, 0)), word(step, 1));
    flip({step.line, "flip", {step.words[0], std::to_string(at)}, {}});
  }
  void append(const Step& step) { save(path(word(step, 0)), text(step.words[0]) + word(step, 1)); }
  void remove(const Step& step) {
    if (fs::remove_all(path(word(step, 0))) == 0) throw std::runtime_error("nothing to remove");
  }
  void mkdir(const Step& step) { fs::create_directories(path(word(step, 0))); }
  void edit(const Step& step) {
    std::string content = text(word(step, 0));
    const size_t at = content.find(word(step, 1));
    if (at == std::string::npos) throw std::runtime_error("the text to replace is not there");
    save(path(step.words[0]), content.replace(at, step.words[1].size(), word(step, 2)));
  }

  // ---- commands
  void host(const Step& step) { execute_host(step.words, step.line); }
  // The main job: --recipe recipe.toml --model model --output out, unless given.
  void main_job(const Step& step) {
    Words words = step.words;
    const auto add = [&](const std::string& option, const std::string& value) {
      if (std::find(words.begin(), words.end(), option) != words.end()) return;
      words.insert(words.end(), {option, value});
    };
    add("--recipe", "recipe.toml");
    if (fs::exists(path("model"))) add("--model", "model");
    add("--output", "out");
    execute_host(words, step.line);
  }
  void execute_host(const Words& words, int line) {
    Command command{
        directory_.string(), {variable("MOPT_BUILD") + "/bin/mopt-host"}, environment_, input_};
    command.environment.try_emplace("XDG_DATA_HOME", directory_.string() + "/.data");
    command.environment.try_emplace("MOPT_PLUGIN_PATH", "");
    for (const std::string& word : words)
      command.words.push_back(expand(word));
    last_ = execute(command);
    input_.clear();
    command_line_ = line;
    pending_ = true;
  }

  // ---- claims
  void exit_code(const Step& step) { check_exit(std::stoi(word(step, 0))); }
  std::string stream_of(const Step& step) const {
    if (step.directive == "output") return last_.out + last_.err;
    return step.directive.ends_with("stderr") ? last_.err : last_.out;
  }
  void stream(const Step& step) { check_lines(step.block, stream_of(step), step.directive); }
  void whole(const Step& step) {
    if (last_.out == joined(step.block)) return;
    throw std::runtime_error("expected exactly:\n" + joined(step.block) + "  found:\n" + last_.out);
  }
  void not_in_stream(const Step& step) {
    if (stream_of(step).find(word(step, 0)) == std::string::npos) return;
    throw std::runtime_error("did not expect '" + step.words[0] + "' in:\n" + stream_of(step));
  }
  void json(const Step& step) {
    Words words;
    for (const std::string& word : step.words)
      words.push_back(expand(word));
    if (step.directive == "json") return check_json(last_.out, words);
    check_json(text(word(step, 0)), Words(words.begin() + 1, words.end()));
  }
  // keep NAME POINTER: a value of the last command's JSON, from now on $NAME.
  void keep(const Step& step) { kept_["$" + word(step, 0)] = json_text(last_.out, word(step, 1)); }
  void exists(const Step& step) {
    const bool wanted = step.directive == "file";
    for (const std::string& name : step.words) {
      if (fs::exists(fs::symlink_status(path(name))) == wanted) continue;
      throw std::runtime_error(name + (wanted ? " is not there" : " is there"));
    }
  }
  void same(const Step& step) {
    const std::string against = expand(word(step, 1));
    const fs::path b =
        against.starts_with("golden/") ? fs::path(golden(against.substr(7))) : path(against);
    if (step.directive == "same") return check_same(path(word(step, 0)), b);
    try {
      check_same(path(step.words[0]), b);
    } catch (const std::exception&) {
      return;
    }
    throw std::runtime_error(step.words[0] + " and " + step.words[1] + " are the same");
  }
  void contains(const Step& step) {
    if (text(word(step, 0)).find(word(step, 1)) != std::string::npos) return;
    throw std::runtime_error(step.words[0] + " does not contain '" + step.words[1] + "'");
  }
  void lines(const Step& step) {
    const std::string content = text(word(step, 0));
    const auto found = std::count(content.begin(), content.end(), '\n');
    if (found == std::stol(word(step, 1))) return;
    throw std::runtime_error(step.words[0] + " has " + std::to_string(found) + " lines");
  }
  void size(const Step& step) {
    const std::string found = std::to_string(fs::file_size(path(word(step, 0))));
    if (found == expand(word(step, 1))) return;
    throw std::runtime_error(step.words[0] + " has " + found + " bytes");
  }
  void tensor(const Step& step) {
    check_tensor(path(word(step, 0)), word(step, 1), word(step, 2), word(step, 3));
  }
  std::string tensor_place(const std::string& name) const {
    return name.starts_with("golden/")
               ? golden(name.substr(7, name.rfind(':') - 7)) + name.substr(name.rfind(':'))
               : path(name).string();
  }
  void close(const Step& step) {
    check_close(tensor_place(word(step, 0)), tensor_place(word(step, 1)), std::stod(word(step, 2)));
  }
  void export_matches(const Step& step) {
    const bool part = step.words.size() > 2 && step.words[2] == "part";
    check_export(path(word(step, 0)), golden(word(step, 1).substr(7)),
                 part ? Coverage::kPart : Coverage::kAll);
  }

  const Script& script_;
  fs::path directory_;
  std::map<std::string, std::string> environment_, kept_;
  std::string input_;
  Outcome last_;
  int command_line_ = 0;
  bool pending_ = false;  // the last command's exit code has not been looked at
};

struct Options {
  std::string filter;
  bool keep = false;
  std::vector<fs::path> files;
};

Options parse_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--filter" && i + 1 < argc) {
      options.filter = argv[++i];
    } else if (word == "--keep") {
      options.keep = true;
    } else if (fs::is_directory(word)) {
      for (const auto& entry : fs::recursive_directory_iterator(word)) {
        if (entry.path().extension() == ".test") options.files.push_back(entry.path());
      }
    } else {
      options.files.emplace_back(word);
    }
  }
  std::sort(options.files.begin(), options.files.end());
  return options;
}

class Tally {
 public:
  void passed() { ++passed_; }
  void skipped(const Script& script, const std::string& reason) {
    const std::lock_guard lock(mutex_);
    std::cout << "skipped " << script.title << " (needs " << reason << ")\n";
  }
  void failed(const Script& script, const std::string& what) {
    const std::lock_guard lock(mutex_);
    ++failed_;
    std::cout << "FAILED  " << script.title << "\n  " << what << "\n";
  }
  int finish() const {
    std::cout << passed_ << " passed, " << failed_ << " failed\n";
    return failed_ == 0 ? 0 : 1;
  }

 private:
  std::mutex mutex_;
  std::atomic<int> passed_ = 0, failed_ = 0;
};

void run_one(const Script& script, const fs::path& directory, Tally& tally) {
  try {
    if (const std::string reason = missing(script); !reason.empty()) {
      return tally.skipped(script, reason);
    }
    fs::create_directories(directory);
    Run(script, directory).all();
    tally.passed();
  } catch (const std::exception& e) {
    tally.failed(script, e.what());
  }
}

// The tests of all files; a file that cannot be understood is one failure.
std::vector<Script> load(const Options& options, Tally& tally) {
  std::vector<Script> scripts;
  for (const fs::path& file : options.files) {
    try {
      for (Script& script : parse_scripts(file.string(), read_file(file.string()))) {
        if (script.title.find(options.filter) != std::string::npos) {
          scripts.push_back(std::move(script));
        }
      }
    } catch (const std::exception& e) {
      tally.failed({file.string(), file.string(), 0, {}, {}}, e.what());
    }
  }
  return scripts;
}

int run_all(const Options& options) {
  Tally tally;
  const std::vector<Script> scripts = load(options, tally);
  std::string root = (fs::temp_directory_path() / "mopt_recipe_XXXXXX").string();
  if (mkdtemp(root.data()) == nullptr) throw std::runtime_error("no temporary directory");
  std::atomic<size_t> next = 0;
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i) {
    threads.emplace_back([&] {
      for (size_t mine; (mine = next++) < scripts.size();) {
        run_one(scripts[mine], fs::path(root) / std::to_string(mine), tally);
      }
    });
  }
  threads.clear();
  if (options.keep) {
    std::cout << "kept in " << root << "\n";
  } else {
    fs::remove_all(root);
  }
  return tally.finish();
}

}  // namespace
}  // namespace mopt::test

int main(int argc, char** argv) {
  try {
    return mopt::test::run_all(mopt::test::parse_options(argc, argv));
  } catch (const std::exception& e) {
    std::cout << e.what() << "\n0 passed, 1 failed\n";
    return 1;
  }
}
