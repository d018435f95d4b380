// Reads the C headers of the sdk and writes a C program that prints what a peer built apart relies
// on: every struct with its members, their types, offsets and sizes, and every constant with its
// value. Usage: abi_generate DIRECTORY OUTPUT.c
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <regex>
#include <string>
#include <vector>

namespace {

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// One space for every run of white space, none at the ends.
std::string squeeze(const std::string& text) {
  const std::string one = std::regex_replace(text, std::regex("\\s+"), " ");
  const size_t begin = one.find_first_not_of(' ');
  if (begin == std::string::npos) return {};
  return one.substr(begin, one.find_last_not_of(' ') - begin + 1);
}

std::string without_comments(const std::string& text) {
  return std::regex_replace(text, std::regex("/\\*[^*]*\\*+([^/*][^*]*\\*+)*/"), " ");
}

// Splits at `separator` outside of any bracket.
std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  int depth = 0;
  for (const char c : text) {
    if (c == '(' || c == '{') ++depth;
    if (c == ')' || c == '}') --depth;
    if (c == separator && depth == 0) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

struct Member {
  std::string name, declaration;
};

// "mopt_str file, tensor" declares two; "void (*release)(mopt_error*)" and "union {...} as" one
// each.
std::vector<Member> members_of(const std::string& body) {
  std::vector<Member> members;
  for (const std::string& raw : split(body, ';')) {
    const std::string declaration = squeeze(raw);
    if (declaration.empty()) continue;
    std::smatch match;
    if (std::regex_search(declaration, match, std::regex("^[^(]*\\(\\s*\\*\\s*(\\w+)\\s*\\)"))) {
      members.push_back({match[1], declaration});
      continue;
    }
    for (const std::string& declarator : split(declaration, ',')) {
      std::regex_search(declarator, match, std::regex("(\\w+)\\s*(\\[[^\\]]*\\])?\\s*$"));
      members.push_back({match[1], declaration});
    }
  }
  return members;
}

// The text between the brace at `open` and its partner.
std::string braced(const std::string& text, size_t open) {
  int depth = 0;
  for (size_t i = open; i < text.size(); ++i) {
    if (text[i] == '{') ++depth;
    if (text[i] == '}' && --depth == 0) return text.substr(open + 1, i - open - 1);
  }
  return {};
}

// The declaration as it stands in layout.txt: the formatter's spaces do not matter.
std::string shown(const std::string& declaration) {
  const std::string text =
      std::regex_replace(declaration, std::regex("\\s*MOPT_NOEXCEPT"), " noexcept");
  return std::regex_replace(std::regex_replace(text, std::regex("\\(\\s+"), "("),
                            std::regex("\\s+\\)"), ")");
}

void write_struct(std::ostream& out, const std::string& name, const std::string& body) {
  out << "  printf(\"" << name << " size %zu align %zu\\n\", sizeof(" << name << "), _Alignof("
      << name << "));\n";
  for (const Member& member : members_of(body)) {
    out << "  printf(\"" << name << "." << member.name << " offset %zu size %zu  "
        << shown(member.declaration) << "\\n\", offsetof(" << name << ", " << member.name
        << "), sizeof(((" << name << "*)0)->" << member.name << "));\n";
  }
}

// typedef struct tag {...} name; struct name {...}; typedef struct {...} name;
void write_structs(std::ostream& out, const std::string& text) {
  const std::regex head("struct\\s*(\\w*)\\s*\\{");
  for (std::sregex_iterator it(text.begin(), text.end(), head), end; it != end; ++it) {
    const size_t open = static_cast<size_t>(it->position() + it->length() - 1);
    const std::string body = braced(text, open);
    std::string name = (*it)[1];
    if (name.empty()) {
      std::smatch match;
      const std::string rest = text.substr(open + body.size() + 2);
      std::regex_search(rest, match, std::regex("^\\s*(\\w+)"));
      name = match[1];
    }
    write_struct(out, name, body);
  }
}

void write_constants(std::ostream& out, const std::string& text) {
  const std::regex head("enum\\s*\\w*\\s*\\{");
  for (std::sregex_iterator it(text.begin(), text.end(), head), end; it != end; ++it) {
    for (const std::string& entry :
         split(braced(text, static_cast<size_t>(it->position() + it->length() - 1)), ',')) {
      std::smatch match;
      if (!std::regex_search(entry, match, std::regex("(\\w+)"))) continue;
      out << "  printf(\"" << match[1] << " = %lld\\n\", (long long)" << match[1] << ");\n";
    }
  }
}

// Macros with a text or a number as their value.
void write_macros(std::ostream& out, const std::string& text) {
  const std::regex line("(^|\\n)#define (\\w+) (\"[^\"\\n]*\"|\\d+) *(?=\\n)");
  for (std::sregex_iterator it(text.begin(), text.end(), line), end; it != end; ++it) {
    const bool is_text = (*it)[3].str().front() == '"';
    out << "  printf(\"" << (*it)[2] << " = " << (is_text ? "%s" : "%d") << "\\n\", " << (*it)[2]
        << ");\n";
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: abi_generate DIRECTORY OUTPUT.c\n";
    return 2;
  }
  std::vector<std::filesystem::path> headers;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    if (entry.path().extension() == ".h") headers.push_back(entry.path());
  }
  std::sort(headers.begin(), headers.end());

  std::ofstream out(argv[2]);
  out << "#include <stdio.h>\n#include <string.h>\n";
  for (const auto& header : headers)
    out << "#include \"mopt/" << header.filename().string() << "\"\n";
  const auto function = [&](const char* name, auto&&... writers) {
    out << "static void " << name << "(void) {\n";
    for (const auto& header : headers) {
      const std::string text = without_comments(read(header));
      (writers(out, text), ...);
    }
    out << "}\n";
  };
  function("layout", write_structs);
  function("constants", write_macros, write_constants);
  out << "int main(int argc, char** argv) {\n  if (argc == 2 && strcmp(argv[1], \"layout\") == 0) "
         "{\n"
         "    layout();\n  } else {\n    constants();\n  }\n  return 0;\n}\n";
  return out.good() ? 0 : 1;
}
