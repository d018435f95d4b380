#include <cstring>

#include "host/compute/embedding/embedding.hpp"
#include "host/compute/parallel.hpp"

namespace mopt::compute {

void embedding_reference(const EmbeddingProblem& p) {
  const int64_t vocabulary = p.weight.shape[0];
  const auto row_bytes =
      static_cast<int64_t>(mopt_nbytes(static_cast<uint64_t>(p.weight.shape[1]), p.weight.dtype));
  const int64_t* ids = p.ids.as<int64_t>();
  for_each(p.ids.elements(), 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (ids[i] < 0 || ids[i] >= vocabulary) {
        throw Error(MOPT_INVALID_ARGUMENT,
                    "embedding: expected token ids from 0 to " + std::to_string(vocabulary - 1) +
                        ", found " + std::to_string(ids[i]) + " at position " + std::to_string(i) +
                        "; use the tokenizer that belongs to the model");
      }
      std::memcpy(p.y.as<char>() + i * row_bytes, p.weight.as<char>() + ids[i] * row_bytes,
                  static_cast<size_t>(row_bytes));
    }
  });
}

}  // namespace mopt::compute
