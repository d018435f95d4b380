// Number formats of the plugins, through the ABI.
#pragma once

#include <filesystem>
#include <memory>

#include "host/loader/components.hpp"
#include "tests/ops/harness.hpp"

namespace mopt::ops {

inline constexpr std::string_view kEncoders = "encoders";

// What this product offers: formats and their granularities.
struct Encoder {
  const char *component, *option, *value;  // option NULL: the defaults
  std::string label() const;
};
std::span<const Encoder> all_encoders();

// The plugins of `directory` (empty: of the installation that the program belongs to), loaded at
// the first use.
class EncoderPlugins {
 public:
  EncoderPlugins(std::filesystem::path directory, std::filesystem::path executable);
  ~EncoderPlugins();
  Services& services() const;
  Quantizer make(const Encoder&) const;

 private:
  void load() const;
  std::filesystem::path directory_, executable_;
  mutable std::unique_ptr<Services> services_;
  mutable std::unique_ptr<Registry> registry_;
};

bool wants_encoders(const Selection&);

// Bytes on the target (on the CPU: by several threads, from memory that is not aligned) against
// those of one thread.
Score compare_encoders(const Target&, const Selection&, Extent, const EncoderPlugins&);

// A context of the target. `take` of its queue lives as long as `services`.
const mopt_exec* exec_on(const Target&, Services&);

// What the host knows of a weight before it is encoded.
mopt_weight_job job_of(const DLTensor& weight, float absmax);

// The tensor's bytes on the host.
HostTensor fetched(const Target&, const Tensor&);

}  // namespace mopt::ops
