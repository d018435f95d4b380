// What a resumed run knows files again by, without reading large ones whole.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace mopt::pipeline {

struct Probing {
  uint64_t whole = uint64_t{1} << 30;  // files of at most so many bytes together are read whole
  uint64_t every = uint64_t{8} << 20;  // of others `bytes` are read so often, and at the end
  uint64_t bytes = uint64_t{64} << 10;
};

// For each file a hash of its size and of the bytes that are read, by all threads. Wherever `every`
// bytes in a row are others, some of them are read. Throws Error MOPT_IO.
std::vector<std::string> fingerprints(std::span<const std::filesystem::path> files,
                                      Probing probing = {});

}  // namespace mopt::pipeline
