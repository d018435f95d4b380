#include "layout.hpp"

#include <doctest/doctest.h>

#include "hf_exporter.hpp"
#include "test_support.hpp"
#include "tests/fake_host.hpp"

using namespace mopt;
using namespace mopt::hf;
using namespace mopt::hf::test;

namespace {

mopt_param param(std::string_view name, const mopt_scheme* weight) {
  mopt_param p{};
  p.struct_size = sizeof(mopt_param);
  p.kind = MOPT_PARAM_LINEAR;
  p.name = str(name);
  p.weight = weight;
  return p;
}

DLDataType dtype_of(const std::string& tag) {
  static const std::map<std::string, DLDataType> kTags{
      {"U8", kU8}, {"I8", kI8}, {"F8_E4M3", kE4m3}, {"F32", kF32}, {"BF16", kBf16}};
  return kTags.at(tag);
}

// The role of a stored tensor; "" for one that belongs to no quantized weight.
std::string role_of(const std::string& name) {
  for (const auto& [suffix, role] : {std::pair<std::string, std::string>{".weight", "payload"},
                                     {".weight_scale", "scale"},
                                     {".weight_scale_2", "global_scale"},
                                     {".input_scale", "input_scale"},
                                     {".k_scale", "k_scale"},
                                     {".v_scale", "v_scale"},
                                     {".pre_quant_scale", "pre_quant_scale"}}) {
    if (name.ends_with(suffix)) return role;
  }
  return {};
}

struct OnHost {
  mopt::test::FakeHost host;
  const Exec exec{host.exec()};
};

}  // namespace

TEST_CASE_FIXTURE(OnHost, "int4 codes pack in pairs of rows as in upstream's worked example") {
  // quant-formats 14.4, CPU: the first 16 columns of two rows and their packed bytes.
  const int row0[16] = {-7, -6, -5, -4, -3, -3, -2, -1, 0, 1, 2, 3, 3, 4, 5, 6};
  const int row1[16] = {-7, -1, 5, -5, 1, 7, -2, 4, -6, 0, 6, -4, 2, -7, -1, 5};
  const uint8_t expected[16] = {0x99, 0xFA, 0x5B, 0xBC, 0x1D, 0x7D, 0xEE, 0x4F,
                                0xA0, 0x01, 0x62, 0xC3, 0x23, 0x94, 0xF5, 0x56};
  uint8_t codes[16];
  for (int k = 0; k < 8; ++k) {
    codes[k] = static_cast<uint8_t>((row0[2 * k] & 15) | (row0[2 * k + 1] & 15) << 4);
    codes[8 + k] = static_cast<uint8_t>((row1[2 * k] & 15) | (row1[2 * k + 1] & 15) << 4);
  }
  const TensorRef logical(codes, kI4, {2, 16});
  const mopt_param p = param("m.weight", &kInt4);
  const Tensor packed = pack(exec, p, "payload", *logical);
  REQUIRE(shape_text(shape(*packed)) == "[1, 16]");
  CHECK(same((*packed).dtype, kU8));
  for (int k = 0; k < 16; ++k)
    CHECK(packed.data<uint8_t>()[k] == expected[k]);
  const Tensor back = unpack(exec, p, "payload", *packed);
  REQUIRE(shape_text(shape(*back)) == "[2, 16]");
  CHECK(same((*back).dtype, kI4));
  CHECK(std::memcmp(back.data<uint8_t>(), codes, sizeof codes) == 0);
}

TEST_CASE_FIXTURE(OnHost, "unpacking and packing again gives every byte of the golden exports") {
  int tensors = 0;
  for (const Export& e : kExports) {
    const std::string path = mopt::test::golden("modelopt/" + e.folder + "/model.safetensors");
    if (path.empty()) continue;
    const mopt::test::Tensors file = mopt::test::read_safetensors(path);
    for (const auto& [name, tensor] : file) {
      const std::string role = role_of(name);
      if (role.empty()) continue;
      CAPTURE(e.folder);
      CAPTURE(name);
      const std::string module = name.substr(0, name.rfind('.'));
      if (!file.contains(module + ".weight_scale")) continue;
      const std::string weight = module + ".weight";
      const mopt_param p = param(weight, e.weight);
      const TensorRef stored_form(tensor.bytes.data(), dtype_of(tensor.dtype), tensor.shape);
      const Tensor logical = unpack(exec, p, role, *stored_form);
      const Stored planned = stored(p, role, (*logical).dtype, shape(*logical));
      CHECK(planned.name == name);
      CHECK(planned.shape == tensor.shape);
      CHECK(same(planned.dtype, dtype_of(tensor.dtype)));
      const Tensor again = pack(exec, p, role, *logical);
      REQUIRE(nbytes(*again) == tensor.bytes.size());
      CHECK(std::memcmp(again.data<char>(), tensor.bytes.data(), tensor.bytes.size()) == 0);
      if (role == "payload") {
        CHECK(same((*logical).dtype, e.weight->element));
      } else if (role == "scale") {
        CHECK(same((*logical).dtype, e.weight->scale));
        CHECK((*logical).ndim <= 2);
      }
      ++tensors;
    }
  }
  if (tensors == 0) MESSAGE("skipped: the golden exports are not here");
}

TEST_CASE_FIXTURE(OnHost,
                  "only int4 is copied; every other tensor keeps its bytes where they are") {
  const std::vector<uint8_t> bytes(64);
  const mopt_param fp4 = param("m.weight", &kNvfp4), tiles = param("m.weight", &kFp8Tiles);
  const TensorRef codes(bytes.data(), kE2m1, {2, 16}), scales(bytes.data(), kF32, {2, 3});
  CHECK((*pack(exec, fp4, "payload", *codes)).data == bytes.data());
  CHECK((*pack(exec, tiles, "scale", *scales)).data == bytes.data());
  CHECK(shape_text(shape(*pack(exec, tiles, "scale", *scales))) == "[2, 1, 3, 1]");
}

TEST_CASE("an int4 weight with an odd number of rows is refused with its name") {
  const mopt_param p = param("model.odd.weight", &kInt4);
  const int64_t extents[] = {3, 128};
  try {
    stored(p, "payload", kI4, extents);
    FAIL("accepted");
  } catch (const Error& e) {
    CHECK(e.code() == MOPT_UNSUPPORTED);
    CHECK(e.where() == "model.odd.weight");
    CHECK(std::string(e.what()).find("must be even, found [3, 128]") != std::string::npos);
  }
}

TEST_CASE("scales have no place beside a parameter that is not <module>.weight") {
  const mopt_param p = param("experts.gate_up_proj", &kFp8);
  CHECK_THROWS_AS(stored(p, "scale", kF32, {}), Error);
  CHECK(stored(p, "weight", kBf16, {}).name == "experts.gate_up_proj");
}

TEST_CASE_FIXTURE(OnHost,
                  "plan and put agree on names, and a KV scale stands beside its projection") {
  const mopt_param p = [] {
    mopt_param k = param("l.0.self_attn.k_proj.weight", nullptr);
    k.kv = &kFp8;
    return k;
  }();
  std::vector<uint8_t> weight(8);
  const float scale = 0.5f;
  const TensorRef weight_ref(weight.data(), kBf16, {2, 2}), scale_ref(&scale, kF32, {});
  const mopt_named_tensor tensors[] = {{str("weight"), weight_ref.get()},
                                       {str("k_scale"), scale_ref.get()}};
  std::vector<std::string> planned, emitted;
  const mopt_decl_sink decls{
      &planned, [](void* ctx, const mopt_tensor_decl* d) noexcept -> mopt_error* {
        return guard(
            [&] { static_cast<std::vector<std::string>*>(ctx)->emplace_back(view(d->name)); });
      }};
  const mopt_tensor_sink out{
      &emitted, [](void* ctx, mopt_str name, DLManagedTensorVersioned* t) noexcept -> mopt_error* {
        const Tensor owned(t);
        return guard(
            [&] { static_cast<std::vector<std::string>*>(ctx)->emplace_back(view(name)); });
      }};
  const int64_t extents[] = {2, 2};
  const mopt_tensor_decl roles[] = {
      {sizeof(mopt_tensor_decl), kBf16, str("weight"), extents, 2, 0},
      {sizeof(mopt_tensor_decl), kF32, str("k_scale"), extents, 0, 0}};
  const HfExporter exporter;
  exporter.plan(p, roles, DeclSink(decls));
  exporter.put(exec, p, tensors, TensorSink(out));
  CHECK(planned ==
        std::vector<std::string>{"l.0.self_attn.k_proj.weight", "l.0.self_attn.k_proj.k_scale"});
  CHECK(emitted == planned);
}
