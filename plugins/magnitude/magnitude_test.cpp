#include "magnitude.hpp"

#include <bit>

#include "mopt/pruner.hpp"
#include "tests/codec_golden.hpp"

namespace mopt::test {
namespace {

const mopt_component& component() {
  return component_named(*mopt_plugin_entry_v0(), "magnitude");
}

class Pruner {
 public:
  explicit Pruner(std::vector<Option> options = {})
      : vtable_(static_cast<const mopt_pruner*>(component().vtable)) {
    const FilledSettings settings(component(), std::move(options));
    check(vtable_->create(host_.host(), settings.data(), settings.size(), &self_));
  }
  Pruner(const Pruner&) = delete;
  Pruner& operator=(const Pruner&) = delete;
  ~Pruner() { vtable_->destroy(self_); }

  void plan(const Blob& weight) const {
    const mopt_weight_view view{
        sizeof(mopt_weight_view), weight.dtype, {"w", 1}, weight.shape[0], weight.shape[1]};
    check(vtable_->plan(self_, &view));
  }
  std::vector<uint8_t> mask(const Blob& weight) const {
    plan(weight);
    const float most = absmax(weight);
    const TensorRef ref = weight.ref();
    const mopt_weight_job job{sizeof(mopt_weight_job), 0, {"w", 1}, ref.get(), most, most};
    Blob out = blob(kU8, weight.shape);
    TensorRef to = out.ref();
    check(vtable_->mask(self_, host_.exec(), &job, to.get()));
    return out.as<uint8_t>();
  }

 private:
  FakeHost host_;
  const mopt_pruner* vtable_;
  mopt_instance* self_ = nullptr;
};

std::vector<float> magnitudes(const Blob& weight) {
  std::vector<float> out;
  const TensorRef ref = weight.ref();
  visit(reals(*ref), [&](const auto* p) {
    for (int64_t i = 0; i < elements(weight.shape); ++i)
      out.push_back(std::fabs(to_float(p[i])));
  });
  return out;
}

// The largest sum of n of the m magnitudes, by trying every pattern.
double best_sum(const float* group, int m, int n) {
  double best = 0;
  for (uint32_t pattern = 0; pattern < 1u << m; ++pattern) {
    if (std::popcount(pattern) != n) continue;
    double sum = 0;
    for (int i = 0; i < m; ++i)
      sum += (pattern >> i & 1u) != 0 ? group[i] : 0.0f;
    best = std::max(best, sum);
  }
  return best;
}

Blob golden_weight(const Tensors& t, const char* name) {
  return blob(kF32, t.at(name).shape, t.at(name).bytes);
}

}  // namespace

TEST_CASE("magnitude 2:4 equals ASP's masks where no two magnitudes tie") {
  const std::string path = golden("algorithms/sparsity.safetensors");
  if (path.empty()) {
    MESSAGE("no algorithms/sparsity.safetensors: compared with brute force only");
    return;
  }
  const Tensors t = read_safetensors(path);
  const Pruner pruner;
  CHECK(pruner.mask(golden_weight(t, "weight")) == t.at("asp_mask").as<uint8_t>());
  const auto got = pruner.mask(golden_weight(t, "weight_ties"));
  const auto want = t.at("asp_mask_ties").as<uint8_t>();
  const size_t free_rows = 18 * 128;  // ties there fall as the original's set order has it
  CHECK(std::vector(got.begin() + free_rows, got.end()) ==
        std::vector(want.begin() + free_rows, want.end()));
}

TEST_CASE("magnitude keeps exactly n of every m, and no other choice keeps more") {
  for (const auto& [n, m] : {std::pair{2, 4}, {1, 4}, {1, 2}, {4, 8}, {3, 5}}) {
    const Pruner pruner({{"n", int64_t{n}}, {"m", int64_t{m}}});
    for (const DLDataType dtype : kSourceTypes) {
      const Blob weight = random_blob(dtype, {9, 40}, 3);
      const auto x = magnitudes(weight);
      const auto mask = pruner.mask(weight);
      for (size_t g = 0; g < x.size(); g += static_cast<size_t>(m)) {
        double kept = 0;
        int count = 0;
        for (size_t i = g; i < g + static_cast<size_t>(m); ++i) {
          count += mask[i];
          kept += mask[i] * x[i];
        }
        CHECK(count == n);
        CHECK(kept == best_sum(&x[g], m, n));
      }
    }
  }
}

TEST_CASE("of equal magnitudes the earlier ones stay") {
  const std::vector<float> x = {1, -1, 1, -1, 0, 0, 2, 0};
  const Blob weight =
      blob(kF32, {1, 8}, std::string(reinterpret_cast<const char*>(x.data()), 8 * sizeof(float)));
  CHECK(Pruner().mask(weight) == std::vector<uint8_t>{1, 1, 0, 0, 1, 0, 1, 0});
  const Pruner one({{"n", int64_t{1}}, {"m", int64_t{4}}});
  CHECK(one.mask(weight) == std::vector<uint8_t>{1, 0, 0, 0, 0, 0, 1, 0});
}

TEST_CASE("magnitude refuses columns that its group does not divide, and n that is not below m") {
  CHECK_THROWS_WITH(Pruner().plan(blob(kBf16, {4, 30})),
                    "magnitude needs a multiple of 4 columns, found 30; leave it out with a rule");
  CHECK_THROWS_WITH(Pruner({{"n", int64_t{4}}}),
                    "n must be below m, found n = 4, m = 4; 2:4 is n = 2, m = 4");
}

}  // namespace mopt::test
