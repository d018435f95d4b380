#include "host/loader/services.hpp"

#include <algorithm>
#include <cstdlib>

namespace mopt {
namespace {

constexpr size_t kAlignment = 256;
// More than any address space holds; the product with an element's bits stays below 2^64.
constexpr int64_t kMaxElements = int64_t{1} << 48;

struct Owned {
  DLManagedTensorVersioned head;
  std::shared_ptr<std::byte> memory;
  std::vector<int64_t> shape, strides;
};

void free_owned(DLManagedTensorVersioned* tensor) {
  delete reinterpret_cast<Owned*>(tensor);
}

constexpr mopt_memory kMemory = {
    sizeof(mopt_memory), 0,
    [](const mopt_exec* exec, DLDataType dtype, int32_t ndim, const int64_t* shape,
       DLManagedTensorVersioned** out) noexcept {
      return guard([&] {
        const std::span extents(shape, static_cast<size_t>(ndim));
        *out = exec->device.device_type == kDLCPU
                   ? allocate(dtype, extents).release()
                   : Services::of(exec->host).allocate_in(exec, dtype, extents).release();
      });
    }};

// Bytes of a tensor, refused beyond what any memory holds.
size_t checked_bytes(DLDataType dtype, std::span<const int64_t> shape) {
  int64_t count = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] < 0) throw Error(MOPT_INVALID_ARGUMENT, "a tensor extent is negative");
    if (__builtin_mul_overflow(count, shape[i], &count)) count = kMaxElements + 1;
    count = std::min(count, kMaxElements + 1);
  }
  if (count > kMaxElements) {
    throw Error(MOPT_OUT_OF_MEMORY, "expected a tensor that fits into memory, found shape " +
                                        shape_text(shape) + "; check the file that it comes from");
  }
  return mopt_nbytes(static_cast<uint64_t>(count), dtype);
}

}  // namespace

Tensor allocate(DLDataType dtype, std::span<const int64_t> shape) {
  const size_t bytes = checked_bytes(dtype, shape);
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  void* data = std::aligned_alloc(kAlignment, rounded == 0 ? kAlignment : rounded);
  if (data == nullptr) throw std::bad_alloc();
  return tensor_over({static_cast<std::byte*>(data), [](std::byte* p) { std::free(p); }},
                     {kDLCPU, 0}, dtype, shape);
}

Tensor tensor_over(std::shared_ptr<std::byte> memory, DLDevice device, DLDataType dtype,
                   std::span<const int64_t> shape) {
  auto owned = std::make_unique<Owned>();
  owned->memory = std::move(memory);
  owned->shape.assign(shape.begin(), shape.end());
  owned->strides.resize(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    owned->strides[i] = stride;
    stride *= shape[i];
  }
  owned->head = {{DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION},
                 nullptr,
                 free_owned,
                 0,
                 {owned->memory.get(), device, static_cast<int32_t>(shape.size()), dtype,
                  owned->shape.data(), owned->strides.data(), 0}};
  return Tensor(&owned.release()->head);
}

const Services& Services::of(const mopt_host* host) {
  return *reinterpret_cast<const Table*>(host)->owner;
}

const mopt_exec* Services::on_device(DLDevice device, void* stream, TakeMemory take) {
  const std::lock_guard lock(mutex_);
  on_device_.push_back({{sizeof(mopt_exec), 0, device, stream, host()}, std::move(take)});
  return &on_device_.back().exec;
}

Tensor Services::allocate_in(const mopt_exec* exec, DLDataType dtype,
                             std::span<const int64_t> shape) const {
  const TakeMemory* take = nullptr;
  {
    const std::lock_guard lock(mutex_);
    for (const OnDevice& known : on_device_) {
      if (known.exec.stream == exec->stream &&
          known.exec.device.device_type == exec->device.device_type)
        take = &known.take;
    }
  }
  if (take == nullptr)
    throw Error(MOPT_UNSUPPORTED, "the host made no execution context on this device");
  return tensor_over((*take)(static_cast<int64_t>(checked_bytes(dtype, shape))), exec->device,
                     dtype, shape);
}

Services::Services(std::string version, LogSink log)
    : version_(std::move(version)), log_(std::move(log)) {
  table_.owner = this;
  table_.head = {sizeof(mopt_host),
                 MOPT_ABI_MAJOR,
                 MOPT_ABI_MINOR,
                 "mopt-host",
                 version_.c_str(),
                 [](const mopt_host* host, const char* id) noexcept -> const void* {
                   const auto& tables = reinterpret_cast<const Table*>(host)->owner->tables_;
                   const auto found = tables.find(std::string_view(id));
                   return found == tables.end() ? nullptr : found->second;
                 },
                 [](const mopt_host* host, mopt_log_level level, mopt_str component,
                    mopt_str message) noexcept {
                   const auto& log = reinterpret_cast<const Table*>(host)->owner->log_;
                   try {
                     if (log) log(level, view(component), view(message));
                   } catch (...) {  // a log line is not worth a run
                   }
                 }};
  cpu_ = {sizeof(mopt_exec), 0, {kDLCPU, 0}, nullptr, &table_.head};
  install(MOPT_MEMORY_SERVICE, &kMemory);
}

}  // namespace mopt
