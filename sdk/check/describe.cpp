// What a plugin says about itself, and what opening it does to the process.
#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>

#include "harness.hpp"
#include "host.hpp"

namespace mopt::conformance {
namespace {

template <class T>
const T* at(const std::string& bytes, uint64_t offset) {
  if (offset + sizeof(T) > bytes.size()) throw Broken("the file is damaged");
  return reinterpret_cast<const T*>(bytes.data() + offset);
}

// The names that the library exports, from its dynamic symbol table.
std::set<std::string> exported(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  const auto* head = at<Elf64_Ehdr>(bytes, 0);
  std::set<std::string> names;
  for (uint16_t i = 0; i < head->e_shnum; ++i) {
    const auto* section = at<Elf64_Shdr>(bytes, head->e_shoff + i * sizeof(Elf64_Shdr));
    if (section->sh_type != SHT_DYNSYM) continue;
    const auto* texts =
        at<Elf64_Shdr>(bytes, head->e_shoff + section->sh_link * sizeof(Elf64_Shdr));
    for (uint64_t k = 0; k < section->sh_size; k += sizeof(Elf64_Sym)) {
      const auto* symbol = at<Elf64_Sym>(bytes, section->sh_offset + k);
      if (symbol->st_shndx == SHN_UNDEF || symbol->st_name == 0) continue;
      if (ELF64_ST_BIND(symbol->st_info) == STB_LOCAL) continue;
      names.insert(at<char>(bytes, texts->sh_offset + symbol->st_name));
    }
  }
  return names;
}

size_t threads_of_this_process() {
  size_t n = 0;
  DIR* tasks = opendir("/proc/self/task");
  for (const dirent* entry; tasks != nullptr && (entry = readdir(tasks)) != nullptr;) {
    n += entry->d_name[0] != '.';
  }
  if (tasks != nullptr) closedir(tasks);
  return n;
}

// Does `text` consist of well-formed UTF-8, at least one character?
bool is_text(const char* text) {
  if (text == nullptr || *text == 0) return false;
  static const std::regex kUtf8(
      "(?:[\\x01-\\x7F]|[\\xC2-\\xDF][\\x80-\\xBF]|[\\xE0-\\xEF][\\x80-\\xBF]{2}|"
      "[\\xF0-\\xF4][\\x80-\\xBF]{3})*");
  return std::regex_match(text, kUtf8);
}

void expect(bool condition, const std::string& what) {
  if (!condition) throw Broken(what);
}

void check_option(const mopt_option& o, const std::string& component) {
  expect(o.struct_size == sizeof(mopt_option), "MP-03: an option of " + component + " is short");
  expect(is_text(o.name) && is_text(o.help), "an option of " + component + " has no name or help");
  const std::string name = component + "." + o.name;
  if (o.def.type == MOPT_NONE) return;
  expect(o.def.type == o.type, "the default of " + name + " has another type than the option");
  const double value = o.type == MOPT_FLOAT ? o.def.as.f : static_cast<double>(o.def.as.i);
  if (o.type == MOPT_INT || o.type == MOPT_FLOAT) {
    expect(!(o.flags & MOPT_OPTION_HAS_MIN) || value >= o.min,
           name + "'s default is below its min");
    expect(!(o.flags & MOPT_OPTION_HAS_MAX) || value <= o.max,
           name + "'s default is above its max");
  }
  bool among = o.type != MOPT_STR || o.n_choices == 0;
  for (uint32_t i = 0; i < o.n_choices; ++i)
    among |= view(o.def.as.s) == o.choices[i];
  expect(among, name + "'s default is not among its choices");
}

uint32_t table_size(const std::string& interface_id) {
  static const std::map<std::string, size_t> kSizes{
      {MOPT_QUANTIZER_INTERFACE, sizeof(mopt_quantizer)},
      {MOPT_CALIBRATOR_INTERFACE, sizeof(mopt_calibrator)},
      {MOPT_PRUNER_INTERFACE, sizeof(mopt_pruner)},
      {MOPT_EXPORTER_INTERFACE, sizeof(mopt_exporter)},
      {MOPT_ADAPTER_INTERFACE, sizeof(mopt_adapter)},
      {MOPT_FORMAT_INTERFACE, sizeof(mopt_format)}};
  const auto found = kSizes.find(interface_id);
  expect(found != kSizes.end(), "'" + interface_id + "' is no interface of this ABI");
  return static_cast<uint32_t>(found->second);
}

void check_component(const mopt_component& c) {
  expect(c.struct_size == sizeof(mopt_component), "MP-03: a component descriptor is short");
  expect(is_text(c.name) && is_text(c.summary) && is_text(c.interface_id),
         "a component has no name, summary or interface");
  expect(std::regex_match(c.name, std::regex("[a-z][a-z0-9_]*")),
         std::string("'") + c.name + "' is no name for a recipe: small letters, digits, _");
  expect(c.vtable != nullptr, std::string(c.name) + " has no function table");
  expect(*static_cast<const uint32_t*>(c.vtable) == table_size(c.interface_id),
         std::string(c.name) + ": MP-03: its function table has another size than the interface");
  expect((c.flags & MOPT_SERVES_CPU) != 0, std::string(c.name) + " does not serve the CPU");
  std::set<std::string> names;
  for (uint64_t i = 0; i < c.n_options; ++i) {
    check_option(c.options[i], c.name);
    expect(names.insert(c.options[i].name).second,
           std::string(c.name) + " declares option " + c.options[i].name + " twice");
  }
}

}  // namespace

std::vector<Test> load_tests(const std::string& file) {
  return {
      {"load: opens with every symbol resolved, and its entry is pure", [=] { open_plugin(file); }},
      {"load: exports exactly " MOPT_ENTRY_NAME,
       [=] {
         const std::set<std::string> names = exported(file);
         std::string all;
         for (const std::string& name : names)
           all += " " + name;
         expect(names == std::set<std::string>{MOPT_ENTRY_NAME}, "MP-01: exports" + all);
       }},
      {"load: starts no thread and prints nothing", [=] {
         std::FILE* sink = std::tmpfile();
         dup2(fileno(sink), 1);
         dup2(fileno(sink), 2);
         open_plugin(file);
         expect(threads_of_this_process() == 1, "MP-12: opening it started a thread");
         expect(lseek(fileno(sink), 0, SEEK_END) == 0, "MP-13: opening it printed something");
       }}};
}

std::vector<Test> describe_tests(const std::string& file) {
  return {{"describe: id, version, sizes and reserved fields",
           [=] {
             const mopt_plugin* p = open_plugin(file);
             expect(p->struct_size == sizeof(mopt_plugin), "MP-03: its descriptor is short");
             expect(p->abi_major == MOPT_ABI_MAJOR && p->abi_minor == MOPT_ABI_MINOR,
                    "built for another ABI");
             expect(p->reserved0 == 0 && p->reserved1 == 0, "MP-03: a reserved field is not zero");
             expect(is_text(p->id) &&
                        std::regex_match(p->id, std::regex("[a-z0-9_-]+(\\.[a-z0-9_-]+)+")),
                    "its id is not in reverse DNS form, such as org.example.name");
             expect(is_text(p->version) &&
                        std::regex_match(p->version, std::regex("\\d+\\.\\d+\\.\\d+.*")),
                    "its version is not like 1.2.3");
             expect(p->n_components > 0 && p->components != nullptr, "it offers no component");
           }},
          {"describe: components and their options", [=] {
             const mopt_plugin* p = open_plugin(file);
             std::set<std::pair<std::string, std::string>> names;
             for (uint64_t i = 0; i < p->n_components; ++i) {
               const mopt_component& c = p->components[i];
               check_component(c);
               expect(names.insert({c.interface_id, c.name}).second,
                      std::string(c.name) + " is offered twice");
             }
           }}};
}

}  // namespace mopt::conformance
