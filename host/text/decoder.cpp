#include "host/text/decoder.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include "host/text/byte_alphabet.hpp"
#include "host/text/pattern.hpp"
#include "host/text/unicode.hpp"

namespace mopt::text {
namespace {

using Tokens = std::vector<std::string>;
using Step = std::function<void(Tokens&)>;

Step make(const BytesFromLevel&) {
  return [](Tokens& tokens) {
    std::string bytes;
    for (const std::string& token : tokens) {
      append_spelled_bytes(bytes, token);
    }
    tokens = {to_valid_utf8(bytes)};
  };
}

void flush_bytes(std::string& bytes, Tokens& out) {
  if (bytes.empty()) return;
  if (is_valid_utf8(bytes)) {
    out.push_back(bytes);
  } else {
    out.insert(out.end(), bytes.size(), std::string(kReplacementCharacter));
  }
  bytes.clear();
}

Step make(const ByteFallback&) {
  return [](Tokens& tokens) {
    Tokens out;
    std::string bytes;
    for (std::string& token : tokens) {
      if (const auto byte = byte_of_token(token)) {
        bytes += static_cast<char>(*byte);
      } else {
        flush_bytes(bytes, out);
        out.push_back(std::move(token));
      }
    }
    flush_bytes(bytes, out);
    tokens = std::move(out);
  };
}

Step make(const Fuse&) {
  return [](Tokens& tokens) {
    std::string all;
    for (const std::string& token : tokens) {
      all += token;
    }
    tokens = {std::move(all)};
  };
}

Step make(const Strip& step) {
  return [content = step.content, start = step.start, stop = step.stop](Tokens& tokens) {
    for (std::string& token : tokens) {
      std::string_view rest = token;
      for (int64_t i = 0; i < start && rest.starts_with(content); ++i) {
        rest.remove_prefix(content.size());
      }
      for (int64_t i = 0; i < stop && rest.ends_with(content); ++i) {
        rest.remove_suffix(content.size());
      }
      token = std::string(rest);
    }
  };
}

Step make(Replace& step) {
  // Shared because a std::function is copyable and a pattern is not.
  auto pattern = std::make_shared<const Pattern>(std::move(step.pattern));
  return [pattern, content = std::move(step.content)](Tokens& tokens) {
    for (std::string& token : tokens) {
      token = pattern->replace(token, content);
    }
  };
}

Step make(const MetaspaceToSpace& step) {
  auto shared =
      std::make_shared<const Pattern>(PatternSpec{PatternKind::kLiteral, step.replacement});
  return [shared, prepend = step.prepend](Tokens& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      const bool dropped = i == 0 && prepend != PrependScheme::kNever;
      tokens[i] = shared->replace(tokens[i], dropped ? "" : " ");
    }
  };
}

bool is_fusing(const DecoderStep& step) {
  return std::holds_alternative<Fuse>(step) || std::holds_alternative<BytesFromLevel>(step);
}

Growth growth_of(const std::vector<DecoderStep>& steps) {
  if (steps.size() == 1 && std::holds_alternative<BytesFromLevel>(steps[0])) return Growth::kBytes;
  bool fused = false;
  for (const DecoderStep& step : steps) {
    const auto* strip = std::get_if<Strip>(&step);
    const bool cuts_end = strip != nullptr && strip->stop > 0;
    const bool rewrites = std::holds_alternative<Replace>(step) ||
                          std::holds_alternative<ByteFallback>(step) || is_fusing(step);
    if (fused && (cuts_end || rewrites)) return Growth::kAtEnd;
    if (std::holds_alternative<BytesFromLevel>(step)) return Growth::kAtEnd;
    fused = fused || is_fusing(step);
  }
  return Growth::kTokens;
}

}  // namespace

std::optional<unsigned char> byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (size_t i = 3; i < 5; ++i) {
    const char c = token[i];
    // The original's number parser takes a sign.
    if (i == 3 && c == '+') continue;
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + digit;
  }
  return static_cast<unsigned char>(value);
}

Decoder::Decoder(std::optional<std::vector<DecoderStep>> steps)
    : joins_by_spaces_(!steps), growth_(steps ? growth_of(*steps) : Growth::kTokens) {
  if (!steps) return;
  for (DecoderStep& step : *steps) {
    steps_.push_back(std::visit([](auto& one) { return make(one); }, step));
  }
}

std::string Decoder::apply(Tokens tokens) const {
  for (const auto& step : steps_) {
    step(tokens);
  }
  std::string out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0 && joins_by_spaces_) out += ' ';
    out += tokens[i];
  }
  return out;
}

}  // namespace mopt::text
