// A checkpoint of safetensors files, mapped read-only.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "header.hpp"
#include "mopt/format.hpp"
#include "mopt/reader.hpp"
#include "sources.hpp"

namespace mopt::safetensors {

class Reader {
 public:
  static constexpr const char* name = "safetensors";
  static constexpr const char* summary =
      "safetensors: one file, or a Hugging Face directory with shards; read and write";
  static constexpr bool concurrent = true;

  static int probe(std::string_view path, std::span<const uint8_t> head);
  Reader(const Host& host, const std::string& path);

  size_t count() const { return tensors_.size(); }
  mopt_stored_tensor tensor(size_t index) const;
  size_t n_files() const { return files_.size(); }
  std::string_view file(size_t index) const { return files_.at(index).path; }
  // A text beside the weights; empty when there is none. Weights are not documents.
  std::string_view document(std::string_view name) const;
  std::string_view metadata() const { return metadata_; }
  void read(const Exec& exec, size_t index, int64_t begin, int64_t end, DLTensor& out) const;
  void prefetch(size_t index) const;
  void release(size_t index) const;

 private:
  struct File {
    std::string path;
    MappedFile mapped;
    Header header;
  };
  struct Ref {
    uint32_t file, entry;
  };
  void open(const std::string& path);
  void check_index(const Host& host, const Index& index) const;
  void merge_metadata();
  const Entry& entry(size_t index) const;
  const MappedFile& mapped(size_t index) const;
  const std::byte* bytes(size_t index) const;

  std::filesystem::path directory_;
  std::vector<File> files_;
  std::vector<Ref> tensors_;
  std::string metadata_;
  mutable Documents documents_;
};

}  // namespace mopt::safetensors
