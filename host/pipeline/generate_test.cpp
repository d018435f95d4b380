#include "host/pipeline/generate.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "host/compute/parallel.hpp"
#include "host/pipeline/pipeline_test.hpp"
#include "host/plan/cost.hpp"

namespace mopt::pipeline::test {
namespace {

const auto kGoOn = [](int32_t) { return true; };
const auto kNoProgress = [](int64_t, int64_t) { return true; };

int32_t argmax(const Doubles& logits, size_t row) {
  const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(row * 48);
  return static_cast<int32_t>(std::max_element(begin, begin + 48) - begin);
}

TEST_CASE_FIXTURE(Fixture, "greedy: each token is the argmax of the plain forward so far") {
  Ids ids = random_ids(5, 48, 11);
  const Ids prompt = ids;
  const Generation got = generate(*source, in_type(kF32), prompt, 12, {}, kGoOn);
  for (const int32_t token : got.ids) {
    CHECK(token == argmax(plain.run(ids).logits, ids.size() - 1));
    ids.push_back(token);
  }
  if (got.finish_reason == "length") {
    CHECK(got.ids.size() == 12);
  } else {
    CHECK(argmax(plain.run(ids).logits, ids.size() - 1) == 1);  // eos_token_id
  }
}

TEST_CASE_FIXTURE(Fixture, "the end token ends a text and is not part of it") {
  int stopped = 0;
  for (int32_t id = 0; id < 48; ++id) {
    const bool ends = argmax(plain.run({id}).logits, 0) == 1;
    const Generation got = generate(*source, in_type(kF32), {id}, 1, {}, kGoOn);
    CHECK((got.finish_reason == "stop") == ends);
    CHECK(got.ids.empty() == ends);
    stopped += ends;
  }
  CHECK(stopped > 0);
}

TEST_CASE_FIXTURE(Fixture, "a caller that wants no more tokens gets the ones so far") {
  int calls = 0;
  const Generation got = generate(*source, in_type(kF32), random_ids(5, 48, 11), 12, {},
                                  [&](int32_t) { return ++calls < 2; });
  CHECK(got.ids.size() == 2);
}

TEST_CASE("a draw is a function of seed, row and position alone") {
  const std::vector<float> logits(1000, 0.5f);
  const Sampling sampling{1, 1, 7};
  std::set<int32_t> drawn;
  for (uint64_t row = 0; row < 4; ++row) {
    for (uint64_t position = 0; position < 4; ++position) {
      const int32_t token = sample(logits, sampling, row, position);
      CHECK(token == sample(logits, sampling, row, position));
      drawn.insert(token);
      drawn.insert(sample(logits, {1, 1, 8}, row, position));
    }
  }
  CHECK(drawn.size() > 25);  // of 32 draws from 1000: about 0.5 pairs are equal
}

TEST_CASE("tokens are drawn as often as the softmax at that temperature says") {
  const std::vector<float> logits{0.3f, -1.0f, 2.0f, 1.5f, -40.0f, 0.0f};
  constexpr int kDraws = 20000;
  for (const double temperature : {0.5, 1.0, 3.0}) {
    CAPTURE(temperature);
    std::vector<double> want(logits.size());
    std::vector<int> got(logits.size());
    for (size_t i = 0; i < logits.size(); ++i)
      want[i] = std::exp(logits[i] / temperature);
    const double total = std::accumulate(want.begin(), want.end(), 0.0);
    for (uint64_t i = 0; i < kDraws; ++i)
      ++got[static_cast<size_t>(sample(logits, {temperature, 1, 3}, i % 50, i / 50))];
    for (size_t i = 0; i < logits.size(); ++i) {
      const double p = want[i] / total;
      // Five standard deviations of a count.
      CHECK(std::fabs(got[i] - kDraws * p) <= 5 * std::sqrt(kDraws * p * (1 - p)) + 1e-3);
    }
  }
}

TEST_CASE("top_p keeps the smallest set of tokens that has its share, and no other") {
  // Probabilities 1/2, 1/4, 1/8, 1/16, 1/16 in another order.
  const std::vector<float> logits{std::log(2.0f), 0, std::log(8.0f), 0, std::log(4.0f)};
  const auto kept = [&](double top_p) {
    std::set<int32_t> seen;
    for (uint64_t i = 0; i < 3000; ++i)
      seen.insert(sample(logits, {1, top_p, 5}, 0, i));
    return seen;
  };
  CHECK(kept(0.3) == std::set<int32_t>{2});
  CHECK(kept(0.49) == std::set<int32_t>{2});
  CHECK(kept(0.6) == std::set<int32_t>{2, 4});
  CHECK(kept(0.8) == std::set<int32_t>{0, 2, 4});
  CHECK(kept(0.9) == std::set<int32_t>{0, 1, 2, 4});  // of equals the first
  CHECK(kept(1) == std::set<int32_t>{0, 1, 2, 3, 4});
}

TEST_CASE("greedy takes the first of the largest logits, whatever the seed") {
  const std::vector<float> logits{1, 3, 3, -2};
  for (uint64_t seed = 0; seed < 20; ++seed)
    CHECK(sample(logits, {0, 1, seed}, seed, seed) == 1);
}

TEST_CASE_FIXTURE(Fixture,
                  "own text begins with bos and does not depend on threads or on samples") {
  const auto write = [&](int threads, int64_t samples, uint64_t seed) {
    TokenRows rows;
    compute::Threads(threads).run([&] {
      rows = write_self_text(*source, in_type(kF32), {samples, 9, seed}, kNoProgress);
    });
    return rows;
  };
  const int64_t samples = plan::kSelfTextRows + 3;  // two batches
  const TokenRows rows = write(1, samples, 5);
  REQUIRE(rows.size() == static_cast<size_t>(samples));
  std::set<Ids> distinct;
  for (const Ids& row : rows) {
    CHECK(row.size() == 9);
    CHECK(row[0] == 3);  // bos_token_id
    distinct.insert(row);
    for (const int32_t id : row)
      CHECK((id >= 0 && id < 48));
  }
  CHECK(distinct.size() > rows.size() - 3);
  CHECK(write(2, samples, 5) == rows);
  CHECK(write(1, samples, 6) != rows);
  CHECK(write(2, 2, 5) == TokenRows(rows.begin(), rows.begin() + 2));
}

TEST_CASE_FIXTURE(Fixture, "own text is drawn from the model's distribution of each next token") {
  const TokenRows rows = write_self_text(*source, in_type(kF32), {4, 12, 9}, kNoProgress);
  for (size_t r = 0; r < rows.size(); ++r) {
    const Doubles logits = plain.run(rows[r]).logits;
    for (size_t t = 0; t + 1 < rows[r].size(); ++t) {
      const std::vector<float> next(logits.begin() + static_cast<std::ptrdiff_t>(t * 48),
                                    logits.begin() + static_cast<std::ptrdiff_t>((t + 1) * 48));
      CHECK(sample(next, {1, 1, 9}, r, t + 1) == rows[r][t + 1]);
    }
  }
}

TEST_CASE_FIXTURE(Fixture, "own text that is interrupted gives no rows") {
  int calls = 0;
  const TokenRows rows = write_self_text(*source, in_type(kF32), {4, 12, 9},
                                         [&](int64_t, int64_t) { return ++calls < 5; });
  CHECK(rows.empty());
  CHECK(calls == 5);
}

}  // namespace
}  // namespace mopt::pipeline::test
