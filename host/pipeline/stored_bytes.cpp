#include "host/pipeline/stored_bytes.hpp"

#include <new>

namespace mopt::pipeline {
namespace {

constexpr size_t kPage = 4096;

}  // namespace

PieceBuffer::PieceBuffer()
    : memory_(static_cast<std::byte*>(std::aligned_alloc(kPage, kBytes + kRoom))) {
  if (memory_ == nullptr) throw std::bad_alloc();
}

StoredBytes::StoredBytes(const Container& container) {
  for (std::string& path : container.files())
    files_.push_back(std::make_unique<SourceFile>(std::move(path)));
}

std::span<const std::byte> StoredBytes::read(const mopt::StoredTensor& t, uint64_t at, size_t n,
                                             const PieceBuffer& buffer) const {
  const std::span<const std::byte> mapped(t.data + at, n);
  if (t.file >= files_.size()) return mapped;
  const std::span<std::byte> memory = buffer.memory();
  const SourceFile::Place place = files_[t.file]->read(t.offset + at, n, memory, residency(mapped));
  return memory.subspan(place.begin, n);
}

}  // namespace mopt::pipeline
