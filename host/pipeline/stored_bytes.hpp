// The stored bytes of a container's tensors, read from its files by many threads and never through
// the map: faulting mapped pages in, and giving them back, costs more than copying them.
#pragma once

#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "host/loader/container.hpp"
#include "host/pipeline/source_file.hpp"

namespace mopt::pipeline {

// Memory of one reading thread; what is not used of it is not resident.
class PieceBuffer {
 public:
  static constexpr size_t kBytes = size_t{1} << 20;
  PieceBuffer();
  std::span<std::byte> memory() const { return {memory_.get(), kBytes + kRoom}; }

 private:
  static constexpr size_t kRoom = size_t{64} << 10;  // for the blocks around what is read
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte, Free> memory_;
};

class StoredBytes {
 public:
  // Opens the container's files; it must outlive this object.
  explicit StoredBytes(const Container&);

  // Bytes [at, at + n) of the tensor, n at most PieceBuffer::kBytes; they live in the buffer, or in
  // the map of a container without files. Throws Error MOPT_IO, MOPT_DATA_LOSS.
  std::span<const std::byte> read(const mopt::StoredTensor&, uint64_t at, size_t n,
                                  const PieceBuffer&) const;

 private:
  std::vector<std::unique_ptr<SourceFile>> files_;
};

}  // namespace mopt::pipeline
