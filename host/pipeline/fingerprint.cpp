#include "host/pipeline/fingerprint.hpp"

#include <algorithm>
#include <memory>

#include "host/compute/parallel.hpp"
#include "host/pipeline/source_file.hpp"
#include "host/report/hash.hpp"

namespace mopt::pipeline {
namespace {

constexpr uint64_t kBufferBytes = uint64_t{1} << 20;
// Stretches that a thread takes at a time.
constexpr int64_t kGrain = 4;

struct Stretch {
  size_t file;
  uint64_t begin, end;
  std::string hash;
};

void add_stretches(size_t file, uint64_t size, uint64_t length, uint64_t every,
                   std::vector<Stretch>& out) {
  for (uint64_t at = 0; at < size; at += every)
    out.push_back({file, at, std::min(size, at + length), {}});
  if (size > length && length < every) out.push_back({file, size - length, size, {}});
}

std::string hash_of(const SourceFile& file, const Stretch& s, std::span<std::byte> buffer) {
  Xxh128 hash;
  for (uint64_t at = s.begin; at < s.end;) {
    const auto piece = buffer.first(std::min<uint64_t>(buffer.size(), s.end - at));
    file.read(at, piece);
    hash.update(piece);
    at += piece.size();
  }
  return hash.hex();
}

}  // namespace

std::vector<std::string> fingerprints(std::span<const std::filesystem::path> paths,
                                      Probing probing) {
  std::vector<std::unique_ptr<SourceFile>> files;
  std::vector<uint64_t> sizes;
  uint64_t total = 0;
  for (const std::filesystem::path& path : paths) {
    files.push_back(std::make_unique<SourceFile>(path));
    sizes.push_back(files.back()->size());
    total += sizes.back();
  }
  const bool whole = total <= probing.whole;
  std::vector<Stretch> stretches;
  for (size_t i = 0; i < files.size(); ++i) {
    if (!whole) files[i]->expect_random();
    add_stretches(i, sizes[i], whole ? probing.every : probing.bytes, probing.every, stretches);
  }
  compute::for_each(static_cast<int64_t>(stretches.size()), kGrain, [&](int64_t a, int64_t b) {
    std::vector<std::byte> buffer(std::min(kBufferBytes, whole ? probing.every : probing.bytes));
    for (Stretch& s :
         std::span(stretches).subspan(static_cast<size_t>(a), static_cast<size_t>(b - a))) {
      s.hash = hash_of(*files[s.file], s, buffer);
    }
  });
  std::vector<std::string> texts;
  texts.reserve(sizes.size());
  for (const uint64_t size : sizes)
    texts.push_back(std::to_string(size));
  for (const Stretch& s : stretches)
    texts[s.file] += " " + s.hash;
  for (std::string& text : texts)
    text = xxh128_hex(text);
  return texts;
}

}  // namespace mopt::pipeline
