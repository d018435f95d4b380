#include "tests/fake_host.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>

#include "tests/cuda_emulation_memory.hpp"

namespace mopt::test {

FakeHost::FakeHost(On on) {
  table_.abi = {sizeof(mopt_host), MOPT_ABI_MAJOR, MOPT_ABI_MINOR, "fake", "0", get_service, log};
  const DLDeviceType device = on == On::kCpu ? kDLCPU : kDLCUDA;
  exec_ = {sizeof(mopt_exec), 0, {device, 0}, nullptr, &table_.abi};
}

mopt_error* FakeHost::alloc(const mopt_exec* exec, DLDataType dtype, int32_t ndim,
                            const int64_t* extents, DLManagedTensorVersioned** out) noexcept {
  return guard([&] {
    auto owned = std::make_unique<Owned>();
    owned->shape.assign(extents, extents + ndim);
    const TensorRef header(nullptr, dtype, owned->shape);
    owned->strides.assign(header.get()->strides, header.get()->strides + ndim);
    const uint64_t bytes = nbytes(*header);
    const bool cuda = exec->device.device_type == kDLCUDA;
    void* memory =
        cuda ? emulation::allocate(bytes) : std::aligned_alloc(256, (bytes + 511) / 256 * 256);
    if (!cuda) std::memset(memory, 0xA5, bytes);
    owned->managed = {};
    owned->managed.dl_tensor = *header;
    owned->managed.dl_tensor.device = exec->device;
    owned->managed.dl_tensor.data = memory;
    owned->managed.dl_tensor.shape = owned->shape.data();
    owned->managed.dl_tensor.strides = owned->strides.data();
    owned->managed.manager_ctx = owned.get();
    owned->managed.deleter = [](DLManagedTensorVersioned* t) {
      if (t->dl_tensor.device.device_type == kDLCUDA) {
        emulation::release(t->dl_tensor.data);
      } else {
        std::free(t->dl_tensor.data);
      }
      delete static_cast<Owned*>(t->manager_ctx);
    };
    *out = &owned.release()->managed;
  });
}

mopt_error* FakeHost::for_each(int64_t n, int64_t grain,
                               mopt_error* (*body)(void*, int64_t, int64_t) noexcept,
                               void* ctx) noexcept {
  for (int64_t chunk = (n + grain - 1) / grain - 1; chunk >= 0; --chunk) {
    const int64_t begin = chunk * grain;
    if (mopt_error* error = body(ctx, begin, std::min(n, begin + grain))) return error;
  }
  return nullptr;
}

const void* FakeHost::get_service(const mopt_host*, const char* id) noexcept {
  static constexpr mopt_memory memory = {sizeof(mopt_memory), 0, alloc};
  static constexpr mopt_parallel parallel = {sizeof(mopt_parallel), 0, for_each};
  if (std::string_view(id) == MOPT_MEMORY_SERVICE) return &memory;
  if (std::string_view(id) == MOPT_PARALLEL_SERVICE) return &parallel;
  return nullptr;
}

void FakeHost::log(const mopt_host* host, mopt_log_level level, mopt_str component,
                   mopt_str message) noexcept {
  if (level != MOPT_LOG_WARN) return;
  reinterpret_cast<const Table*>(host)->owner->warnings.push_back(
      std::string(view(component)) + ": " + std::string(view(message)));
}

Placed::Placed(const FakeHost& host, const Blob& blob) {
  const size_t bytes = blob.bytes.size();
  const auto shift = static_cast<size_t>(host.shift * blob.dtype.bits / 8);
  if (host.on_device()) {
    device_ = emulation::allocate(bytes + shift);
    const emulation::Access access;
    char* start = static_cast<char*>(device_) + shift;
    std::memcpy(start, blob.bytes.data(), bytes);
    ref_ = TensorRef(start, blob.dtype, blob.shape);
    ref_.get()->device = {kDLCUDA, 0};
  } else {
    bytes_ = std::string(shift, '\xA5') + blob.bytes;
    ref_ = TensorRef(bytes_.data() + shift, blob.dtype, blob.shape);
  }
}

Placed::~Placed() {
  if (device_ != nullptr) emulation::release(device_);
}

Blob Placed::read() const {
  const emulation::Access access;
  return blob(*ref_);
}

FilledSettings::FilledSettings(const mopt_component& component, std::vector<Option> given)
    : given_(std::move(given)) {
  for (uint64_t i = 0; i < component.n_options; ++i) {
    const mopt_option& option = component.options[i];
    mopt_value value = option.def;
    for (const Option& g : given_) {
      if (g.name != option.name) continue;
      REQUIRE(g.type == option.type);
      value.type = g.type;
      if (g.type == MOPT_INT) value.as.i = g.i;
      if (g.type == MOPT_FLOAT) value.as.f = g.f;
      if (g.type == MOPT_STR) value.as.s = str(g.s);
    }
    settings_.push_back({str(option.name), value});
  }
}

const mopt_component& component_named(const mopt_plugin& plugin, std::string_view name) {
  for (uint64_t i = 0; i < plugin.n_components; ++i) {
    if (plugin.components[i].name == name) return plugin.components[i];
  }
  throw Error(MOPT_NOT_FOUND, "the plugin has no component " + std::string(name));
}

Quantizer::Quantizer(FakeHost& host, const mopt_component& component, std::vector<Option> options)
    : host_(host), vtable_(static_cast<const mopt_quantizer*>(component.vtable)) {
  const FilledSettings settings(component, std::move(options));
  check(vtable_->create(host.host(), settings.data(), settings.size(), &self_));
}

Quantizer::Quantizer(FakeHost& host, const mopt_component& component, const Scheme& scheme)
    : host_(host), vtable_(static_cast<const mopt_quantizer*>(component.vtable)) {
  const mopt_scheme abi = to_abi(scheme, component.name);
  check(vtable_->open(host.host(), &abi, &self_));
}

Scheme Quantizer::scheme(mopt_operand operand) const {
  mopt_scheme out{};
  check(vtable_->scheme(self_, operand, &out));
  return scheme_of(out);
}

std::map<std::string, Blob> Quantizer::plan(const Blob& weight, const std::string& name) const {
  std::map<std::string, Blob> out;
  const mopt_weight_view view{sizeof(mopt_weight_view), weight.dtype, str(name), weight.shape[0],
                              weight.shape[1]};
  const auto put = [](void* ctx, const mopt_tensor_decl* decl) noexcept -> mopt_error* {
    auto& declared = *static_cast<std::map<std::string, Blob>*>(ctx);
    declared[std::string(mopt::view(decl->name))] = {
        decl->dtype, {decl->shape, decl->shape + decl->ndim}, {}};
    return nullptr;
  };
  check(vtable_->plan(self_, &view, {&out, put}));
  return out;
}

std::map<std::string, Blob> Quantizer::quantize(const WeightCase& c) const {
  std::map<std::string, Blob> out;
  Placed weight(host_, c.weight);
  const mopt_weight_job job{sizeof(mopt_weight_job), 0, str(c.name), weight.get(), c.absmax,
                            c.group_absmax};
  const auto put = [](void* ctx, mopt_str name, DLManagedTensorVersioned* t) noexcept {
    auto& emitted = *static_cast<std::map<std::string, Blob>*>(ctx);
    const Tensor owner(t);
    const emulation::Access access;
    emitted[std::string(mopt::view(name))] = blob(*owner);
    return static_cast<mopt_error*>(nullptr);
  };
  check(vtable_->quantize(self_, host_.exec(), &job, {&out, put}));
  check_as_planned(plan(c.weight, c.name), out);
  return out;
}

Blob Quantizer::dequantize(const std::map<std::string, Blob>& parts, int64_t rows, int64_t cols,
                           DLDataType dtype) const {
  std::vector<std::unique_ptr<Placed>> placed;
  std::vector<mopt_named_tensor> named;
  for (const auto& [role, part] : parts) {
    placed.push_back(std::make_unique<Placed>(host_, part));
    named.push_back({str(role), placed.back()->get()});
  }
  const std::string name = "w";
  const mopt_qtensor q{
      sizeof(mopt_qtensor), static_cast<uint32_t>(named.size()), str(name), rows, cols,
      named.data()};
  Placed out(host_, blob(dtype, {rows, cols}));
  check(vtable_->dequantize(self_, host_.exec(), &q, out.get()));
  return out.read();
}

float Quantizer::input_scale(mopt_operand operand, float absmax) const {
  float scale = 0;
  check(vtable_->input_scale(self_, operand, absmax, &scale));
  return scale;
}

Blob Quantizer::quantize_input(mopt_operand operand, const Blob& x, const float* scale) const {
  Placed in(host_, x), out(host_, blob(x.dtype, x.shape));
  check(vtable_->quantize_input(self_, host_.exec(), operand, in.get(), scale, out.get()));
  check(vtable_->quantize_input(self_, host_.exec(), operand, in.get(), scale, in.get()));
  const Blob got = out.read();
  CHECK(in.read().bytes == got.bytes);
  return got;
}

std::pair<Blob, Blob> Quantizer::encode_input(const Blob& x, const float* scale) const {
  const Scheme inputs = scheme(MOPT_OPERAND_INPUT);
  const int64_t count = inputs.granularity == MOPT_PER_TOKEN ? x.shape[0] : 1;
  Placed in(host_, x), codes(host_, blob(inputs.element, x.shape));
  Placed scales(host_, blob(kF32, {count}));
  check(vtable_->encode_input(self_, host_.exec(), in.get(), scale, codes.get(), scales.get()));
  return {codes.read(), scales.read()};
}

void Quantizer::check_as_planned(const std::map<std::string, Blob>& planned,
                                 const std::map<std::string, Blob>& emitted) {
  CHECK(planned.size() == emitted.size());
  for (const auto& entry : planned) {
    const std::string& role = entry.first;
    const Blob& decl = entry.second;
    CAPTURE(role);
    REQUIRE(emitted.count(role) == 1);
    CHECK(same(emitted.at(role).dtype, decl.dtype));
    CHECK(emitted.at(role).shape == decl.shape);
  }
}

}  // namespace mopt::test
