// linear on cuBLASLt: fp32 accumulation, the bias added before the one rounding.
#include <cublasLt.h>

#include <array>
#include <map>
#include <mutex>
#include <optional>
#include <tuple>

#include "host/compute/cuda/device.hpp"
#include "host/compute/cuda/kernels.hpp"
#include "host/compute/memory_rules.hpp"

namespace mopt::compute::cuda {
namespace {

constexpr auto kWorkspace = static_cast<size_t>(kCudaMemory.workspace);

void check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(status == CUBLAS_STATUS_ALLOC_FAILED ? MOPT_OUT_OF_MEMORY : MOPT_DEVICE,
              std::string(what) + ": " + cublasLtGetStatusString(status));
}

template <class T, cublasStatus_t (*kDestroy)(T)>
class Handle {
 public:
  Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (value_ != nullptr) kDestroy(value_);
  }
  T* out() { return &value_; }
  T get() const { return value_; }

 private:
  T value_ = nullptr;
};
using Layout = Handle<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Operation = Handle<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Preference = Handle<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

cudaDataType_t type_of(const View& v) {
  return is_bf16(v) ? CUDA_R_16BF : CUDA_R_32F;
}

// The largest power of two up to 256 that divides the address.
uint32_t alignment_of(const void* p) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  return address == 0 ? 256 : static_cast<uint32_t>(std::min<uintptr_t>(256, address & -address));
}

// cuBLASLt's matrices are column-major: y^T [N, M] = (weight^T)^T x^T, all of them as they lie.
struct Descriptors {
  Operation operation;
  Layout weight, x, y;

  explicit Descriptors(const LinearCall& p) {
    const cudaDataType_t type = type_of(p.weight);
    const auto m = static_cast<uint64_t>(p.x.shape[0]), n = static_cast<uint64_t>(p.y.shape[1]),
               k = static_cast<uint64_t>(p.x.shape[1]);
    check(cublasLtMatmulDescCreate(operation.out(), CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product");
    const cublasOperation_t transposed = CUBLAS_OP_T;
    set(CUBLASLT_MATMUL_DESC_TRANSA, transposed);
    if (p.bias) {
      const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
      const void* bias = p.bias->data;
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    }
    check(cublasLtMatrixLayoutCreate(weight.out(), type, k, n, static_cast<int64_t>(k)), "weight");
    check(cublasLtMatrixLayoutCreate(x.out(), type, k, m, static_cast<int64_t>(k)), "input");
    check(cublasLtMatrixLayoutCreate(y.out(), type, n, m, static_cast<int64_t>(n)), "output");
  }
  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check(cublasLtMatmulDescSetAttribute(operation.get(), attribute, &value, sizeof(value)),
          "a product");
  }
};

// The same algorithm for the same shapes, types and alignments: two runs agree bit by bit.
using Key = std::tuple<int64_t, int64_t, int64_t, bool, bool, uint32_t, uint32_t, uint32_t>;

Key key_of(const LinearCall& p) {
  return {p.x.shape[0],
          p.y.shape[1],
          p.x.shape[1],
          is_bf16(p.weight),
          p.bias.has_value(),
          alignment_of(p.x.data),
          alignment_of(p.weight.data),
          alignment_of(p.y.data)};
}

void limit(const Preference& preference, cublasLtMatmulPreferenceAttributes_t attribute,
           const auto& value) {
  check(cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof(value)),
        "the choice of an algorithm");
}

std::optional<cublasLtMatmulAlgo_t> search(const LinearCall& p, const Descriptors& d) {
  Handle<cublasLtHandle_t, cublasLtDestroy> handle;
  check(cublasLtCreate(handle.out()), "cuBLASLt cannot be started");
  Preference preference;
  check(cublasLtMatmulPreferenceCreate(preference.out()), "the choice of an algorithm");
  limit(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspace);
  // No sums in place by atomics: their order would change from run to run.
  const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  limit(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, schemes);
  limit(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(p.weight.data));
  limit(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(p.x.data));
  limit(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(p.y.data));
  limit(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(p.y.data));
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle.get(), d.operation.get(), d.weight.get(), d.x.get(),
                                     d.y.get(), d.y.get(), preference.get(), 1, &result, &found);
  if (status != CUBLAS_STATUS_SUCCESS || found == 0) return std::nullopt;
  return result.algo;
}

// Chosen once for each kind of product; NULL: there is none.
const cublasLtMatmulAlgo_t* algorithm(const LinearCall& p) {
  static std::mutex mutex;
  static std::map<Key, std::optional<cublasLtMatmulAlgo_t>> known;
  const std::lock_guard lock(mutex);
  const auto [entry, fresh] = known.try_emplace(key_of(p));
  if (fresh) entry->second = search(p, Descriptors(p));
  return entry->second ? &*entry->second : nullptr;
}

}  // namespace

std::string_view linear_cublaslt_refuses(const LinearCall& p, const DeviceInfo&) {
  if (p.x_scale) return "it has no products of codes";
  if (p.x.elements() == 0 || p.weight.elements() == 0) return "it has no elements";
  // Its algorithms for rows that are not aligned round the sum before they add the bias.
  if (p.bias && (p.weight.shape[0] % 8 != 0 || p.weight.shape[1] % 8 != 0))
    return "with a bias it takes sizes of a multiple of 8 only";
  return algorithm(p) == nullptr ? "cuBLASLt has no algorithm for its shape and alignment" : "";
}

void linear_cublaslt(const LinearCall& p, Queue& queue) {
  const Descriptors d(p);
  CudaQueue& q = cuda_queue(queue);
  const float one = 1, none = 0;
  check(cublasLtMatmul(q.cublas(), d.operation.get(), &one, p.weight.data, d.weight.get(), p.x.data,
                       d.x.get(), &none, p.y.data, d.y.get(), p.y.data, d.y.get(), algorithm(p),
                       q.workspace(kWorkspace), kWorkspace, q.cuda_stream()),
        "a product failed");
}

}  // namespace mopt::compute::cuda
