#include "host/text/normalizer.hpp"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "host/text/pattern.hpp"
#include "host/text/unicode.hpp"
#include "mopt/error.hpp"

namespace mopt::text {
namespace {

using Step = std::function<std::string(std::string)>;

void require(UErrorCode status) {
  if (U_SUCCESS(status)) return;
  throw Error(MOPT_INTERNAL, std::string("Unicode normalization failed with ") +
                                 u_errorName(status) + "; check that ICU's data is installed");
}

const icu::Normalizer2& normalizer(UnicodeForm form) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* found = nullptr;
  switch (form) {
    case UnicodeForm::kNfc:
      found = icu::Normalizer2::getNFCInstance(status);
      break;
    case UnicodeForm::kNfd:
      found = icu::Normalizer2::getNFDInstance(status);
      break;
    case UnicodeForm::kNfkc:
      found = icu::Normalizer2::getNFKCInstance(status);
      break;
    case UnicodeForm::kNfkd:
      found = icu::Normalizer2::getNFKDInstance(status);
      break;
  }
  require(status);
  return *found;
}

bool is_ascii(const std::string& text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

Step make(const Normalize& step) {
  // The instance belongs to ICU and lives as long as the process.
  const icu::Normalizer2* form = &normalizer(step.form);
  return [form](std::string text) {
    if (is_ascii(text)) return text;
    UErrorCode status = U_ZERO_ERROR;
    std::string out;
    icu::StringByteSink<std::string> sink(&out, static_cast<int32_t>(text.size()));
    form->normalizeUTF8(0, text, sink, nullptr, status);
    require(status);
    return out;
  };
}

Step make(const Lowercase&) {
  return [](std::string text) {
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size(); at += code_point_size(text, at)) {
      append_lowercase(out, code_point(text, at));
    }
    return out;
  };
}

Step make(Prepend& step) {
  return [prefix = std::move(step.prefix)](std::string text) {
    return text.empty() ? text : prefix + text;
  };
}

Step make(Replace& step) {
  // Shared because a std::function is copyable and a pattern is not.
  auto pattern = std::make_shared<const Pattern>(std::move(step.pattern));
  return [pattern, content = std::move(step.content)](std::string text) {
    return pattern->replace(text, content);
  };
}

}  // namespace

Normalizer::Normalizer(std::vector<NormalizerStep> steps) {
  for (NormalizerStep& step : steps) {
    steps_.push_back(std::visit([](auto& one) { return make(one); }, step));
  }
}

std::string Normalizer::apply(std::string text) const {
  for (const auto& step : steps_) {
    text = step(std::move(text));
  }
  return text;
}

}  // namespace mopt::text
