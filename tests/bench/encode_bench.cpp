// How fast the number formats encode, decode and round: GB/s of bf16 read or written, best of some
// runs, beside what memory gives a plain read and a copy. CSV on standard output.
//   encode_bench PLUGIN_DIR [rows cols]
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <thread>

#include "mopt/numeric/reals.hpp"
#include "mopt/quantizer.hpp"

namespace mopt::bench {
namespace {

using namespace std::chrono_literals;

int threads = 1;

// Memory that is never given back to the system, as a host's pool holds it.
struct Pool {
  std::multimap<uint64_t, void*> idle;
  std::map<void*, uint64_t> sizes;
  void* take(uint64_t bytes) {
    const auto it = idle.find(bytes);
    if (it == idle.end()) {
      void* fresh = std::aligned_alloc(256, (bytes + 511) / 256 * 256);
      std::memset(fresh, 0, bytes);
      sizes[fresh] = bytes;
      return fresh;
    }
    void* memory = it->second;
    idle.erase(it);
    return memory;
  }
  void give(void* memory) { idle.emplace(sizes.at(memory), memory); }
} pool;

struct Owned {
  DLManagedTensorVersioned managed{};
  TensorRef ref;
};

mopt_error* alloc(const mopt_exec*, DLDataType dtype, int32_t ndim, const int64_t* shape,
                  DLManagedTensorVersioned** out) noexcept {
  auto* owned = new Owned;
  const std::span<const int64_t> extents(shape, static_cast<size_t>(ndim));
  void* memory = pool.take(mopt_nbytes(static_cast<uint64_t>(elements(extents)), dtype));
  owned->ref = TensorRef(memory, dtype, extents);
  owned->managed.dl_tensor = *owned->ref;
  owned->managed.manager_ctx = owned;
  owned->managed.deleter = [](DLManagedTensorVersioned* t) {
    pool.give(t->dl_tensor.data);
    delete static_cast<Owned*>(t->manager_ctx);
  };
  *out = &owned->managed;
  return nullptr;
}

mopt_error* for_each(int64_t n, int64_t grain,
                     mopt_error* (*body)(void*, int64_t, int64_t) noexcept, void* ctx) noexcept {
  std::atomic<int64_t> next = 0;
  const auto work = [&] {
    for (int64_t begin; (begin = next.fetch_add(grain)) < n;) {
      if (body(ctx, begin, std::min(n, begin + grain)) != nullptr) std::abort();
    }
  };
  std::vector<std::thread> team;
  for (int i = 1; i < threads; ++i)
    team.emplace_back(work);
  work();
  for (std::thread& t : team)
    t.join();
  return nullptr;
}

const void* get_service(const mopt_host*, const char* id) noexcept {
  static constexpr mopt_memory memory = {sizeof(mopt_memory), 0, alloc};
  static constexpr mopt_parallel parallel = {sizeof(mopt_parallel), 0, for_each};
  if (std::string_view(id) == MOPT_MEMORY_SERVICE) return &memory;
  return std::string_view(id) == MOPT_PARALLEL_SERVICE ? &parallel : nullptr;
}

const mopt_host host = {sizeof(mopt_host),
                        MOPT_ABI_MAJOR,
                        MOPT_ABI_MINOR,
                        "bench",
                        "0",
                        get_service,
                        [](const mopt_host*, mopt_log_level, mopt_str, mopt_str) noexcept {}};
const mopt_exec exec = {sizeof(mopt_exec), 0, {kDLCPU, 0}, nullptr, &host};

template <class Fn>
double best_seconds(const Fn& fn) {
  double best = 1e9;
  const auto first = std::chrono::steady_clock::now();
  for (int i = 0; i < 7 || std::chrono::steady_clock::now() - first < 100ms; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    fn();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    best = std::min(best, took.count());
  }
  return best;
}

void report(const std::string& what, const char* operation, double bytes, double seconds) {
  std::printf("%s,%s,%d,%.2f\n", what.c_str(), operation, threads, bytes / seconds * 1e-9);
}

struct Format {
  const char *file, *component;
  std::vector<std::pair<const char*, const char*>> texts;
  std::vector<std::pair<const char*, int64_t>> numbers;
};

std::vector<mopt_setting> settings_of(const mopt_component& c, const Format& format) {
  std::vector<mopt_setting> settings;
  for (uint64_t i = 0; i < c.n_options; ++i) {
    mopt_value value = c.options[i].def;
    for (const auto& [name, text] : format.texts) {
      if (std::string_view(name) == c.options[i].name) value.as.s = str(text);
    }
    for (const auto& [name, number] : format.numbers) {
      if (std::string_view(name) == c.options[i].name) value.as.i = number;
    }
    settings.push_back({str(c.options[i].name), value});
  }
  return settings;
}

struct Parts {
  std::vector<std::pair<std::string, Tensor>> tensors;
  static mopt_error* put(void* ctx, mopt_str name, DLManagedTensorVersioned* t) noexcept {
    static_cast<Parts*>(ctx)->tensors.emplace_back(std::string(view(name)), Tensor(t));
    return nullptr;
  }
};

void run(const std::string& dir, const Format& format, const DLTensor& weight, DLTensor& out) {
  void* library = dlopen((dir + "/" + format.file).c_str(), RTLD_NOW);
  if (library == nullptr) throw Error(MOPT_NOT_FOUND, dlerror());
  const auto entry =
      reinterpret_cast<decltype(&mopt_plugin_entry_v0)>(dlsym(library, MOPT_ENTRY_NAME));
  const mopt_plugin& plugin = *entry();
  for (uint64_t i = 0; i < plugin.n_components; ++i) {
    const mopt_component& component = plugin.components[i];
    if (std::string_view(component.name) != format.component) continue;
    const auto& vtable = *static_cast<const mopt_quantizer*>(component.vtable);
    const auto settings = settings_of(component, format);
    mopt_instance* self = nullptr;
    check(vtable.create(&host, settings.data(), settings.size(), &self));
    std::string what = format.component;
    for (const auto& text : format.texts)
      what.append(" ").append(text.second);
    for (const auto& number : format.numbers)
      what.append(" ").append(std::to_string(number.second));
    const double bytes = static_cast<double>(nbytes(weight));
    mopt_scheme scheme{};
    const auto serves = [&](mopt_operand operand) {
      mopt_error* error = vtable.scheme(self, operand, &scheme);
      if (error != nullptr) error->release(error);
      return error == nullptr;
    };
    if (serves(MOPT_OPERAND_WEIGHT)) {
      const mopt_weight_job job{sizeof(mopt_weight_job), 0, {"w", 1}, &weight, 4.0f, 4.0f};
      Parts parts;
      report(what, "quantize", bytes, best_seconds([&] {
               parts.tensors.clear();
               check(vtable.quantize(self, &exec, &job, {&parts, Parts::put}));
             }));
      std::vector<mopt_named_tensor> named;
      for (const auto& [role, tensor] : parts.tensors)
        named.push_back({str(role), tensor.get()});
      const mopt_qtensor q{sizeof(mopt_qtensor),
                           static_cast<uint32_t>(named.size()),
                           {"w", 1},
                           weight.shape[0],
                           weight.shape[1],
                           named.data()};
      report(what, "dequantize", bytes,
             best_seconds([&] { check(vtable.dequantize(self, &exec, &q, &out)); }));
    }
    if (serves(MOPT_OPERAND_INPUT)) {
      const float scale = 4.0f / 448.0f;
      report(what, "quantize_input", bytes, best_seconds([&] {
               check(vtable.quantize_input(self, &exec, MOPT_OPERAND_INPUT, &weight, &scale, &out));
             }));
    }
    vtable.destroy(self);
  }
}

void run_memory(const DLTensor& weight, DLTensor& out) {
  const auto n = static_cast<int64_t>(nbytes(weight) / 8);
  const auto* words = data<uint64_t>(weight);
  std::atomic<uint64_t> sink = 0;
  const auto chunks = [&](const auto& body) {
    using Body = std::remove_cvref_t<decltype(body)>;
    for_each(
        n, 1 << 15,
        [](void* ctx, int64_t begin, int64_t end) noexcept {
          (*static_cast<const Body*>(ctx))(begin, end);
          return static_cast<mopt_error*>(nullptr);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  };
  const double bytes = static_cast<double>(nbytes(weight));
  report("memory", "read", bytes, best_seconds([&] {
           chunks([&](int64_t begin, int64_t end) {
             uint64_t sum = 0;
             for (int64_t i = begin; i < end; ++i)
               sum += words[i];
             sink += sum;
           });
         }));
  report("memory", "copy", bytes, best_seconds([&] {
           chunks([&](int64_t begin, int64_t end) {
             std::memcpy(data<uint64_t>(out) + begin, words + begin,
                         static_cast<size_t>(end - begin) * 8);
           });
         }));
}

int bench(const std::string& dir, int64_t rows, int64_t cols) {
  const auto count = static_cast<size_t>(rows * cols);
  std::vector<Bf16> weight(count), out(count);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<Bf16> noise(1 << 20);
  for (Bf16& x : noise)
    put(normal(random) * 0.02f, x);
  for (size_t i = 0; i < count; ++i)
    weight[i] = noise[(i * 7 + i / 977) % noise.size()];
  const TensorRef w(weight.data(), kBf16, {rows, cols});
  TensorRef o(out.data(), kBf16, {rows, cols});
  const std::vector<Format> formats = {{"fp8.so", "fp8", {}, {}},
                                       {"fp8.so", "fp8", {{"granularity", "channel"}}, {}},
                                       {"fp8.so", "fp8", {{"granularity", "block"}}, {}},
                                       {"fp8.so", "fp8", {{"granularity", "token"}}, {}},
                                       {"int8.so", "int8", {}, {}},
                                       {"int8.so", "int8", {{"granularity", "token"}}, {}},
                                       {"int4.so", "int4", {}, {}},
                                       {"int4.so", "int4", {}, {{"block", 32}}},
                                       {"nvfp4.so", "nvfp4", {}, {}},
                                       {"mxfp.so", "mxfp4", {}, {}},
                                       {"mxfp.so", "mxfp8", {}, {}}};
  std::puts("what,operation,threads,GB/s");
  for (threads = 1; threads <= 2; ++threads) {
    run_memory(*w, *o.get());
    for (const Format& format : formats)
      run(dir, format, *w, *o.get());
  }
  return 0;
}

}  // namespace
}  // namespace mopt::bench

int main(int argc, char** argv) {
  if (argc != 2 && argc != 4) {
    std::fputs("encode_bench PLUGIN_DIR [rows cols]\n", stderr);
    return 2;
  }
  const int64_t rows = argc == 4 ? std::atoll(argv[2]) : 4096;
  const int64_t cols = argc == 4 ? std::atoll(argv[3]) : 14336;
  try {
    return mopt::bench::bench(argv[1], rows, cols);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
