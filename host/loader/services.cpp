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
  std::vector<int64_t> shape, strides;
};

void free_owned(DLManagedTensorVersioned* tensor) {
  std::free(tensor->dl_tensor.data);
  delete reinterpret_cast<Owned*>(tensor);
}

constexpr mopt_memory kMemory = {
    sizeof(mopt_memory), 0,
    [](const mopt_exec* exec, DLDataType dtype, int32_t ndim, const int64_t* shape,
       DLManagedTensorVersioned** out) noexcept {
      return guard([&] {
        if (exec->device.device_type != kDLCPU) {
          throw Error(MOPT_UNSUPPORTED, "this host allocates on the CPU only");
        }
        *out = allocate(dtype, std::span(shape, static_cast<size_t>(ndim))).release();
      });
    }};

}  // namespace

Tensor allocate(DLDataType dtype, std::span<const int64_t> shape) {
  auto owned = std::make_unique<Owned>();
  owned->shape.assign(shape.begin(), shape.end());
  owned->strides.resize(shape.size());
  int64_t count = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] < 0) throw Error(MOPT_INVALID_ARGUMENT, "a tensor extent is negative");
    owned->strides[i] = count;
    if (__builtin_mul_overflow(count, shape[i], &count)) count = kMaxElements + 1;
    count = std::min(count, kMaxElements + 1);
  }
  if (count > kMaxElements) {
    throw Error(MOPT_OUT_OF_MEMORY, "expected a tensor that fits into memory, found shape " +
                                        shape_text(shape) + "; check the file that it comes from");
  }
  const size_t bytes = mopt_nbytes(static_cast<uint64_t>(count), dtype);
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  void* data = std::aligned_alloc(kAlignment, rounded == 0 ? kAlignment : rounded);
  if (data == nullptr) throw std::bad_alloc();
  owned->head = {{DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION},
                 nullptr,
                 free_owned,
                 0,
                 {data,
                  {kDLCPU, 0},
                  static_cast<int32_t>(shape.size()),
                  dtype,
                  owned->shape.data(),
                  owned->strides.data(),
                  0}};
  return Tensor(&owned.release()->head);
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
