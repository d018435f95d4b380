#include <utility>

#include "host/text/tokenizer.hpp"
#include "host/text/tokenizer_impl.hpp"
#include "host/text/unicode.hpp"

namespace mopt::text {

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, ShowSpecial special)
    : tokenizer_(&tokenizer), special_(special) {}

std::string StreamDecoder::emit(std::string_view certain) {
  if (certain.size() <= emitted_) return {};
  std::string out(certain.substr(emitted_));
  emitted_ = certain.size();
  return out;
}

std::string StreamDecoder::push(int32_t id) {
  ids_.push_back(id);
  const Growth growth = tokenizer_->impl_->decoder.growth();
  if (growth == Growth::kAtEnd) return {};
  const std::string* token = tokenizer_->impl_->token(id);
  if (growth == Growth::kTokens && token != nullptr && byte_of_token(*token)) return {};
  const std::string text = tokenizer_->decode(ids_, special_);
  std::string_view certain = text;
  // A replacement character at the end may be the first bytes of a character.
  if (growth == Growth::kBytes) {
    while (certain.ends_with(kReplacementCharacter)) {
      certain.remove_suffix(kReplacementCharacter.size());
    }
  }
  std::string out = emit(certain);
  if (growth == Growth::kBytes && certain.size() == text.size()) {
    ids_.clear();
    emitted_ = 0;
  }
  return out;
}

std::string StreamDecoder::finish() {
  std::string out = emit(tokenizer_->decode(ids_, special_));
  ids_.clear();
  emitted_ = 0;
  return out;
}

}  // namespace mopt::text
