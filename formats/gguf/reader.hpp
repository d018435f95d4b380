// A GGUF model, mapped read-only and presented as the Hugging Face checkpoint it was made from.
//
// Every float or quantized tensor is presented in the model's type: bf16 when any tensor is
// quantized or BF16, else f16 when any is F16, else f32. A value is decoded to float32 as ggml does
// and rounded once. Integers and F64 keep their type.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "container.hpp"
#include "model.hpp"
#include "mopt/format.hpp"
#include "mopt/reader.hpp"

namespace mopt::gguf {

class Reader {
 public:
  static constexpr const char* name = "gguf";
  static constexpr const char* summary =
      "GGUF: one file or the first of a split model, as Hugging Face tensors; read only";
  static constexpr bool concurrent = true;

  static int probe(std::string_view path, std::span<const uint8_t> head);
  Reader(const Host& host, const std::string& path);

  size_t count() const { return tensors_.size(); }
  mopt_stored_tensor tensor(size_t index) const;
  size_t n_files() const { return files_.size(); }
  std::string_view file(size_t index) const { return files_.at(index).path; }
  // config.json, generation_config.json, tokenizer.json, tokenizer_config.json and
  // chat_template.jinja, made from the metadata. One that cannot be made is empty, with a warning.
  std::string_view document(std::string_view name) const;
  std::string_view metadata() const { return metadata_; }
  void read(const Exec& exec, size_t index, int64_t begin, int64_t end, DLTensor& out) const;
  void prefetch(size_t index) const;
  void release(size_t index) const;

 private:
  struct File {
    std::string path;
    MappedFile mapped;
    Container container;
  };
  struct Presented {
    uint32_t file;
    const StoredTensor* stored;
    Presentation as;
    DLDataType dtype;
  };
  void open(const std::string& path);
  void open_split(const std::string& path);
  void gather_facts();
  void present_all();
  const Presented& presented(size_t index) const;
  const uint8_t* bytes(const Presented& tensor) const;
  void check_request(const Presented& tensor, int64_t begin, int64_t end,
                     const DLTensor& out) const;
  std::string build(std::string_view name) const;

  Host host_;  // the host outlives its plugins
  std::vector<File> files_;
  std::unique_ptr<Model> model_;
  TensorFacts facts_;
  bool rope_is_config_ = false;  // rope_freqs.weight is expressed by config.json
  std::vector<Presented> tensors_;
  std::string metadata_;
  mutable Documents documents_;
};

}  // namespace mopt::gguf
