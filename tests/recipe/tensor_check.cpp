#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "tests/golden.hpp"
#include "tests/json.hpp"
#include "tests/recipe/checks.hpp"

namespace mopt::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what);
}

std::string shape_of(const StoredTensor& tensor) {
  return json(tensor.shape).dump();
}

std::vector<double> numbers(const StoredTensor& tensor) {
  std::vector<double> out;
  if (tensor.dtype == "F32") {
    for (const float x : tensor.as<float>())
      out.push_back(x);
  } else if (tensor.dtype == "BF16") {
    for (const uint16_t bits : tensor.as<uint16_t>()) {
      const uint32_t wide = static_cast<uint32_t>(bits) << 16;
      float x;
      std::memcpy(&x, &wide, sizeof(x));
      out.push_back(x);
    }
  } else {
    fail("a tensor of type " + tensor.dtype + " cannot be compared as numbers");
  }
  return out;
}

// Every tensor of a directory, from however many files.
Tensors tensors_of(const fs::path& directory) {
  Tensors all;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() != ".safetensors") continue;
    if (entry.path().filename().string().starts_with("fake_quant") ||
        entry.path().filename().string().starts_with("amax")) {
      continue;
    }
    all.merge(read_safetensors(entry.path().string()));
  }
  return all;
}

StoredTensor stored(const std::string& place) {
  const size_t colon = place.rfind(':');
  Tensors all = read_safetensors(place.substr(0, colon));
  const std::string key = place.substr(colon + 1);
  if (!all.contains(key)) fail(place.substr(0, colon) + " holds no tensor " + key);
  return all[key];
}

double distance(const StoredTensor& a, const StoredTensor& b) {
  const std::vector<double> x = numbers(a), y = numbers(b);
  if (x.size() != y.size()) fail("shapes " + shape_of(a) + " and " + shape_of(b) + " differ");
  double worst = 0, largest = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double error = std::fabs(x[i] - y[i]);
    worst = error <= worst ? worst : error;  // keeps a NaN
    largest = std::max(largest, std::fabs(y[i]));
  }
  return worst / largest;
}

// Scales that come from the activations of a forward.
bool from_activations(const std::string& name) {
  return name.ends_with("input_scale") || name.ends_with("k_scale") || name.ends_with("v_scale");
}

void check_tensors(const Tensors& ours, const Tensors& golden, Coverage coverage) {
  for (const auto& [name, expected] : golden) {
    const auto found = ours.find(name);
    if (found == ours.end()) fail("the output lacks tensor " + name);
    const StoredTensor& got = found->second;
    if (got.dtype != expected.dtype || got.shape != expected.shape) {
      fail(name + ": expected " + expected.dtype + " " + shape_of(expected) + ", found " +
           got.dtype + " " + shape_of(got));
    }
    if (from_activations(name)) {
      if (!(distance(got, expected) <= 0x1p-6)) fail(name + " is not within 2^-6");
    } else if (got.bytes != expected.bytes) {
      fail(name + ": bytes differ");
    }
  }
  if (coverage == Coverage::kPart) return;
  for (const auto& [name, tensor] : ours) {
    if (!golden.contains(name)) fail("the output holds tensor " + name + ", the original does not");
  }
}

json document(const fs::path& path) {
  return read_json(path);
}

void check_equal(const std::string& what, const json& ours, const json& golden) {
  if (ours != golden) fail(what + ": expected\n" + golden.dump(1) + "\n  found\n" + ours.dump(1));
}

}  // namespace

size_t tensor_offset(const fs::path& file, const std::string& name) {
  const std::string bytes = read_file(file.string());
  uint64_t n = 0;
  std::memcpy(&n, bytes.data(), sizeof(n));
  const json header = parse_json(bytes.substr(8, n));
  if (!header.contains(name)) fail(file.string() + " holds no tensor " + name);
  return 8 + n + header[name]["data_offsets"][0].get<size_t>();
}

void check_tensor(const fs::path& file, const std::string& name, const std::string& dtype,
                  const std::string& shape) {
  const StoredTensor tensor = stored(file.string() + ":" + name);
  if (tensor.dtype != dtype || json(tensor.shape) != parse_json(shape)) {
    fail(name + ": expected " + dtype + " " + shape + ", found " + tensor.dtype + " " +
         shape_of(tensor));
  }
}

void check_close(const std::string& a, const std::string& b, double tolerance) {
  const double found = distance(stored(a), stored(b));
  if (!(found <= tolerance)) {
    fail(a + " against " + b + ": relative difference " + std::to_string(found) + ", allowed " +
         std::to_string(tolerance));
  }
}

void check_export(const fs::path& ours, const fs::path& golden, Coverage coverage) {
  check_tensors(tensors_of(ours), tensors_of(golden), coverage);
  json quant = document(ours / "hf_quant_config.json");
  json expected_quant = document(golden / "hf_quant_config.json");
  quant.erase("producer");
  expected_quant.erase("producer");
  check_equal("hf_quant_config.json", quant, expected_quant);
  json config = document(ours / "config.json").value("quantization_config", json());
  json expected = document(golden / "config.json").value("quantization_config", json());
  config.erase("producer");
  expected.erase("producer");
  check_equal("quantization_config", config, expected);
}

}  // namespace mopt::test
