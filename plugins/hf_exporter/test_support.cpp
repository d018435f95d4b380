#include "test_support.hpp"

#include <cstring>

#include "tests/json.hpp"

namespace mopt::hf::test {

mopt_scheme scheme(std::string_view name, DLDataType element, mopt_granularity granularity,
                   DLDataType scale, uint32_t rows, uint32_t cols, mopt_scheme_flags flags) {
  return {sizeof(mopt_scheme), granularity, str(name), element, scale, rows, cols, flags, 0};
}

const mopt_scheme kFp8 = scheme("fp8", kE4m3, MOPT_PER_TENSOR);
const mopt_scheme kFp8Run = scheme("fp8", kE4m3, MOPT_PER_TENSOR, kF32, 0, 0, MOPT_SCHEME_DYNAMIC);
const mopt_scheme kFp8Channel = scheme("fp8", kE4m3, MOPT_PER_CHANNEL);
const mopt_scheme kFp8Token = scheme("fp8", kE4m3, MOPT_PER_TOKEN, kF32, 0, 0, MOPT_SCHEME_DYNAMIC);
const mopt_scheme kFp8Tiles = scheme("fp8", kE4m3, MOPT_PER_BLOCK, kF32, 128, 128);
const mopt_scheme kInt8 = scheme("int8", kI8, MOPT_PER_TENSOR);
const mopt_scheme kInt8Channel = scheme("int8", kI8, MOPT_PER_CHANNEL);
const mopt_scheme kInt4 = scheme("int4", kI4, MOPT_PER_BLOCK, kF32, 1, 128);
const mopt_scheme kNvfp4 =
    scheme("nvfp4", kE2m1, MOPT_PER_BLOCK, kE4m3, 1, 16, MOPT_SCHEME_GLOBAL_SCALE);
const mopt_scheme kNvfp4Block32 =
    scheme("nvfp4", kE2m1, MOPT_PER_BLOCK, kE4m3, 1, 32, MOPT_SCHEME_GLOBAL_SCALE);
const mopt_scheme kNvfp4Input = scheme("nvfp4", kE2m1, MOPT_PER_BLOCK, kE4m3, 1, 16,
                                       MOPT_SCHEME_GLOBAL_SCALE | MOPT_SCHEME_DYNAMIC);
const mopt_scheme kMxfp4 = scheme("mxfp4", kE2m1, MOPT_PER_BLOCK, kE8m0, 1, 32);
const mopt_scheme kMxfp4Input =
    scheme("mxfp4", kE2m1, MOPT_PER_BLOCK, kE8m0, 1, 32, MOPT_SCHEME_DYNAMIC);
const mopt_scheme kMxfp8 = scheme("mxfp8", kE4m3, MOPT_PER_BLOCK, kE8m0, 1, 32);
const mopt_scheme kMxfp8Input =
    scheme("mxfp8", kE4m3, MOPT_PER_BLOCK, kE8m0, 1, 32, MOPT_SCHEME_DYNAMIC);

const std::vector<Export> kExports{
    {"llama/fp8", &kFp8, &kFp8},
    {"llama/fp8_kv", &kFp8, &kFp8, &kFp8},
    {"llama/fp8_pc_pt", &kFp8Channel, &kFp8Token},
    {"llama/fp8_2d", &kFp8Tiles, nullptr},
    {"llama/int8_sq", &kInt8Channel, &kInt8},
    {"llama/int8_sq_05", &kInt8Channel, &kInt8},
    {"llama/int4_wo", &kInt4, nullptr},
    {"llama/int4_awq", &kInt4, nullptr},
    {"llama/int4_awq_full", &kInt4, nullptr},
    {"llama/mxfp8", &kMxfp8, &kMxfp8Input},
    {"llama/mxfp4", &kMxfp4, &kMxfp4Input},
    {"llama/nvfp4", &kNvfp4, &kNvfp4Input},
    {"llama/nvfp4_4over6", &kNvfp4, &kNvfp4Input},
    {"llama/nvfp4_awq_clip", &kNvfp4, &kNvfp4Input},
    {"llama/nvfp4_mlp_only", &kNvfp4, &kNvfp4Input},
    {"llama/nvfp4_mse", &kNvfp4, &kNvfp4Input},
    {"llama/w4a16_nvfp4", &kNvfp4, nullptr},
    {"llama/w4a8_nvfp4_fp8", &kNvfp4Block32, &kFp8},
    {"llama/w4a8_mxfp4_fp8", &kMxfp4, &kFp8Run},
    {"gemma3/fp8_kv", &kFp8, &kFp8, &kFp8},
    {"gemma3/fp8_pc_pt", &kFp8Channel, &kFp8Token},
    {"gemma3/int4_awq", &kInt4, nullptr},
    {"gemma3/int4_wo", &kInt4, nullptr},
    {"gemma3/int8_sq", &kInt8Channel, &kInt8},
    {"gemma3/mxfp4", &kMxfp4, &kMxfp4Input},
    {"gemma3/nvfp4", &kNvfp4, &kNvfp4Input},
    {"gemma3/nvfp4_4over6", &kNvfp4, &kNvfp4Input},
    {"qwen3_moe/fp8_kv", &kFp8, &kFp8, &kFp8},
    {"qwen3_moe/fp8_pc_pt", &kFp8Channel, &kFp8Token},
    {"qwen3_moe/int4_awq", &kInt4, nullptr},
    {"qwen3_moe/int8_sq", &kInt8Channel, &kInt8},
    {"qwen3_moe/mxfp4", &kMxfp4, &kMxfp4Input},
    {"qwen3_moe/mxfp8", &kMxfp8, &kMxfp8Input},
    {"qwen3_moe/nvfp4_kv", &kNvfp4, &kNvfp4Input, &kNvfp4},
    {"qwen3_moe/nvfp4_mlp_only", &kNvfp4, &kNvfp4Input},
    {"qwen3_moe/nvfp4_mse", &kNvfp4, &kNvfp4Input},
};

std::string text(const std::string& folder, const std::string& file) {
  const std::string path = mopt::test::golden("modelopt/" + folder + "/" + file);
  return path.empty() ? std::string() : mopt::test::read_file(path);
}

Headers headers(const std::string& folder) {
  std::string header = text(folder, "model.safetensors");
  if (!header.empty()) {
    uint64_t n = 0;
    std::memcpy(&n, header.data(), 8);
    header = header.substr(8, n);
  } else {
    header = text(folder, "header.json");
  }
  Headers out;
  if (header.empty()) return out;
  const auto json = nlohmann::json::parse(header);
  for (const auto& [name, entry] : json.items()) {
    if (name != "__metadata__") out[name] = {entry["dtype"], entry["shape"]};
  }
  return out;
}

std::vector<mopt_param> parameters(const Headers& tensors, const Export& e) {
  std::vector<mopt_param> out;
  for (const auto& [name, header] : tensors) {
    if (!name.ends_with(".weight")) continue;
    const std::string module = name.substr(0, name.size() - 7);
    const bool quantized = tensors.contains(module + ".weight_scale");
    const bool embedding = name.find("embed_tokens") != std::string::npos;
    const bool kv = name.ends_with("k_proj.weight") || name.ends_with("v_proj.weight");
    mopt_param param{};
    param.struct_size = sizeof(mopt_param);
    param.kind = header.shape.size() != 2 ? MOPT_PARAM_OTHER
                 : embedding              ? MOPT_PARAM_EMBEDDING
                                          : MOPT_PARAM_LINEAR;
    param.name = str(name);
    param.weight = quantized ? e.weight : nullptr;
    param.input = quantized ? e.input : nullptr;
    param.kv = kv ? e.kv : nullptr;
    out.push_back(param);
  }
  return out;
}

mopt_export job(const std::string& config, const std::vector<mopt_param>& params,
                const mopt_scheme* kv) {
  return {sizeof(mopt_export), 0, str(config), params.data(), params.size(), kv, 0, 0};
}

}  // namespace mopt::hf::test
