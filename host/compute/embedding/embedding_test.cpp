#include "host/compute/embedding/embedding.hpp"

#include "host/compute/test_data.hpp"

using namespace mopt;
using namespace mopt::compute;
using namespace mopt::compute::test;

TEST_CASE("embedding: row i is the weight's row ids[i]") {
  for (const DLDataType dtype : {kF32, kBf16}) {
    const Array weight = noise(dtype, {50, 7}, 1);
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < 200; ++i)
      ids.push_back(i * 31 % 50);
    check_threads([&] {
      Array y(dtype, {2, 100, 7});
      embedding(view_of(ids.data(), kI64, {2, 100}), *weight, *y);
      for (int64_t i = 0; i < 200; ++i) {
        for (int64_t c = 0; c < 7; ++c) {
          CHECK(y.at(i * 7 + c) == weight.at(ids[static_cast<size_t>(i)] * 7 + c));
        }
      }
      return y;
    });
  }
}

TEST_CASE("embedding: an id outside of the vocabulary is an error that names it") {
  const Array weight = noise(kBf16, {50, 7}, 1), y(kBf16, {3, 7});
  const std::vector<int64_t> ids = {1, 50, 2};
  CHECK_THROWS_WITH_AS(
      embedding(view_of(ids.data(), kI64, {3}), *weight, *y),
      "embedding: expected token ids from 0 to 49, found 50 at position 1; use the "
      "tokenizer that belongs to the model",
      Error);
}
