// A resolved recipe as TOML again, every value with its origin in a comment.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "host/recipe/tree.hpp"

namespace mopt {
namespace {

bool is_bare(std::string_view key) {
  return !key.empty() && std::ranges::all_of(key, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

// The length of the UTF-8 sequence at the front; 0 when it is none.
size_t utf8_length(std::string_view text) {
  for (size_t n = 1; n <= std::min<size_t>(4, text.size()); ++n) {
    // printable leaves exactly valid sequences as they are, except those it escapes on purpose.
    if (printable(text.substr(0, n)) == text.substr(0, n)) return n;
  }
  return 0;
}

// A TOML basic string. Bytes that are not UTF-8, which TOML cannot hold, become U+FFFD.
std::string quote(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const auto c = static_cast<unsigned char>(text[0]);
    size_t used = 1;
    if (c == '"' || c == '\\') {
      out.append("\\").append(1, static_cast<char>(c));
    } else if (c < 0x20 || c == 0x7F) {
      out += fmt::format("\\u{:04X}", c);
    } else if (c < 0x80) {
      out += static_cast<char>(c);
    } else if (const size_t n = utf8_length(text); n > 0) {
      out += text.substr(0, n);
      used = n;
    } else if (const std::string escaped = printable(text.substr(0, 3));
               escaped.starts_with("\\u")) {
      // A control character that is not ASCII: two or three bytes.
      out.append("\\u").append(escaped, 2, 4);
      used = c < 0xE0 ? 2 : 3;
    } else {
      out += "\\uFFFD";
    }
    text.remove_prefix(used);
  }
  return out + "\"";
}

std::string number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  std::string out(text.data(), end);
  // TOML tells floats from integers by the point or the exponent.
  return out.find_first_of(".e") == std::string::npos ? out + ".0" : out;
}

std::string quote_list(const std::vector<PlacedText>& texts) {
  std::string out = "[";
  for (const PlacedText& text : texts) {
    if (out.size() > 1) out += ", ";
    out += quote(text.value);
  }
  return out + "]";
}

std::string show(const OptionValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* integer = std::get_if<int64_t>(&value)) return std::to_string(*integer);
  if (const auto* real = std::get_if<double>(&value)) return number(*real);
  const auto* text = std::get_if<std::string>(&value);
  return text == nullptr ? "" : quote(*text);
}

class Printer {
 public:
  explicit Printer(Origins origins) : origins_(origins) {}

  void header(std::string_view line) {
    if (!out_.empty()) out_ += "\n";
    out_.append(line).append("\n");
  }
  void line(std::string_view key, std::string_view value, const Origin& origin) {
    std::string text = fmt::format("{} = {}", is_bare(key) ? std::string(key) : quote(key), value);
    constexpr size_t kColumn = 40;
    if (origins_ == Origins::kComment) {
      text.resize(std::max(kColumn, text.size() + 2), ' ');
      text += "# " + to_string(origin);
    }
    out_ += text + "\n";
  }
  void text(std::string_view key, const PlacedText& t) { line(key, quote(t.value), t.origin); }
  void integer(std::string_view key, const Placed<int64_t>& i) {
    line(key, std::to_string(i.value), i.origin);
  }
  void real(std::string_view key, const Placed<double>& d) { line(key, number(d.value), d.origin); }
  void list(std::string_view key, const std::vector<PlacedText>& texts) {
    if (!texts.empty()) line(key, quote_list(texts), texts[0].origin);
  }
  void options(const OptionSet& set) {
    for (const OptionSetting& s : set.values) {
      if (!std::holds_alternative<std::monostate>(s.value)) line(s.name, show(s.value), s.origin);
    }
  }
  void component(std::string_view table, const AppliedComponent& c) {
    if (c.options.values.empty()) return;
    const std::string& name = c.name.value;
    header(fmt::format("[{}.{}]", table, is_bare(name) ? name : quote(name)));
    options(c.options);
  }
  void selector(const Selector& s) {
    line("id", quote(s.id), s.origin);
    list("role", s.roles);
    list("name", s.names);
    if (s.layers) text("layers", *s.layers);
    if (s.optional.value) line("optional", "true", s.optional.origin);
    if (!s.expect) return;
    line("expect", s.expect->count ? std::to_string(*s.expect->count) : "\"all\"",
         s.expect->origin);
  }
  std::string take() { return std::move(out_); }

 private:
  Origins origins_;
  std::string out_;
};

void print_calibration(Printer& p, const Calibration& c) {
  p.header("[calibration]");
  p.list("data", c.data);
  p.integer("samples", c.samples);
  p.integer("seq_len", c.seq_len);
  p.integer("seed", c.seed);
}

void print_format(Printer& p, const Format& f) {
  p.header(fmt::format("[format.{}]", is_bare(f.id) ? f.id : quote(f.id)));
  p.text("use", f.use);
  p.options(f.options);
}

void print_quantize(Printer& p, const Quantize& q) {
  std::vector<PlacedText> algorithms;
  for (const AppliedComponent& a : q.algorithms)
    algorithms.push_back(a.name);
  if (algorithms.empty()) algorithms.push_back({"none", {}});
  p.header("[quantize]");
  p.list("algorithm", algorithms);
  p.text("kv_cache", q.kv_cache);
  for (const AppliedComponent& a : q.algorithms)
    p.component("quantize", a);
  for (const QuantizeRule& rule : q.rules) {
    p.header("[[quantize.rule]]");
    p.selector(rule.select);
    p.text("weight", rule.weight);
    p.text("input", rule.input);
  }
}

void print_sparsify(Printer& p, const Sparsify& s) {
  p.header("[sparsify]");
  p.text("use", s.pruner.name);
  p.component("sparsify", s.pruner);
  for (const Selector& rule : s.rules) {
    p.header("[[sparsify.rule]]");
    p.selector(rule);
  }
}

void print_eval(Printer& p, const Eval& e) {
  p.header("[[eval]]");
  p.line("id", quote(e.id), e.origin);
  p.text("kind", e.kind);
  p.text("data", e.data);
  p.integer("window", e.window);
  if (e.max_tokens) p.integer("max_tokens", *e.max_tokens);
  if (e.max_ratio) p.real("max_ratio", *e.max_ratio);
}

}  // namespace

std::string print_resolved(const Recipe& recipe, Origins origins) {
  Printer p(origins);
  p.line("schema", "1", {recipe.file});
  p.text("name", recipe.name);
  if (!recipe.description.value.empty()) p.text("description", recipe.description);
  p.header("[model]");
  if (recipe.model.path) p.text("path", *recipe.model.path);
  p.text("adapter", recipe.model.adapter);
  if (recipe.calibration) print_calibration(p, *recipe.calibration);
  for (const Format& f : recipe.formats)
    print_format(p, f);
  if (recipe.quantize) print_quantize(p, *recipe.quantize);
  if (recipe.sparsify) print_sparsify(p, *recipe.sparsify);
  p.header("[export]");
  p.text("layout", recipe.output.layout.name);
  if (recipe.output.path) p.text("path", *recipe.output.path);
  p.real("shard_gb", recipe.output.shard_gb);
  p.component("export", recipe.output.layout);
  for (const Eval& e : recipe.evals)
    print_eval(p, e);
  if (!recipe.verify_engines.empty()) {
    p.header("[verify]");
    p.list("engines", recipe.verify_engines);
  }
  return p.take();
}

}  // namespace mopt
