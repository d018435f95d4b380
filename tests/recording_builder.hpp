// For tests of adapters: a configuration from JSON text, and a builder that writes down what it is
// asked for without judging it.
#pragma once

#include <doctest/doctest.h>

#include <deque>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "mopt/adapter.hpp"
#include "tests/golden.hpp"

namespace mopt::test {

// config.json and the names of a checkpoint's tensors.
class FakeConfig {
 public:
  explicit FakeConfig(const std::string& json, std::set<std::string> tensors = {});
  FakeConfig(const FakeConfig&) = delete;
  ~FakeConfig();
  Config config() const { return Config(&abi_); }

 private:
  mopt_value get(const std::string& path);
  mopt_value value(const nlohmann::json& j);

  std::unique_ptr<nlohmann::json> json_;
  std::set<std::string> tensors_;
  std::deque<std::vector<mopt_value>> lists_;
  mopt_config abi_{};
};

struct RecordedOp {
  std::string kind, label;
  std::vector<mopt_val> in;
  mopt_val out = 0;
  std::map<std::string, double> numbers;
  std::map<std::string, std::string> texts;
  std::vector<int64_t> dims;
  std::string block;  // "decoder 3"
};

class RecordingBuilder {
 public:
  RecordingBuilder();
  RecordingBuilder(const RecordingBuilder&) = delete;
  Graph graph() { return Graph(&abi_.head); }

  std::vector<const RecordedOp*> all(std::string_view kind) const;
  std::string role(const std::string& param) const { return roles.at(ids_.at(param)); }

  std::vector<RecordedOp> ops;
  std::vector<std::string> blocks;
  std::map<std::string, std::vector<int64_t>> params;
  std::map<std::string, mopt_val> inputs, outputs;
  std::map<mopt_val, std::string> names, roles;
  std::map<std::string, std::vector<std::string>> groups;

 private:
  struct Abi {
    mopt_builder head{};
    RecordingBuilder* owner = nullptr;
  };
  static RecordingBuilder& self(mopt_builder* b) { return *reinterpret_cast<Abi*>(b)->owner; }
  mopt_val record(std::string_view kind, std::string_view label, std::span<const mopt_val> in,
                  std::span<const mopt_attr> attrs);

  Abi abi_;
  mopt_val last_ = 0;
  std::string block_;
  std::map<std::string, mopt_val> ids_;
};

// Names and shapes of a golden checkpoint ("models/llama"), over all its shards; empty when it is
// not there.
std::map<std::string, std::vector<int64_t>> checkpoint_shapes(const std::string& folder);

// Adapter::build of a config.json, beside a checkpoint of these tensors.
template <class Adapter>
void record(RecordingBuilder& builder, const std::string& json,
            const std::set<std::string>& tensors = {}) {
  const FakeConfig config(json, tensors);
  Graph graph = builder.graph();
  Adapter::build(config.config(), graph);
}

// The graph asks for exactly the tensors of the golden checkpoints in these folders.
template <class Adapter>
void check_golden_parameters(const std::vector<std::string>& folders) {
  int compared = 0;
  for (const std::string& folder : folders) {
    const auto stored = checkpoint_shapes(folder);
    if (stored.empty()) continue;
    CAPTURE(folder);
    const std::string json = read_file(golden(folder + "/config.json"));
    const FakeConfig config(json);
    CHECK(Adapter::match(config.config()) > 0);
    RecordingBuilder builder;
    record<Adapter>(builder, json);
    CHECK(builder.params == stored);
    ++compared;
  }
  if (compared == 0) MESSAGE("skipped: the golden checkpoints are not here");
}

}  // namespace mopt::test
