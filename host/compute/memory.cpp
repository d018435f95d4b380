#include "host/compute/memory.hpp"

#include <algorithm>
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
  const uint64_t machine = bytes_of("/proc/meminfo", "MemAvailable:") + resident_bytes();
  uint64_t group = 0;
  std::ifstream("/sys/fs/cgroup/memory.max") >> group;  // "max" leaves 0
  return group == 0 ? machine : std::min(machine, group);
}

}  // namespace mopt::compute
