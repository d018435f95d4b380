// Memory of the emulated device: like that of a real one it is out of the host's reach, except
// while a kernel or a copy runs. Touching it from the host ends the test; so does a write beyond
// the end, when the block is released.
#pragma once

#include <cstddef>

namespace mopt::emulation {

// Aligned to 256 bytes, filled with garbage.
void* allocate(size_t bytes);
void release(void*);

// Within reach as long as one of these lives.
class Access {
 public:
  Access();
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;
  ~Access();
};

}  // namespace mopt::emulation
