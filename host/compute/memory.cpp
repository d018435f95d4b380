#include "host/compute/memory.hpp"

#include <fstream>
#include <string>
#include <string_view>

namespace mopt::compute {
namespace {

// Files of /proc give "Name:   123 kB".
uint64_t bytes_of(const char* file, std::string_view name) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(name)) return std::stoull(line.substr(name.size())) << 10;
  }
  return 0;
}

}  // namespace

uint64_t resident_bytes() {
  return bytes_of("/proc/self/status", "VmRSS:");
}

uint64_t peak_resident_bytes() {
  return bytes_of("/proc/self/status", "VmHWM:");
}

uint64_t available_bytes() {
  return bytes_of("/proc/meminfo", "MemAvailable:");
}

}  // namespace mopt::compute
