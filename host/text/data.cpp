#include "host/text/data.hpp"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <utility>

#include "host/recipe/diagnostic.hpp"
#include "host/text/text_rows.hpp"

namespace mopt::text {
namespace {

enum class Kind { kText, kJsonLines, kIds };

struct Source {
  Kind kind;
  SourcePath path;
};

bool is_file(const std::string& path) {
  std::error_code ignored;  // an unreadable path is no file here, and reported as such
  return std::filesystem::is_regular_file(path, ignored);
}

[[noreturn]] void refuse_kind(const SourcePath& path) {
  throw Failure(Diagnostic{
      .code = "D102",
      .file = path.file,
      .message = path.key.empty()
                     ? "expected data with the ending .txt, .jsonl or .safetensors, found another"
                     : "expected a KEY only behind an id file (.safetensors), found '" +
                           printable(path.key) + "'",
      .remedy = path.key.empty() ? "convert the file, or give it the ending of what it is"
                                 : "leave the KEY out"});
}

Source classify(const std::string& source) {
  const SourcePath path = split_source(source);
  const std::string ending = std::filesystem::path(path.file).extension();
  if (ending == ".safetensors") return {Kind::kIds, path};
  if (!path.key.empty()) refuse_kind(path);
  if (ending == ".txt") return {Kind::kText, path};
  if (ending == ".jsonl") return {Kind::kJsonLines, path};
  refuse_kind(path);
}

std::vector<std::vector<int32_t>> cut_rows(std::vector<std::vector<int32_t>> rows,
                                           const Packing& packing) {
  if (std::ssize(rows) > packing.rows) rows.resize(static_cast<size_t>(packing.rows));
  for (auto& row : rows) {
    if (std::ssize(row) > packing.seq_len) row.resize(static_cast<size_t>(packing.seq_len));
  }
  return rows;
}

std::vector<std::vector<int32_t>> load_source(const Source& source, const Packing& packing,
                                              const Tokenizer* tokenizer, const OpenIds& open) {
  const std::string& file = source.path.file;
  if (source.kind == Kind::kIds) {
    return cut_rows(select_ids(open(file), source.path.key, {file, packing.vocab_size}), packing);
  }
  if (tokenizer == nullptr) {
    throw Failure(Diagnostic{.code = "D106",
                             .file = file,
                             .message = "expected a tokenizer for text, found a model without one",
                             .remedy = "put tokenizer.json into the model's directory, or give the "
                                       "data as an id file"});
  }
  return source.kind == Kind::kText ? pack_text_file(file, *tokenizer, packing)
                                    : pack_jsonl_file(file, *tokenizer, packing);
}

void require_positive(int64_t value, const char* name) {
  if (value > 0) return;
  throw Failure(Diagnostic{.code = "E104",
                           .message = std::string("expected calibration.") + name +
                                      " of at least 1, found " + std::to_string(value),
                           .remedy = "give a larger one"});
}

}  // namespace

int64_t Rows::tokens() const {
  int64_t sum = 0;
  for (const auto& row : rows) {
    sum += std::ssize(row);
  }
  return sum;
}

SourcePath split_source(const std::string& source) {
  if (is_file(source)) return {source, {}};
  for (size_t at = source.rfind(':'); at != source.npos && at > 0; at = source.rfind(':', at - 1)) {
    std::string file = source.substr(0, at);
    if (is_file(file)) return {std::move(file), source.substr(at + 1)};
  }
  throw Failure(Diagnostic{.code = "D101",
                           .file = source,
                           .message = "expected a file, found none of this name",
                           .remedy = "correct the path; relative ones start at the working "
                                     "directory, and data sets are not downloaded"});
}

std::vector<std::vector<int32_t>> load_ids(const std::string& source, const OpenIds& open,
                                           int64_t vocab_size) {
  const SourcePath path = split_source(source);
  if (std::filesystem::path(path.file).extension() != ".safetensors") refuse_kind({path.file, {}});
  return select_ids(open(path.file), path.key, {path.file, vocab_size});
}

Rows load_rows(const DataRequest& request, const Tokenizer* tokenizer, const OpenIds& open) {
  require_positive(request.samples, "samples");
  require_positive(request.seq_len, "seq_len");
  std::vector<Source> sources;  // all are looked at before any is read
  for (const std::string& source : request.sources) {
    sources.push_back(classify(source));
  }
  Rows out;
  for (size_t i = 0; i < sources.size(); ++i) {
    const int64_t left = request.samples - std::ssize(out.rows);
    if (left == 0) break;
    auto rows =
        load_source(sources[i], {left, request.seq_len, request.vocab_size}, tokenizer, open);
    out.source += (out.source.empty() ? "" : ", ") + request.sources[i];
    std::ranges::move(rows, std::back_inserter(out.rows));
  }
  return out;
}

}  // namespace mopt::text
