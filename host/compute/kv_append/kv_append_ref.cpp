#include <cstring>

#include "host/compute/kv_append/kv_append.hpp"

namespace mopt::compute {
namespace {

void append(const View& from, const View& positions, const View& cache) {
  const int64_t tokens = positions.elements(), t = from.shape[1], s = cache.shape[1];
  const int64_t bytes = from.shape[2] * from.shape[3] * from.dtype.bits / 8;
  for (int64_t i = 0; i < tokens; ++i) {
    const int64_t to = i / t * s + positions.as<int64_t>()[i];
    std::memcpy(cache.as<std::byte>() + to * bytes, from.as<std::byte>() + i * bytes,
                static_cast<size_t>(bytes));
  }
}

}  // namespace

void kv_append_reference(const KvAppendProblem& p) {
  append(p.k, p.positions, p.keys);
  append(p.v, p.positions, p.values);
}

}  // namespace mopt::compute
