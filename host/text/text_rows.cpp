#include "host/text/text_rows.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "host/recipe/diagnostic.hpp"
#include "host/text/unicode.hpp"

namespace mopt::text {
namespace {

// Tokens behind the last one used when only the beginning of a file is encoded, so that nothing
// used lies near the cut.
constexpr int64_t kMargin = 256;

struct Place {
  const std::string& file;
  int line = 0;  // 1-based; 0: the whole file
};

[[noreturn]] void bad_row(const Place& place, std::string message, std::string remedy) {
  throw Failure(Diagnostic{.code = "D103",
                           .file = place.file,
                           .line = place.line,
                           .message = std::move(message),
                           .remedy = std::move(remedy)});
}

std::ifstream open(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (in) return in;
  throw Failure(Diagnostic{.code = "D101",
                           .file = file,
                           .message = "expected a file that can be read, found none",
                           .remedy = "correct the path or the file's permissions"});
}

int64_t saturating_product(int64_t a, int64_t b) {
  int64_t product = 0;
  if (!__builtin_mul_overflow(a, b, &product)) return product;
  return std::numeric_limits<int64_t>::max();
}

// Fills rows from a stream of tokens.
class Packer {
 public:
  explicit Packer(const Packing& packing) : packing_(packing) {}

  bool full() const { return std::ssize(rows_) == packing_.rows; }
  int64_t wanted() const { return saturating_product(packing_.rows, packing_.seq_len); }

  void add(const std::vector<int32_t>& ids, const Place& place) {
    for (const int32_t id : ids) {
      if (full()) return;
      if (id >= packing_.vocab_size) refuse(id, place);
      row_.push_back(id);
      if (std::ssize(row_) < packing_.seq_len) continue;
      rows_.push_back(std::move(row_));
      row_.clear();
    }
  }

  std::vector<std::vector<int32_t>> finish(const std::string& file) {
    if (rows_.empty() && !row_.empty()) rows_.push_back(std::move(row_));
    if (!rows_.empty()) return std::move(rows_);
    throw Failure(Diagnostic{.code = "D105",
                             .file = file,
                             .message = "expected text, found nothing that becomes a token",
                             .remedy = "give a file with text"});
  }

 private:
  [[noreturn]] void refuse(int32_t id, const Place& place) const {
    throw Failure(Diagnostic{
        .code = "D104",
        .file = place.file,
        .line = place.line,
        .message = "expected ids from 0 to " + std::to_string(packing_.vocab_size - 1) +
                   ", found " + std::to_string(id) + " from the tokenizer in row " +
                   std::to_string(rows_.size()),
        .remedy = "the tokenizer.json beside the model belongs to another one; replace it"});
  }

  Packing packing_;
  std::vector<std::vector<int32_t>> rows_;
  std::vector<int32_t> row_;
};

// The first invalid byte decides the line.
void require_utf8(std::string_view text, const std::string& file) {
  if (is_valid_utf8(text)) return;
  int line = 1;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
    if (!is_valid_utf8(text.substr(0, end))) break;
    text.remove_prefix(end);
    ++line;
  }
  bad_row({file, line}, "expected UTF-8, found other bytes", "convert the file to UTF-8");
}

// At most `bytes`, cut where a character ends.
std::string read_beginning(const std::string& file, int64_t bytes) {
  std::string text(static_cast<size_t>(bytes), '\0');
  std::ifstream in = open(file);
  in.read(text.data(), bytes);
  const int64_t got = in.gcount();  // of the read; peek() resets it
  const bool cut = got == bytes && in.peek() != std::ifstream::traits_type::eof();
  text.resize(static_cast<size_t>(got));
  for (int i = 0; cut && i < 4 && !text.empty(); ++i) {  // a character has at most 4 bytes
    const auto last = static_cast<unsigned char>(text.back());
    if (last < 0x80) break;
    text.pop_back();
    if (last >= 0xC0) break;
  }
  return text;
}

std::string document_of(const std::string& line, const Place& place) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  const std::string remedy = "correct or remove the line";
  if (json.is_discarded()) bad_row(place, "expected a JSON object, found no JSON", remedy);
  if (json.is_array() ||
      (json.is_object() && !json.contains("text") && json.contains("messages"))) {
    bad_row(place, "expected \"text\", found \"messages\": chat templates are not yet available",
            "render the conversations to {\"text\"}");
  }
  if (!json.is_object() || !json.contains("text") || !json["text"].is_string()) {
    bad_row(place, "expected an object with a string \"text\", found none", remedy);
  }
  return json["text"].get<std::string>();
}

}  // namespace

// Only as much of the file is read as the rows need: doubled until it gives their tokens and a
// margin.
std::vector<std::vector<int32_t>> pack_text_file(const std::string& file,
                                                 const Tokenizer& tokenizer,
                                                 const Packing& packing) {
  const auto size = static_cast<int64_t>(std::filesystem::file_size(file));
  Packer packer(packing);
  const int64_t wanted = packer.wanted();
  for (int64_t bytes = saturating_product(wanted, 8);; bytes = saturating_product(bytes, 2)) {
    const bool whole = bytes >= size - kMargin;
    const std::string text = read_beginning(file, whole ? size : bytes);
    require_utf8(text, file);
    if (text.empty()) return packer.finish(file);
    const auto ids = tokenizer.encode(text, SpecialTokens::kAdd);
    if (!whole && std::ssize(ids) < wanted + kMargin) continue;
    packer.add(ids, {file});
    return packer.finish(file);
  }
}

std::vector<std::vector<int32_t>> pack_jsonl_file(const std::string& file,
                                                  const Tokenizer& tokenizer,
                                                  const Packing& packing) {
  std::ifstream in = open(file);
  Packer packer(packing);
  std::string line;
  for (int number = 1; !packer.full() && std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    const Place place{file, number};
    packer.add(tokenizer.encode(document_of(line, place), SpecialTokens::kAdd), place);
  }
  return packer.finish(file);
}

}  // namespace mopt::text
