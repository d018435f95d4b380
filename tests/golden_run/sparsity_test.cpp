// 2:4 masks of the pruner against ASP's, through a whole run.
#include <doctest/doctest.h>

#include "tests/golden_run/checkpoint.hpp"
#include "tests/golden_run/require.hpp"
#include "tests/golden_run/scratch.hpp"

namespace mopt::test {
namespace {

constexpr int64_t kTieRows = 18;  // of weight_ties: the original's order of patterns is arbitrary

const std::string kMlp = "model.layers.0.mlp.";

// A checkpoint of two named weights; no adapter can know what stands between them.
void write_model(const Scratch& scratch, const Tensors& golden) {
  std::filesystem::create_directory(scratch / "model");
  write_safetensors(scratch / "model/model.safetensors",
                    {{kMlp + "up_proj.weight", golden.at("weight")},
                     {kMlp + "gate_proj.weight", golden.at("weight_ties")}});
  write_text(scratch / "model/config.json", R"({"model_type": "two_weights"})");
}

// Every kept element has the source's bits, every other one is zero.
void check_mask(const StoredTensor& ours, const StoredTensor& source, const std::string& mask,
                int64_t first_row) {
  REQUIRE(ours.shape == source.shape);
  REQUIRE(ours.dtype == source.dtype);
  const std::vector<float> got = floats(ours), before = floats(source);
  for (size_t i = static_cast<size_t>(first_row * source.shape[1]); i < before.size(); ++i) {
    CAPTURE(i);
    REQUIRE(got[i] == (mask[i] != 0 ? before[i] : 0.0f));
  }
}

void check_two_of_four(const StoredTensor& ours) {
  const std::vector<float> got = floats(ours);
  for (size_t i = 0; i < got.size(); i += 4) {
    CAPTURE(i);
    REQUIRE((got[i] != 0) + (got[i + 1] != 0) + (got[i + 2] != 0) + (got[i + 3] != 0) <= 2);
  }
}

}  // namespace

TEST_CASE("sparse24_magnitude keeps what ASP keeps, with the source's bits") {
  const std::string path = golden("algorithms/sparsity.safetensors");
  REQUIRE_FALSE(path.empty());
  const Tensors golden = read_safetensors(path);
  const Scratch scratch;
  write_model(scratch, golden);
  const Outcome run = scratch.host({"--recipe", "sparse24_magnitude", "--model", "model",
                                    "--output", "out", "--set", "model.adapter=none"});
  require_success(run);
  const Tensors ours = read_checkpoint(scratch / "out");
  CHECK(ours.size() == 2);
  const StoredTensor& plain = ours.at(kMlp + "up_proj.weight");
  const StoredTensor& ties = ours.at(kMlp + "gate_proj.weight");
  check_mask(plain, golden.at("weight"), golden.at("asp_mask").bytes, 0);
  check_mask(ties, golden.at("weight_ties"), golden.at("asp_mask_ties").bytes, kTieRows);
  check_two_of_four(ties);
  CHECK(scratch.host({"verify", "out", "--source", "model"}).exit == 0);
}

}  // namespace mopt::test
