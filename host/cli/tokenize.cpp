#include "host/cli/tokenize.hpp"

#include <charconv>
#include <fstream>
#include <istream>
#include <iterator>
#include <limits>

#include "host/cli/arguments.hpp"
#include "host/cli/commands.hpp"
#include "host/loader/container.hpp"
#include "host/report/json.hpp"
#include "host/text/tokenizer.hpp"

namespace mopt::cli {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void bad_line(const LinePlace& place, std::string message, std::string remedy) {
  Diagnostic d;
  d.code = "D103";
  d.file = place.file;
  d.line = place.line;
  d.message = std::move(message);
  d.remedy = std::move(remedy);
  throw Failure(std::move(d));
}

std::string file_text(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw Error(MOPT_IO, "it cannot be read; check its permissions", file.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string tokenizer_json(App& app, const fs::path& path) {
  std::error_code failed;
  if (fs::is_regular_file(path / "tokenizer.json", failed)) {
    return file_text(path / "tokenizer.json");
  }
  if (path.extension() == ".json" && fs::is_regular_file(path, failed)) return file_text(path);
  const Container container = Container::open(app.registry(), path);
  const std::string_view json = container.document("tokenizer.json");
  if (!json.empty()) return std::string(json);
  Diagnostic d;
  d.code = "D106";
  d.file = path.string();
  d.message = "the model has no tokenizer.json";
  d.remedy = "copy it from the model's repository, or give the path of one";
  throw Failure(std::move(d));
}

text::Tokenizer open_tokenizer(App& app, const fs::path& path) {
  const std::string json = tokenizer_json(app, path);
  try {
    return text::Tokenizer::from_json(json);
  } catch (const Error& e) {
    Diagnostic d;
    d.code = "M109";
    d.file = path.string();
    d.message = e.what();
    throw Failure(std::move(d));
  }
}

void check_ids(const std::vector<int32_t>& ids, const text::Tokenizer& tokenizer,
               const LinePlace& place) {
  for (const int32_t id : ids) {
    if (id >= 0 && id < tokenizer.vocab_size()) continue;
    Diagnostic d;
    d.code = "D104";
    d.file = place.file;
    d.line = place.line;
    d.message = "expected ids below " + std::to_string(tokenizer.vocab_size()) + ", found " +
                std::to_string(id);
    d.remedy = "decode with the tokenizer that made the ids";
    throw Failure(std::move(d));
  }
}

// Results of lines: printed as they come, or kept for the document.
class Lines {
 public:
  Lines(App& app, const TokenizeOptions& options) : app_(app), options_(options) {}

  void encode(const text::Tokenizer& tokenizer, std::string_view line, const LinePlace& place) {
    const auto special = options_.special == SpecialTokens::kKeep ? text::SpecialTokens::kAdd
                                                                  : text::SpecialTokens::kNone;
    const bool json = options_.lines == LineFormat::kJson;
    const std::vector<int32_t> ids =
        tokenizer.encode(json ? text_of_json(line, place) : std::string(line), special);
    if (app_.json()) {
      results_.push_back(ids);
      return;
    }
    std::string text;
    for (const int32_t id : ids) {
      text += text.empty() ? "" : json ? "," : " ";
      text += std::to_string(id);
    }
    app_.console().text(json ? "[" + text + "]\n" : text + "\n");
  }

  void decode(const text::Tokenizer& tokenizer, std::string_view line, const LinePlace& place) {
    const bool json = options_.lines == LineFormat::kJson;
    const std::vector<int32_t> ids = json ? ids_of_json(line, place) : ids_of_line(line, place);
    check_ids(ids, tokenizer, place);
    const auto show = options_.special == SpecialTokens::kKeep ? text::ShowSpecial::kKeep
                                                               : text::ShowSpecial::kSkip;
    const std::string text = tokenizer.decode(ids, show);
    if (app_.json()) {
      results_.push_back(text);
    } else {
      app_.console().text((json ? json_text(text) : text) + "\n");
    }
  }

  void finish() {
    if (!app_.json()) return;
    const char* key = options_.mode == TokenizeMode::kDecode ? "text" : "ids";
    app_.console().document(json_page({{key, results_}}));
  }

 private:
  App& app_;
  const TokenizeOptions& options_;
  Json results_ = Json::array();
};

}  // namespace

std::vector<int32_t> ids_of_line(std::string_view line, const LinePlace& place) {
  constexpr std::string_view kSeparators = " ,\t\r";
  std::vector<int32_t> ids;
  for (size_t at = line.find_first_not_of(kSeparators); at != std::string_view::npos;
       at = line.find_first_not_of(kSeparators, at)) {
    const size_t end = std::min(line.find_first_of(kSeparators, at), line.size());
    const std::string_view word = line.substr(at, end - at);
    int32_t id = 0;
    const auto [stop, fault] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (fault != std::errc{} || stop != word.data() + word.size()) {
      bad_line(place, "expected ids, found '" + std::string(word) + "'",
               "separate whole numbers by spaces or commas");
    }
    ids.push_back(id);
    at = end;
  }
  return ids;
}

std::vector<int32_t> ids_of_json(std::string_view line, const LinePlace& place) {
  const Json json = Json::parse(line, nullptr, false);
  std::vector<int32_t> ids;
  bool good = json.is_array();
  for (size_t i = 0; good && i < json.size(); ++i) {
    good = json[i].is_number_integer() && json[i] >= 0 &&
           json[i] <= std::numeric_limits<int32_t>::max();
    if (good) ids.push_back(json[i].get<int32_t>());
  }
  if (!good) {
    bad_line(place, "expected a JSON array of ids", "write a line such as [9707, 1879]");
  }
  return ids;
}

std::string text_of_json(std::string_view line, const LinePlace& place) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_string()) {
    bad_line(place, "expected a JSON string",
             "write a line such as \"some text\", or leave out --jsonl");
  }
  return json.get<std::string>();
}

Exit run_tokenize(App& app, const TokenizeOptions& options) {
  if (options.chat) refuse_chat();
  const text::Tokenizer tokenizer = open_tokenizer(app, options.path);
  Lines lines(app, options);
  LinePlace place{"standard input", 0};
  std::string line;
  while (!app.console().reader_gone() && std::getline(app.input(), line)) {
    ++place.line;
    if (options.mode == TokenizeMode::kDecode) {
      lines.decode(tokenizer, line, place);
    } else {
      lines.encode(tokenizer, line, place);
    }
  }
  lines.finish();
  return Exit::kDone;
}

}  // namespace mopt::cli
