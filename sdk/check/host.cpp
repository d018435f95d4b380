#include "host.hpp"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <thread>

#include "harness.hpp"

namespace mopt::conformance {
namespace {

// A tensor of the memory service, with the shape that its header points to.
struct Allocation {
  DLManagedTensorVersioned managed{};
  std::array<int64_t, 4> shape{}, strides{};
};

mopt_error* allocate(const mopt_exec*, DLDataType dtype, int32_t ndim, const int64_t* shape,
                     DLManagedTensorVersioned** out) noexcept {
  return guard([&] {
    if (ndim > 4) throw Error(MOPT_UNSUPPORTED, "tensors have at most 4 axes");
    auto* a = new Allocation;
    uint64_t n = 1;
    for (int32_t i = ndim; i-- > 0;) {
      a->shape[static_cast<size_t>(i)] = shape[i];
      a->strides[static_cast<size_t>(i)] = static_cast<int64_t>(n);
      n *= static_cast<uint64_t>(shape[i]);
    }
    a->managed.version = {DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION};
    a->managed.manager_ctx = a;
    a->managed.deleter = [](DLManagedTensorVersioned* t) {
      delete static_cast<Allocation*>(t->manager_ctx);
    };
    a->managed.dl_tensor = {guarded(mopt_nbytes(n, dtype)),
                            {kDLCPU, 0},
                            ndim,
                            dtype,
                            a->shape.data(),
                            a->strides.data(),
                            0};
    *out = &a->managed;
  });
}

using Body = mopt_error* (*)(void*, int64_t, int64_t) noexcept;

mopt_error* for_each_inline(int64_t n, int64_t grain, Body body, void* ctx) noexcept {
  mopt_error* first = nullptr;
  for (int64_t i = 0; i < n && first == nullptr; i += grain) {
    first = body(ctx, i, std::min(n, i + grain));
  }
  return first;
}

// Even chunks here, odd ones on a second thread; backwards, so that order matters if it can.
mopt_error* for_each_two(int64_t n, int64_t grain, Body body, void* ctx) noexcept {
  const int64_t chunks = (n + grain - 1) / grain;
  std::array<mopt_error*, 2> failed{};
  const auto work = [&](size_t mine) {
    for (int64_t c = chunks - 1; c >= 0; --c) {
      if (c % 2 != static_cast<int64_t>(mine) || failed[mine] != nullptr) continue;
      failed[mine] = body(ctx, c * grain, std::min(n, (c + 1) * grain));
    }
  };
  std::thread other(work, 1);
  work(0);
  other.join();
  if (failed[0] != nullptr && failed[1] != nullptr) failed[1]->release(failed[1]);
  return failed[0] != nullptr ? failed[0] : failed[1];
}

int32_t never_cancelled() noexcept {
  return 0;
}

constexpr mopt_memory kMemory{sizeof(mopt_memory), 0, allocate};
constexpr mopt_parallel kInlineWork{sizeof(mopt_parallel), 0, for_each_inline};
constexpr mopt_parallel kTwoThreads{sizeof(mopt_parallel), 0, for_each_two};
constexpr mopt_progress kProgress{sizeof(mopt_progress), 0, never_cancelled};

template <Threads threads>
const void* service(const mopt_host*, const char* id) noexcept {
  if (std::strcmp(id, MOPT_MEMORY_SERVICE) == 0) return &kMemory;
  if (std::strcmp(id, MOPT_PROGRESS_SERVICE) == 0) return &kProgress;
  if (std::strcmp(id, MOPT_PARALLEL_SERVICE) != 0) return nullptr;
  return threads == Threads::kTwo ? &kTwoThreads : &kInlineWork;
}
const void* no_service(const mopt_host*, const char*) noexcept {
  return nullptr;
}
void no_log(const mopt_host*, mopt_log_level, mopt_str, mopt_str) noexcept {}

constexpr mopt_host make_host(const void* (*get)(const mopt_host*, const char*) noexcept) {
  return {sizeof(mopt_host), MOPT_ABI_MAJOR, MOPT_ABI_MINOR, "mopt-plugin-check", "0", get, no_log};
}

}  // namespace

const mopt_host* host(Services services, Threads threads) {
  static constexpr mopt_host kBare = make_host(no_service);
  static constexpr mopt_host kInline = make_host(service<Threads::kInline>);
  static constexpr mopt_host kTwo = make_host(service<Threads::kTwo>);
  if (services == Services::kNone) return &kBare;
  return threads == Threads::kTwo ? &kTwo : &kInline;
}

mopt_exec exec_on(const mopt_host* host) {
  return {sizeof(mopt_exec), 0, {kDLCPU, 0}, nullptr, host};
}

const mopt_plugin* open_plugin(const std::string& file) {
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw Broken(dlerror());
  void* symbol = dlsym(library, MOPT_ENTRY_NAME);
  if (symbol == nullptr) throw Broken("it has no " MOPT_ENTRY_NAME);
  const auto entry = reinterpret_cast<const mopt_plugin* (*)(void)>(symbol);
  const mopt_plugin* plugin = entry();
  if (plugin == nullptr) throw Broken("its entry returned NULL");
  if (entry() != plugin) throw Broken("MP-02: its entry returned two different pointers");
  return plugin;
}

std::vector<mopt_setting> defaults(const mopt_component& component) {
  std::vector<mopt_setting> settings;
  for (uint64_t i = 0; i < component.n_options; ++i) {
    settings.push_back({str(component.options[i].name), component.options[i].def});
  }
  return settings;
}

void* guarded(uint64_t bytes) {
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t size = (bytes + page - 1) / page * page;
  auto* base = static_cast<char*>(
      mmap(nullptr, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  mprotect(base + size, page, PROT_NONE);
  char* begin = base + ((size - bytes) & ~uint64_t{255});
  std::memset(begin, 0xA5, bytes);
  return begin;
}

void protect(void* guarded_bytes, uint64_t bytes) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = reinterpret_cast<uintptr_t>(guarded_bytes) & ~(page - 1);
  const uintptr_t end = reinterpret_cast<uintptr_t>(guarded_bytes) + bytes;
  mprotect(reinterpret_cast<void*>(begin), end - begin, PROT_READ);
}

void expect_success(mopt_error* error, const std::string& what) {
  if (error == nullptr) return;
  const std::string text = what + ": " + std::string(view(error->message));
  error->release(error);
  throw Broken(text);
}

mopt_code code_of(mopt_error* error) {
  if (error == nullptr) return 0;
  const mopt_code code = error->code;
  error->release(error);
  return code;
}

}  // namespace mopt::conformance
