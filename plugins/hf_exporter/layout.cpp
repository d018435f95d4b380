#include "layout.hpp"

#include <array>
#include <utility>

#include "scheme.hpp"

namespace mopt::hf {
namespace {

constexpr std::string_view kWeight = ".weight";

constexpr std::array<Companion, 6> kCompanions{{
    {MOPT_ROLE_SCALE, ".weight_scale"},
    {MOPT_ROLE_GLOBAL_SCALE, ".weight_scale_2"},
    {MOPT_ROLE_INPUT_SCALE, ".input_scale"},
    {MOPT_ROLE_K_SCALE, ".k_scale"},
    {MOPT_ROLE_V_SCALE, ".v_scale"},
    {"pre_quant_scale", ".pre_quant_scale"},
}};

bool is_weight_payload(const mopt_param& param, std::string_view role) {
  return param.weight != nullptr && role == MOPT_ROLE_PAYLOAD;
}

std::string stored_name(const mopt_param& param, std::string_view role) {
  const std::string_view name = view(param.name);
  if (role == "weight" || role == "bias") return std::string(name);
  const std::string_view module = module_of(name);
  if (module.empty()) {
    throw Error(MOPT_UNSUPPORTED,
                "the hf layout stores scales beside a parameter named '<module>.weight', found '" +
                    std::string(name) + "'; leave it out with a rule",
                std::string(name));
  }
  if (role == MOPT_ROLE_PAYLOAD) return std::string(name);
  for (const auto& [companion, suffix] : kCompanions) {
    if (companion == role) return std::string(module) + std::string(suffix);
  }
  throw Error(MOPT_UNSUPPORTED,
              "the hf layout has no place for a tensor of role '" + std::string(role) + "'",
              std::string(name));
}

// A DLManagedTensorVersioned over somebody else's bytes.
struct Alias {
  DLManagedTensorVersioned managed{};
  std::vector<int64_t> shape, strides;
};

Tensor alias(const DLTensor& of, DLDataType dtype, std::vector<int64_t> shape) {
  auto owned = std::make_unique<Alias>();
  owned->shape = std::move(shape);
  owned->strides.resize(owned->shape.size());
  int64_t stride = 1;
  for (size_t i = owned->shape.size(); i-- > 0;) {
    owned->strides[i] = stride;
    stride *= owned->shape[i];
  }
  DLManagedTensorVersioned& m = owned->managed;
  m.version = {DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION};
  m.flags = DLPACK_FLAG_BITMASK_READ_ONLY;
  m.dl_tensor = {of.data,       of.device,           static_cast<int32_t>(owned->shape.size()),
                 dtype,         owned->shape.data(), owned->strides.data(),
                 of.byte_offset};
  m.manager_ctx = owned.get();
  m.deleter = [](DLManagedTensorVersioned* self) { delete static_cast<Alias*>(self->manager_ctx); };
  return Tensor(&owned.release()->managed);
}

// Rows per task: enough bytes that starting a task costs nothing beside them.
int64_t row_grain(int64_t cols) {
  return std::max<int64_t>(1, (int64_t{1} << 16) / (cols + 1));
}

Tensor join_rows(const Exec& exec, const DLTensor& codes) {
  const int64_t out = codes.shape[0], in = codes.shape[1];
  Tensor packed = exec.alloc(kU8, {out / 2, in});
  const uint8_t* source = data<const uint8_t>(codes);
  uint8_t* target = packed.data<uint8_t>();
  exec.for_each(out / 2, row_grain(in), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const uint8_t* even = source + 2 * i * (in / 2);
      const uint8_t* odd = even + in / 2;
      uint8_t* row = target + i * in;
      for (int64_t k = 0; k < in / 2; ++k) {
        row[2 * k] = static_cast<uint8_t>((even[k] & 0x0f) | (odd[k] & 0x0f) << 4);
        row[2 * k + 1] = static_cast<uint8_t>(even[k] >> 4 | (odd[k] & 0xf0));
      }
    }
  });
  return packed;
}

Tensor split_rows(const Exec& exec, const DLTensor& packed) {
  const int64_t pairs = packed.shape[0], in = packed.shape[1];
  Tensor codes = exec.alloc(kI4, {2 * pairs, in});
  const uint8_t* source = data<const uint8_t>(packed);
  uint8_t* target = codes.data<uint8_t>();
  exec.for_each(pairs, row_grain(in), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const uint8_t* row = source + i * in;
      uint8_t* even = target + 2 * i * (in / 2);
      uint8_t* odd = even + in / 2;
      for (int64_t k = 0; k < in / 2; ++k) {
        even[k] = static_cast<uint8_t>((row[2 * k] & 0x0f) | (row[2 * k + 1] & 0x0f) << 4);
        odd[k] = static_cast<uint8_t>(row[2 * k] >> 4 | (row[2 * k + 1] & 0xf0));
      }
    }
  });
  return codes;
}

[[noreturn]] void refuse(const mopt_param& param, const std::string& expected,
                         std::span<const int64_t> shape) {
  const std::string name(view(param.name));
  throw Error(MOPT_UNSUPPORTED,
              expected + ", found " + shape_text(shape) + "; leave it out with a rule", name);
}

void expect_matrix(const mopt_param& param, std::string_view what, std::span<const int64_t> shape) {
  if (shape.size() == 2 && shape[1] % 2 == 0) return;
  refuse(param, std::string(what) + " codes need a matrix with an even number of columns", shape);
}

}  // namespace

std::span<const Companion> companions() {
  return kCompanions;
}

std::string_view module_of(std::string_view parameter) {
  if (parameter.size() <= kWeight.size() || !parameter.ends_with(kWeight)) return {};
  return parameter.substr(0, parameter.size() - kWeight.size());
}

Stored stored(const mopt_param& param, std::string_view role, DLDataType dtype,
              std::span<const int64_t> shape) {
  Stored out{stored_name(param, role), dtype, {shape.begin(), shape.end()}};
  if (is_weight_payload(param, role) && same(dtype, kE2m1)) {
    expect_matrix(param, "e2m1", shape);
    out.dtype = kU8;
    out.shape.back() /= 2;
  } else if (is_weight_payload(param, role) && same(dtype, kI4)) {
    expect_matrix(param, "int4", shape);
    if (shape[0] % 2 != 0) {
      refuse(param, "the hf layout packs int4 in pairs of rows, so that their number must be even",
             shape);
    }
    out.dtype = kU8;
    out.shape[0] /= 2;
  } else if (same(dtype, kE8m0)) {
    out.dtype = kU8;
  }
  if (role == MOPT_ROLE_SCALE && kind_of(param.weight) == Kind::kFp8Tile && shape.size() == 2) {
    out.shape = {shape[0], 1, shape[1], 1};
  }
  return out;
}

Tensor pack(const Exec& exec, const mopt_param& param, std::string_view role,
            const DLTensor& tensor) {
  Stored to = stored(param, role, tensor.dtype, shape(tensor));
  if (is_weight_payload(param, role) && same(tensor.dtype, kI4)) return join_rows(exec, tensor);
  return alias(tensor, to.dtype, std::move(to.shape));
}

Tensor unpack(const Exec& exec, const mopt_param& param, std::string_view role,
              const DLTensor& stored) {
  std::vector<int64_t> to(shape(stored).begin(), shape(stored).end());
  const bool bytes = same(stored.dtype, kU8);
  if (is_weight_payload(param, role) && bytes && to.size() == 2) {
    if (same(param.weight->element, kI4)) {
      expect_matrix(param, "int4", to);
      return split_rows(exec, stored);
    }
    if (same(param.weight->element, kE2m1)) {
      to[1] *= 2;
      return alias(stored, kE2m1, std::move(to));
    }
  }
  const bool scale = role == MOPT_ROLE_SCALE && param.weight != nullptr;
  if (scale && to.size() == 4 && to[1] == 1 && to[3] == 1) to = {to[0], to[2]};
  // One value may be stored as [], [1] or, for a weight within one tile, [1, 1, 1, 1].
  const Kind kind = kind_of(param.weight);
  if ((scale ? kind == Kind::kFp8Tensor || kind == Kind::kFp8Tile : role.ends_with("_scale")) &&
      elements(to) == 1) {
    to.clear();
  }
  const bool e8m0 = scale && bytes && same(param.weight->scale, kE8m0);
  return alias(stored, e8m0 ? kE8m0 : stored.dtype, std::move(to));
}

}  // namespace mopt::hf
