// For the tests of this folder: schemes, and the golden exports' tensors.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "mopt/exporter.hpp"
#include "tests/golden.hpp"

namespace mopt::hf::test {

mopt_scheme scheme(std::string_view name, DLDataType element, mopt_granularity granularity,
                   DLDataType scale = kF32, uint32_t rows = 0, uint32_t cols = 0,
                   mopt_scheme_flags flags = 0);

extern const mopt_scheme kFp8, kFp8Run, kFp8Channel, kFp8Token, kFp8Tiles, kInt8, kInt8Channel,
    kInt4, kNvfp4, kNvfp4Block32, kNvfp4Input, kMxfp4, kMxfp4Input, kMxfp8, kMxfp8Input;

// A golden export and the schemes that it was made with.
struct Export {
  std::string folder;
  const mopt_scheme* weight;
  const mopt_scheme* input;
  const mopt_scheme* kv = nullptr;
};
extern const std::vector<Export> kExports;

std::string text(const std::string& folder, const std::string& file);

struct Header {
  std::string dtype;
  std::vector<int64_t> shape;
};
using Headers = std::map<std::string, Header>;

// Names, types and shapes of an export: from model.safetensors, or, where the full set is missing,
// from its header alone (header.json). Empty when neither is there.
Headers headers(const std::string& folder);

// The parameters that a host would hand to finish for this export.
std::vector<mopt_param> parameters(const Headers& tensors, const Export& e);

mopt_export job(const std::string& config, const std::vector<mopt_param>& params,
                const mopt_scheme* kv = nullptr);

// What finish emits, by file name.
template <class Exporter>
std::map<std::string, std::string> finish(Exporter& exporter, const mopt_export& job) {
  std::map<std::string, std::string> files;
  const mopt_text_sink sink{
      &files, [](void* ctx, mopt_str name, mopt_str text) noexcept -> mopt_error* {
        return guard([&] {
          static_cast<std::map<std::string, std::string>*>(ctx)->emplace(view(name), view(text));
        });
      }};
  exporter.finish(job, TextSink(sink));
  return files;
}

}  // namespace mopt::hf::test
