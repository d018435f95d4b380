// Working memory of one thread, kept between calls: kernels allocate nothing once they are warm.
#pragma once

#include <cstdint>
#include <new>

namespace mopt::compute {

class AlignedBytes {
 public:
  AlignedBytes() = default;
  explicit AlignedBytes(int64_t bytes) { grow(bytes); }
  AlignedBytes(const AlignedBytes&) = delete;
  AlignedBytes& operator=(const AlignedBytes&) = delete;
  ~AlignedBytes() { ::operator delete (data_, std::align_val_t{kAlignment}); }
  // At least `bytes`; what was there before is lost when it grows.
  void grow(int64_t bytes) {
    if (bytes <= size_) return;
    ::operator delete (data_, std::align_val_t{kAlignment});
    data_ = nullptr;
    size_ = 0;
    data_ = ::operator new (static_cast<size_t>(bytes), std::align_val_t{kAlignment});
    size_ = bytes;
  }
  void* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  static constexpr size_t kAlignment = 64;
  void* data_ = nullptr;
  int64_t size_ = 0;
};

// This thread's memory for the purpose that Use stands for, until its next call with the same Use.
template <class Use>
void* scratch(int64_t bytes) {
  thread_local AlignedBytes own;
  own.grow(bytes);
  return own.data();
}

}  // namespace mopt::compute
