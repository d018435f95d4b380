// A Hugging Face tokenizer: text to ids and back, as its tokenizer.json says.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mopt::text {

enum class SpecialTokens { kNone, kAdd };  // encode: whether the post-processor adds them
enum class ShowSpecial { kKeep, kSkip };   // decode

// All members but from_json may be called from many threads at once.
class Tokenizer {
 public:
  // Byte pair encoding only. A component that is not served is refused by its name. `truncation`
  // and `padding` are not applied, as transformers resets them for every call.
  static Tokenizer from_json(std::string_view tokenizer_json);  // throws mopt::Error

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Bytes that are not UTF-8 are read as U+FFFD.
  std::vector<int32_t> encode(std::string_view text, SpecialTokens special) const;

  // Ids that no token has are skipped.
  std::string decode(std::span<const int32_t> ids, ShowSpecial special) const;

  int32_t vocab_size() const;  // one more than the largest id
  std::optional<int32_t> id(std::string_view token) const;

 private:
  friend class StreamDecoder;
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Turns ids into text while they are generated: what is certain so far, never half a UTF-8
// character. All parts together are what decode() gives for all ids.
class StreamDecoder {
 public:
  // The tokenizer must outlive the decoder.
  explicit StreamDecoder(const Tokenizer& tokenizer, ShowSpecial special = ShowSpecial::kSkip);
  std::string push(int32_t id);
  std::string finish();  // the rest; afterwards the decoder is as new

 private:
  std::string emit(std::string_view certain);

  const Tokenizer* tokenizer_;
  ShowSpecial special_;
  std::vector<int32_t> ids_;  // since the last point where nothing was held back
  size_t emitted_ = 0;        // bytes of decode(ids_) given out
};

}  // namespace mopt::text
