#include "host/loader/library.hpp"

#include <elf.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define BOOST_DLL_USE_STD_FS

#include <algorithm>
#include <boost/dll/shared_library.hpp>
#include <cstring>
#include <fstream>
#include <vector>

#include "mopt/error.hpp"

namespace mopt {
namespace {

constexpr Elf64_Half kThisMachine =
#if defined(__x86_64__)
    EM_X86_64;
#elif defined(__aarch64__)
    EM_AARCH64;
#else
    EM_NONE;
#endif

Refusal refuse(const std::filesystem::path& file, std::string code, std::string reason) {
  return {file, std::move(code), std::move(reason)};
}

std::string machine_name(Elf64_Half machine) {
  switch (machine) {
    case EM_X86_64:
      return "x86-64";
    case EM_AARCH64:
      return "AArch64";
    case EM_386:
      return "32-bit x86";
    default:
      return "machine type " + std::to_string(machine);
  }
}

// The tables and segments that the dynamic linker maps must lie inside the file.
bool is_whole(std::ifstream& in, const Elf64_Ehdr& header, uint64_t size) {
  if (header.e_phentsize != sizeof(Elf64_Phdr)) return false;
  const uint64_t table = uint64_t{header.e_phnum} * sizeof(Elf64_Phdr);
  if (header.e_phoff > size || table > size - header.e_phoff) return false;
  const uint64_t sections = uint64_t{header.e_shnum} * header.e_shentsize;
  if (header.e_shoff > size || sections > size - header.e_shoff) return false;
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  in.seekg(static_cast<std::streamoff>(header.e_phoff));
  in.read(reinterpret_cast<char*>(segments.data()), static_cast<std::streamsize>(table));
  return in.good() && std::all_of(segments.begin(), segments.end(), [&](const Elf64_Phdr& s) {
           return s.p_filesz <= size && s.p_offset <= size - s.p_filesz;
         });
}

// At most so much of a table is read: a plugin exports one symbol, a large library a million.
constexpr uint64_t kLargestTable = uint64_t{256} << 20;

// The bytes of a section, whole elements of T. Throws mopt::Error when the file does not hold it.
template <typename T>
std::vector<T> read_section(std::ifstream& in, const Elf64_Shdr& section, uint64_t size) {
  if (section.sh_size > kLargestTable || section.sh_offset > size ||
      section.sh_size > size - section.sh_offset) {
    throw Error(MOPT_DATA_LOSS, "a section of it lies outside the file");
  }
  std::vector<T> all(section.sh_size / sizeof(T));
  in.seekg(static_cast<std::streamoff>(section.sh_offset));
  in.read(reinterpret_cast<char*>(all.data()),
          static_cast<std::streamsize>(all.size() * sizeof(T)));
  if (!in) throw Error(MOPT_DATA_LOSS, "a section of it cannot be read");
  return all;
}

// What it offers to others: of the dynamic symbols, which stripping leaves, those that it defines.
std::vector<std::string> exported_symbols(std::ifstream& in, const Elf64_Ehdr& header,
                                          uint64_t size) {
  if (header.e_shentsize != sizeof(Elf64_Shdr))
    throw Error(MOPT_DATA_LOSS, "its section headers are missing");
  Elf64_Shdr table{};
  table.sh_offset = header.e_shoff;
  table.sh_size = uint64_t{header.e_shnum} * sizeof(Elf64_Shdr);
  const auto sections = read_section<Elf64_Shdr>(in, table, size);
  std::vector<std::string> names;
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type != SHT_DYNSYM) continue;
    if (section.sh_link >= sections.size())
      throw Error(MOPT_DATA_LOSS, "its symbols have no names");
    const auto text = read_section<char>(in, sections[section.sh_link], size);
    for (const Elf64_Sym& symbol : read_section<Elf64_Sym>(in, section, size)) {
      if (symbol.st_shndx == SHN_UNDEF || symbol.st_name >= text.size()) continue;
      const char* name = text.data() + symbol.st_name;
      names.emplace_back(name, strnlen(name, text.size() - symbol.st_name));
    }
  }
  return names;
}

std::optional<Refusal> inspect_symbols(const std::filesystem::path& file, std::ifstream& in,
                                       const Elf64_Ehdr& header, uint64_t size) {
  try {
    const std::vector<std::string> symbols = exported_symbols(in, header, size);
    if (std::find(symbols.begin(), symbols.end(), MOPT_ENTRY_NAME) != symbols.end()) return {};
    for (const std::string& symbol : symbols) {
      if (symbol.starts_with("mopt_plugin_entry_v")) {
        return refuse(file, "P103",
                      "exports " + symbol + ", this host speaks ABI 0 (" + MOPT_ENTRY_NAME +
                          "); rebuild it against this SDK");
      }
    }
  } catch (const Error& e) {
    return refuse(
        file, "P101",
        std::string("its symbol table cannot be read: ") + e.what() + "; build or copy it again");
  }
  return refuse(file, "P102",
                "no symbol " MOPT_ENTRY_NAME "; it was probably built without mopt_add_plugin");
}

std::optional<Refusal> check_descriptor(const std::filesystem::path& file, const mopt_plugin* p) {
  if (p == nullptr) {
    return refuse(file, "P105", "its entry returned nothing; return a static mopt_plugin");
  }
  if (p->struct_size < sizeof(mopt_plugin)) {
    return refuse(file, "P103",
                  "its descriptor has " + std::to_string(p->struct_size) + " bytes, expected " +
                      std::to_string(sizeof(mopt_plugin)) + "; rebuild it against this SDK");
  }
  if (p->abi_major != MOPT_ABI_MAJOR || p->abi_minor != MOPT_ABI_MINOR) {
    const auto abi = [](int major, int minor) {
      return std::to_string(major) + "." + std::to_string(minor);
    };
    return refuse(file, "P103",
                  "built for ABI " + abi(p->abi_major, p->abi_minor) + ", this host speaks ABI " +
                      abi(MOPT_ABI_MAJOR, MOPT_ABI_MINOR) + "; rebuild it against this SDK");
  }
  return {};
}

// What the child has to say, through its exit status: numbers that a library which ends the process
// while it is opened will not hit.
enum : int { kChildOk = 117, kChildOpenFailed = 118 };

[[noreturn]] void probe_in_child(const std::filesystem::path& file) {
  // Crash handlers of this process would report the child's crash as one of its own.
  for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTERM})
    signal(number, SIG_DFL);
  std::error_code failed;
  namespace dll = boost::dll;
  dll::shared_library library(file, failed, dll::load_mode::rtld_now | dll::load_mode::rtld_local);
  if (failed) _exit(kChildOpenFailed);
  library.get<const mopt_plugin*()>(MOPT_ENTRY_NAME)();
  _exit(kChildOk);
}

constexpr int kProbeSeconds = 10;

// The child's wait status; nullopt when it had to be killed.
std::optional<int> wait_for(pid_t child) {
  int status = 0;
  for (int waited = 0; waited < kProbeSeconds * 1000;) {
    if (waitpid(child, &status, WNOHANG) == child) return status;
    const int step = waited < 20 ? 1 : 10;
    poll(nullptr, 0, step);
    waited += step;
  }
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  return std::nullopt;
}

}  // namespace

std::optional<Refusal> inspect_library(const std::filesystem::path& file) {
  std::error_code failed;
  if (!std::filesystem::is_regular_file(file, failed)) {
    return refuse(file, "P101",
                  "it is no file that can be read; remove it from the plugin directory");
  }
  const uint64_t size = std::filesystem::file_size(file, failed);
  std::ifstream in(file, std::ios::binary);
  if (failed || !in) return refuse(file, "P101", "it cannot be read; check that it exists");
  Elf64_Ehdr header{};
  in.read(reinterpret_cast<char*>(&header), sizeof(header));
  if (in.gcount() < EI_NIDENT || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    return refuse(file, "P101",
                  "it is not a shared library (no ELF header); remove it from the "
                  "plugin directory");
  }
  if (header.e_ident[EI_CLASS] != ELFCLASS64) {
    return refuse(file, "P104", "built for a 32-bit machine, this host is 64-bit; rebuild it here");
  }
  if (in.gcount() < static_cast<std::streamsize>(sizeof(header))) {
    return refuse(file, "P101", "it is damaged: it ends inside its ELF header; build it again");
  }
  if (header.e_machine != kThisMachine) {
    return refuse(file, "P104",
                  "built for " + machine_name(header.e_machine) + ", this host is " +
                      machine_name(kThisMachine) + "; rebuild it here");
  }
  if (header.e_type != ET_DYN) {
    return refuse(file, "P101", "it is an ELF file but not a shared library; use mopt_add_plugin");
  }
  if (!is_whole(in, header, size)) {
    return refuse(file, "P101",
                  "it is damaged or cut off after " + std::to_string(size) +
                      " bytes; build or copy it again");
  }
  return inspect_symbols(file, in, header, size);
}

std::optional<Refusal> try_library(const std::filesystem::path& file) {
  const pid_t child = fork();
  if (child < 0) return refuse(file, "P107", "a process to try it in could not be started");
  if (child == 0) probe_in_child(file);
  const std::optional<int> status = wait_for(child);
  if (!status) {
    return refuse(file, "P107",
                  "opening it did not end within " + std::to_string(kProbeSeconds) +
                      " s; its entry must only return static data");
  }
  // The text of a failed dlopen comes from open_library, in this process.
  if (WIFEXITED(*status)) {
    const int exit = WEXITSTATUS(*status);
    if (exit == kChildOk || exit == kChildOpenFailed) return {};
    return refuse(file, "P107",
                  "opening it ended the process with exit code " + std::to_string(exit) +
                      "; it runs code at load time");
  }
  return refuse(file, "P107",
                "it crashed with signal " + std::to_string(WTERMSIG(*status)) +
                    " when it was opened; it is damaged or runs code at load time");
}

OpenedLibrary open_library(const std::filesystem::path& file) {
  namespace dll = boost::dll;
  // Never destroyed: unloading a plugin breaks thread-local and device state.
  static auto& kept = *new std::vector<dll::shared_library>;
  dll::shared_library library;
  try {
    library.load(file, dll::load_mode::rtld_now | dll::load_mode::rtld_local);
  } catch (const std::exception& e) {  // its text carries dlerror()
    return {nullptr, refuse(file, "P107",
                            std::string("the system's loader refused it: ") + e.what() +
                                "; check the libraries it needs with ldd")};
  }
  const mopt_plugin* plugin = library.get<const mopt_plugin*()>(MOPT_ENTRY_NAME)();
  kept.push_back(std::move(library));
  std::optional<Refusal> refusal = check_descriptor(file, plugin);
  return {refusal ? nullptr : plugin, std::move(refusal)};
}

}  // namespace mopt
