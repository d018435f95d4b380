// One shared library: what can be known of it without running its code, and loading it for good.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "mopt/plugin.h"

namespace mopt {

// Why a file is not used: a code of the P group, and one sentence with the remedy.
struct Refusal {
  std::filesystem::path file;
  std::string code, reason;
};

// Reads headers only: an ELF shared library of this machine, whole, with the entry symbol.
std::optional<Refusal> inspect_library(const std::filesystem::path& file);

// Opens the library and asks its entry once, in a child process, so that a file that crashes or
// hangs when it is opened takes nothing with it.
std::optional<Refusal> try_library(const std::filesystem::path& file);

struct OpenedLibrary {
  const mopt_plugin* plugin = nullptr;  // static data of the library, which is never closed
  std::optional<Refusal> refusal;
};

// Loads into this process. Libraries stay loaded until the process ends.
OpenedLibrary open_library(const std::filesystem::path& file);

}  // namespace mopt
