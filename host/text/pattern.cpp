#include "host/text/pattern.hpp"

#include <cstdint>

#include "host/text/oniguruma.hpp"
#include "mopt/error.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace mopt::text {
namespace {

template <auto kFree>
struct Free {
  template <class T>
  void operator()(T* p) const {
    kFree(p);
  }
};
using Code = std::unique_ptr<pcre2_code, Free<pcre2_code_free>>;
using CompileContext = std::unique_ptr<pcre2_compile_context, Free<pcre2_compile_context_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Free<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Free<pcre2_match_data_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, Free<pcre2_jit_stack_free>>;

std::string message(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

Code compile(const std::string& original) {
  const std::string expression = oniguruma_to_pcre(original);
  const CompileContext context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int code = 0;
  PCRE2_SIZE at = 0;
  Code regex(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                           PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &code, &at, context.get()));
  if (!regex) {
    throw Error(MOPT_UNSUPPORTED,
                "expected a regular expression, found '" + original + "' (" + message(code) +
                    " at byte " + std::to_string(at) + " of '" + expression +
                    "'); correct the expression",
                "tokenizer.json");
  }
  // Without a just-in-time compiler for this machine the interpreter serves.
  pcre2_jit_compile(regex.get(), PCRE2_JIT_COMPLETE);
  return regex;
}

// One search run: the match data, and a larger stack for the rare expression that needs it.
class Search {
 public:
  Search(const pcre2_code* code, std::string_view text)
      : code_(code), text_(text), data_(pcre2_match_data_create(1, nullptr)) {}

  bool find(size_t from, Range& match) {
    int found = run(from, PCRE2_NO_UTF_CHECK);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT && !context_) {
      grow();
      found = run(from, PCRE2_NO_UTF_CHECK);
    }
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = run(from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT);
    if (found == PCRE2_ERROR_NOMATCH) return false;
    if (found < 0) {
      throw Error(MOPT_UNSUPPORTED,
                  "the tokenizer's regular expression failed (" + message(found) +
                      "); split the text into shorter documents",
                  "tokenizer.json");
    }
    const PCRE2_SIZE* at = pcre2_get_ovector_pointer(data_.get());
    match = {at[0], at[1]};
    return true;
  }

 private:
  int run(size_t from, uint32_t options) {
    return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text_.data()), text_.size(), from,
                       options, data_.get(), context_.get());
  }

  void grow() {
    constexpr size_t kSmallest = 32 << 10, kLargest = 64 << 20;
    stack_.reset(pcre2_jit_stack_create(kSmallest, kLargest, nullptr));
    context_.reset(pcre2_match_context_create(nullptr));
    pcre2_jit_stack_assign(context_.get(), nullptr, stack_.get());
    pcre2_set_match_limit(context_.get(), UINT32_MAX);
  }

  const pcre2_code* code_;
  std::string_view text_;
  MatchData data_;
  JitStack stack_;
  MatchContext context_;
};

}  // namespace

struct Pattern::Regex {
  Code code;
};

Pattern::Pattern(PatternSpec spec) {
  if (spec.kind == PatternKind::kRegex) {
    regex_ = std::make_unique<Regex>(Regex{compile(spec.text)});
  } else {
    literal_ = std::move(spec.text);
  }
}
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

void Pattern::find_literal(std::string_view text, std::vector<Range>& matches) const {
  if (literal_.empty()) {  // between all code points, as an empty expression
    for (size_t at = 0; at < text.size(); at += code_point_size(text, at)) {
      matches.push_back({at, at});
    }
    matches.push_back({text.size(), text.size()});
    return;
  }
  for (size_t at = text.find(literal_); at != text.npos;
       at = text.find(literal_, at + literal_.size())) {
    matches.push_back({at, at + literal_.size()});
  }
}

void Pattern::find_all(std::string_view text, std::vector<Range>& matches) const {
  matches.clear();
  if (!regex_) return find_literal(text, matches);
  Search search(regex_->code.get(), text);
  Range match;
  for (size_t from = 0; from <= text.size();) {
    if (!search.find(from, match)) break;
    if (match.size() == 0 && !matches.empty() && matches.back().end == match.end) {
      from += from < text.size() ? code_point_size(text, from) : 1;
      continue;
    }
    matches.push_back(match);
    from = match.end;
  }
}

std::string Pattern::replace(std::string_view text, std::string_view content) const {
  std::vector<Range> matches;
  find_all(text, matches);
  std::string out;
  out.reserve(text.size());
  size_t at = 0;
  for (const Range& match : matches) {
    out += text.substr(at, match.begin - at);
    out += content;
    at = match.end;
  }
  return out += text.substr(at);
}

}  // namespace mopt::text
