#include "host/text/pre_tokenizer.hpp"

#include <memory>
#include <utility>

#include "host/text/byte_alphabet.hpp"
#include "host/text/pattern.hpp"
#include "host/text/split.hpp"

namespace mopt::text {
namespace {

using Step = std::function<void(Words&)>;

Cut make_cut(Split& split) {
  // Shared because a std::function is copyable and a pattern is not.
  auto pattern = std::make_shared<const Pattern>(std::move(split.pattern));
  return {[pattern](std::string_view word, std::vector<Range>& matches) {
            pattern->find_all(word, matches);
          },
          split.behavior, split.invert};
}

// Rebuilds the text word by word: `append(word, out)` writes what becomes of one.
template <class Append>
void rewrite(Words& words, Append append) {
  std::string out;
  out.reserve(words.text.size() * 5 / 4);
  for (Range& range : words.ranges) {
    const size_t begin = out.size();
    append(std::string_view(words.text).substr(range.begin, range.size()), out);
    range = {begin, out.size()};
  }
  words.text = std::move(out);
}

void cut(Words& words, const Cut& how) {
  words.ranges = cut_words(words.text, words.ranges, how);
}

Step make(Split& step) {
  return [how = make_cut(step)](Words& words) { cut(words, how); };
}

void find_digits(std::string_view word, std::vector<Range>& matches) {
  matches.clear();
  for (size_t at = 0; at < word.size();) {
    const size_t size = code_point_size(word, at);
    if (is_numeric(code_point(word, at))) matches.push_back({at, at + size});
    at += size;
  }
}

Step make(const Digits& step) {
  return [how = Cut{find_digits, step.behavior}](Words& words) { cut(words, how); };
}

Step make(ByteLevel& step) {
  std::optional<Cut> how;
  if (step.words) how = make_cut(*step.words);
  return [how, space = step.prefix_space](Words& words) {
    if (space == PrefixSpace::kYes) {
      rewrite(words, [](std::string_view word, std::string& out) {
        if (!word.starts_with(' ')) out += ' ';
        out += word;
      });
    }
    if (how) cut(words, *how);
    rewrite(words, [&alphabet = byte_alphabet()](std::string_view word, std::string& out) {
      for (const char c : word) {
        out += alphabet[static_cast<unsigned char>(c)];
      }
    });
  };
}

void append_metaspace(std::string_view word, const std::string& replacement, std::string& out) {
  for (const char c : word) {
    if (c == ' ') {
      out += replacement;
    } else {
      out += c;
    }
  }
}

Step make(Metaspace& step) {
  std::optional<Cut> how;
  if (step.words) how = make_cut(*step.words);
  return [how, replacement = std::move(step.replacement), scheme = step.prepend](Words& words) {
    rewrite(words, [&](std::string_view word, std::string& out) {
      const bool first = word.data() == words.text.data() && words.place == Place::kStart;
      const bool wanted =
          scheme == PrependScheme::kAlways || (scheme == PrependScheme::kFirst && first);
      if (wanted && !word.starts_with(' ') && !word.starts_with(replacement)) out += replacement;
      append_metaspace(word, replacement, out);
    });
    if (how) cut(words, *how);
  };
}

}  // namespace

PreTokenizer::PreTokenizer(std::vector<PreTokenizerStep> steps) {
  for (PreTokenizerStep& step : steps) {
    steps_.push_back(std::visit([](auto& one) { return make(one); }, step));
  }
}

Words PreTokenizer::apply(std::string text, Place place) const {
  Words words{std::move(text), {}, place};
  if (!words.text.empty()) words.ranges.push_back({0, words.text.size()});
  for (const auto& step : steps_) {
    step(words);
  }
  return words;
}

}  // namespace mopt::text
