// Which devices the CUDA part has code for, by the list of architectures that it was built for.
#pragma once

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <vector>

namespace mopt::compute {

// One entry of CMAKE_CUDA_ARCHITECTURES: "90a-real".
struct Architecture {
  int capability = 0;  // 90 stands for 9.0
  char suffix = 0;     // 'a': this capability alone; 'f': its family; 0: all that are compatible
  bool real = true;    // code of the device
  bool ptx = true;     // code that the driver translates for later ones
};

// CMake's words, with commas. A name instead of a number ("native") is left out: the driver knows.
inline std::vector<Architecture> architectures_of(std::string_view list) {
  std::vector<Architecture> all;
  while (!list.empty()) {
    const std::string_view entry = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), entry.size() + 1));
    Architecture a;
    const auto [end, failed] =
        std::from_chars(entry.data(), entry.data() + entry.size(), a.capability);
    if (failed != std::errc()) continue;
    const std::string_view rest(end, static_cast<size_t>(entry.data() + entry.size() - end));
    if (rest.starts_with('a') || rest.starts_with('f')) a.suffix = rest[0];
    a.real = !rest.ends_with("-virtual");
    a.ptx = !rest.ends_with("-real");
    all.push_back(a);
  }
  return all;
}

// CUDA's rules: a device's own code runs on its major version from its minor one on, PTX on every
// later device.
inline bool runs_on(const Architecture& a, int capability) {
  if (a.suffix == 'a') return capability == a.capability;
  const bool same_major = a.capability / 10 == capability / 10;
  return capability >= a.capability && (same_major || (a.ptx && a.suffix == 0));
}

inline std::string capability_text(int capability) {
  return std::to_string(capability / 10) + "." + std::to_string(capability % 10);
}

// Empty: the device is served. Else what it has, what is served, and what to do. `oldest`: the
// first capability with what our kernels need, whatever they are built for.
inline std::string why_not_served(std::string_view architectures, int oldest,
                                  const std::string& device, int capability) {
  const std::string has = device + " has compute capability " + capability_text(capability);
  const std::vector<Architecture> all = architectures_of(architectures);
  int first = all.empty() ? oldest : all[0].capability;
  std::string built;
  for (const Architecture& a : all) {
    first = std::min(first, a.capability);
    built += (built.empty() ? "" : ", ") + capability_text(a.capability);
  }
  first = std::max(first, oldest);
  if (capability < first)
    return has + ", the oldest that this build serves is " + capability_text(first) +
           "; use --device cpu";
  const auto serves = [&](const Architecture& a) { return runs_on(a, capability); };
  if (all.empty() || std::any_of(all.begin(), all.end(), serves)) return {};
  return has + ", this build has code for " + built +
         "; build with it in CMAKE_CUDA_ARCHITECTURES, or use --device cpu";
}

}  // namespace mopt::compute
