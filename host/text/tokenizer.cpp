#include "host/text/tokenizer.hpp"

#include <algorithm>
#include <utility>

#include "host/text/tokenizer_impl.hpp"

namespace mopt::text {

std::unique_ptr<BpeScratch> ScratchPool::take() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) return std::make_unique<BpeScratch>();
  auto scratch = std::move(free_.back());
  free_.pop_back();
  return scratch;
}

void ScratchPool::give(std::unique_ptr<BpeScratch> scratch) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(scratch));
}

Tokenizer::Impl::Impl(TokenizerSpec spec)
    : normalizer(std::move(spec.normalizer)),
      pre_tokenizer(std::move(spec.pre_tokenizer)),
      model(std::move(spec.model)),
      added(spec.added_tokens, model, normalizer),
      post_processor(std::move(spec.post_processor)),
      decoder(std::move(spec.decoder)) {}

void Tokenizer::Impl::encode_piece(std::string_view text, Place place, BpeScratch& scratch,
                                   std::vector<int32_t>& out) const {
  const std::string normalized = normalizer.apply(std::string(text));
  for (const Segment& segment : added.split(normalized, Pass::kNormalized)) {
    if (segment.id) {
      out.push_back(*segment.id);
      continue;
    }
    const Place here = segment.range.begin == 0 ? place : Place::kInside;
    const Words words =
        pre_tokenizer.apply(normalized.substr(segment.range.begin, segment.range.size()), here);
    for (const Range& word : words.ranges) {
      model.encode(std::string_view(words.text).substr(word.begin, word.size()), scratch, out);
    }
  }
}

const std::string* Tokenizer::Impl::token(int32_t id) const {
  const std::string* content = added.content(id);
  return content != nullptr ? content : model.token(id);
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::from_json(std::string_view tokenizer_json) {
  return Tokenizer(std::make_unique<Impl>(read_tokenizer_json(tokenizer_json)));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  std::string repaired;
  if (!is_valid_utf8(text)) text = repaired = to_valid_utf8(text);
  std::vector<int32_t> ids;
  auto scratch = impl_->pool.take();
  for (const Segment& segment : impl_->added.split(text, Pass::kRaw)) {
    if (segment.id) {
      ids.push_back(*segment.id);
      continue;
    }
    const Place place = segment.range.begin == 0 ? Place::kStart : Place::kInside;
    impl_->encode_piece(text.substr(segment.range.begin, segment.range.size()), place, *scratch,
                        ids);
  }
  impl_->pool.give(std::move(scratch));
  return special == SpecialTokens::kAdd ? impl_->post_processor.apply(std::move(ids)) : ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, ShowSpecial special) const {
  std::vector<std::string> tokens;
  for (const int32_t id : ids) {
    const std::string* token = impl_->token(id);
    if (token == nullptr) continue;
    if (special == ShowSpecial::kSkip && impl_->added.is_special(*token)) continue;
    tokens.push_back(*token);
  }
  return impl_->decoder.apply(std::move(tokens));
}

int32_t Tokenizer::vocab_size() const {
  return std::max(impl_->model.end_id(), impl_->added.end_id());
}

std::optional<int32_t> Tokenizer::id(std::string_view token) const {
  const auto added = impl_->added.id(token);
  return added ? added : impl_->model.id(token);
}

}  // namespace mopt::text
