#include "host/text/data.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "host/recipe/diagnostic.hpp"

namespace mopt::text {
namespace {

using IdRows = std::vector<std::vector<int32_t>>;

// Letters a to e are ids 1 to 5, a document begins with id 0.
Tokenizer letters() {
  return Tokenizer::from_json(R"({"added_tokens": [], "model": {"type": "BPE", "merges": [],
      "vocab": {"<s>": 0, "a": 1, "b": 2, "c": 3, "d": 4, "e": 5}},
      "post_processor": {"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                   {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}}})");
}

// A folder of files that lives as long as the test.
class Folder {
 public:
  Folder()
      : path_(std::filesystem::temp_directory_path() /
              ("mopt_data_test_" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path_);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }

  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

DataRequest request(std::vector<std::string> sources, int64_t samples, int64_t seq_len) {
  return {std::move(sources), samples, seq_len, 0, 6};
}

std::vector<IdMatrix> no_ids(const std::string&) {
  return {};
}

IdRows text_rows(const std::string& file, int64_t samples, int64_t seq_len) {
  const Tokenizer tokenizer = letters();
  return load_rows(request({file}, samples, seq_len), &tokenizer, no_ids).rows;
}

template <class Fn>
Diagnostic failure_of(Fn fn) {
  try {
    fn();
  } catch (const Failure& failure) {
    return failure.diagnostics().at(0);
  }
  return {};
}

Diagnostic text_failure(const std::string& file) {
  return failure_of([&] { text_rows(file, 8, 4); });
}

bool names(const Diagnostic& diagnostic, const std::string& text) {
  return diagnostic.message.find(text) != std::string::npos;
}

const IdPlace kPlace{"ids.safetensors", 100};
const std::vector<IdMatrix> kBatches = {{"batch.10", 1, 2, {10, 11}},
                                        {"batch.2", 2, 2, {20, 21, 22, 23}},
                                        {"eval.input_ids", 1, 3, {1, 2, 3}}};

}  // namespace

TEST_CASE("a text file is one document, packed, and its incomplete row is dropped") {
  const Folder folder;
  CHECK(text_rows(folder.write("a.txt", "abcdeabcd"), 8, 4) == IdRows{{0, 1, 2, 3}, {4, 5, 1, 2}});
  CHECK(text_rows(folder.write("b.txt", "abcdeabcd"), 1, 4) == IdRows{{0, 1, 2, 3}});
  CHECK(text_rows(folder.write("c.txt", "ab"), 8, 4) == IdRows{{0, 1, 2}});
}

TEST_CASE("of a long file the beginning gives the same rows as the whole") {
  const Folder folder;
  std::string text;
  for (size_t i = 0; text.size() < 100'000; ++i) {
    text += i % 3 == 0   ? "é"
            : i % 7 == 0 ? "😀"
                         : std::string(1, static_cast<char>('a' + i * i % 5));
  }
  const std::string file = folder.write("long.txt", text);
  const IdRows whole = text_rows(file, 100'000, 64);
  for (const int64_t samples : {1, 2, 7, 100, 300}) {
    const IdRows some = text_rows(file, samples, 64);
    CHECK(some == IdRows(whole.begin(), whole.begin() + samples));
  }
}

TEST_CASE("each line of a jsonl file is a document; a long one continues in the next row") {
  const Folder folder;
  const std::string file =
      folder.write("a.jsonl", "{\"text\": \"abc\"}\n\n{\"text\": \"ddddd\", \"x\": 1}\r\n");
  CHECK(text_rows(file, 8, 5) == IdRows{{0, 1, 2, 3, 0}, {4, 4, 4, 4, 4}});
  CHECK(text_rows(file, 8, 100) == IdRows{{0, 1, 2, 3, 0, 4, 4, 4, 4, 4}});
}

TEST_CASE("a bad line is named by its number and what is wrong with it") {
  const Folder folder;
  const auto failure = [&](const std::string& line) {
    return text_failure(folder.write("bad.jsonl", "{\"text\": \"a\"}\n" + line + "\n"));
  };
  for (const char* line : {"{\"text\": 1}", "{\"content\": \"a\"}", "{\"text\"", "7",
                           "{\"text\": \"\\ud800\"}", "{\"text\": \"\xFF\"}"}) {
    CAPTURE(line);
    const Diagnostic diagnostic = failure(line);
    CHECK(diagnostic.code == "D103");
    CHECK(diagnostic.line == 2);
    CHECK(diagnostic.file.ends_with("bad.jsonl"));
    CHECK_FALSE(diagnostic.remedy.empty());
  }
  CHECK(names(failure("{\"messages\": []}"), "\"messages\": chat templates are not yet available"));
  CHECK(names(failure("[{\"role\": \"user\"}]"), "\"messages\""));
}

TEST_CASE("a text file that is not UTF-8 is refused with the line") {
  const Folder folder;
  const Diagnostic diagnostic = text_failure(folder.write("a.txt", "a\nb\n\xC3\nc"));
  CHECK(diagnostic.code == "D103");
  CHECK(diagnostic.line == 3);
  CHECK(text_failure(folder.write("b.txt", "a\nb\xC3")).line == 2);
}

TEST_CASE("empty files, missing ones and unknown endings have codes of their own") {
  const Folder folder;
  CHECK(text_failure(folder.write("a.txt", "")).code == "D105");
  CHECK(text_failure(folder.write("a.jsonl", "\n \n")).code == "D105");
  CHECK(text_failure("no/such/file.txt").code == "D101");
  CHECK(text_failure(folder.write("a.csv", "a")).code == "D102");
  const std::string text = folder.write("b.txt", "a");
  CHECK(text_failure(text + ":key").code == "D102");
  const Diagnostic diagnostic =
      failure_of([&] { load_rows(request({text}, 1, 1), nullptr, no_ids); });
  CHECK(diagnostic.code == "D106");
  CHECK(failure_of([&] { text_rows(text, 0, 4); }).code == "E104");
}

TEST_CASE("a tokenizer whose ids the model does not have is refused") {
  const Folder folder;
  const Tokenizer tokenizer = letters();
  DataRequest small = request({folder.write("a.jsonl", "{\"text\": \"abe\"}")}, 4, 8);
  small.vocab_size = 5;
  const Diagnostic diagnostic = failure_of([&] { load_rows(small, &tokenizer, no_ids); });
  CHECK(diagnostic.code == "D104");
  CHECK(names(diagnostic, "expected ids from 0 to 4, found 5"));
}

TEST_CASE("sources are used in order up to the number of samples, and rows are cut") {
  const Folder folder;
  const std::string text = folder.write("a.txt", "abc");
  const std::string ids = folder.write("ids.safetensors", "");
  const Tokenizer tokenizer = letters();
  const auto open = [](const std::string&) {
    return std::vector<IdMatrix>{{"x", 2, 3, {5, 4, 3, 2, 1, 0}}};
  };
  const Rows rows = load_rows(request({ids, text, ids + ":x"}, 4, 2), &tokenizer, open);
  CHECK(rows.rows == IdRows{{5, 4}, {2, 1}, {0, 1}, {2, 3}});
  CHECK(rows.tokens() == 8);
  CHECK(rows.source == ids + ", " + text);
  CHECK(load_rows(request({ids}, 512, 512), nullptr, open).rows == IdRows{{5, 4, 3}, {2, 1, 0}});
  CHECK(failure_of([&] {
          load_rows(request({ids, "no/such/file.txt"}, 1, 2), nullptr, open);
        }).code == "D101");
}

TEST_CASE("a colon parts file and key unless the whole is a file") {
  const Folder folder;
  const std::string plain = folder.write("a.safetensors", "");
  const std::string colon = folder.write("b:c.safetensors", "");
  CHECK(split_source(plain).key.empty());
  CHECK(split_source(plain + ":batch.*").file == plain);
  CHECK(split_source(plain + ":batch.*").key == "batch.*");
  CHECK(split_source(plain + ":a:b").key == "a:b");
  CHECK(split_source(colon).file == colon);
  CHECK(split_source(colon + ":k").file == colon);
  CHECK(failure_of([&] { split_source("none:k"); }).code == "D101");
  CHECK(failure_of([&] { load_ids(folder.write("a.bin", ""), no_ids, 9); }).code == "D102");
}

TEST_CASE("without a key input_ids is taken, else the only tensor, else the key is asked for") {
  CHECK(select_ids({{"other", 1, 1, {7}}, {"input_ids", 1, 2, {1, 2}}}, "", kPlace) ==
        IdRows{{1, 2}});
  CHECK(select_ids({{"other", 2, 1, {7, 8}}}, "", kPlace) == IdRows{{7}, {8}});
  const Diagnostic several = failure_of([&] { select_ids(kBatches, "", kPlace); });
  CHECK(several.code == "D107");
  CHECK(several.file == "ids.safetensors");
  CHECK(names(several, "batch.10 [1, 2], batch.2 [2, 2], eval.input_ids [1, 3]"));
  CHECK(failure_of([&] { select_ids({}, "", kPlace); }).code == "D107");
}

TEST_CASE("a key with a star joins all that match in natural order of their names") {
  CHECK(select_ids(kBatches, "batch.*", kPlace) == IdRows{{20, 21}, {22, 23}, {10, 11}});
  CHECK(select_ids(kBatches, "*.input_*", kPlace) == IdRows{{1, 2, 3}});
  CHECK(select_ids(kBatches, "eval.input_ids", kPlace) == IdRows{{1, 2, 3}});
  CHECK(select_ids(kBatches, "*", kPlace).size() == 4);
  CHECK(failure_of([&] { select_ids(kBatches, "batch", kPlace); }).code == "D107");
  CHECK(failure_of([&] { select_ids(kBatches, "train.*", kPlace); }).code == "D107");
  const std::vector<IdMatrix> mixed = {{"b10a", 1, 1, {4}}, {"b9b", 1, 1, {3}},
                                       {"b", 1, 1, {0}},    {"b009", 1, 1, {1}},
                                       {"b9a", 1, 1, {2}},  {"b10b", 1, 1, {5}}};
  CHECK(select_ids(mixed, "b*", kPlace) == IdRows{{0}, {1}, {2}, {3}, {4}, {5}});
}

TEST_CASE("an id outside the vocabulary is named by tensor, row, column and value") {
  for (const int64_t id : {int64_t{-1}, int64_t{100}, int64_t{1} << 40}) {
    const Diagnostic diagnostic = failure_of([&] {
      select_ids({{"x", 2, 2, {0, 99, 1, id}}}, "", kPlace);
    });
    CHECK(diagnostic.code == "D104");
    CHECK(diagnostic.tensor == "x");
    CHECK(names(diagnostic,
                "expected ids from 0 to 99, found " + std::to_string(id) + " in row 1, column 1"));
  }
  CHECK(failure_of([&] { select_ids({{"x", 0, 4, {}}}, "", kPlace); }).code == "D105");
  CHECK(failure_of([&] { select_ids({{"x", 4, 0, {}}}, "", kPlace); }).code == "D105");
}

}  // namespace mopt::text
