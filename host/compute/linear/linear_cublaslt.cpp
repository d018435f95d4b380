// linear on cuBLASLt: fp32 accumulation, the bias added before the one rounding. Codes go to FP8
// tensor cores; what they take is in cuBLAS 13's documentation, "Narrow Precision Data Types Usage"
// and cublasLtMatmul().
#include <cublasLt.h>

#include <array>
#include <map>
#include <mutex>
#include <optional>

#include "host/compute/cuda/device.hpp"
#include "host/compute/cuda/kernels.hpp"
#include "host/compute/memory_rules.hpp"

namespace mopt::compute::cuda {
namespace {

constexpr auto kWorkspace = static_cast<size_t>(kCudaMemory.workspace);
// The end of the workspace, for one scale repeated for so many rows.
constexpr int64_t kMostRepeated = 1 << 20;
constexpr size_t kRepeatedBytes = kMostRepeated * sizeof(float);
// Of codes, scales for rows, and what is made of them.
constexpr uint32_t kCodesAlignment = 16;

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
  if (same(v.dtype, kE4m3)) return CUDA_R_8F_E4M3;
  return is_bf16(v) ? CUDA_R_16BF : CUDA_R_32F;
}

// The largest power of two up to 256 that divides the address.
uint32_t alignment_of(const void* p) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  return address == 0 ? 256 : static_cast<uint32_t>(std::min<uintptr_t>(256, address & -address));
}
uint32_t alignment_of(const std::optional<View>& v) {
  return v ? alignment_of(v->data) : 256;
}

// What codes are multiplied by, as cuBLASLt takes it: one scale of both operands, or one for each
// row of both ("Outer Vector Scaling").
enum class Scaling { kNone, kOne, kRows };

Scaling scaling_of(const LinearCall& p) {
  if (!p.x_scale) return Scaling::kNone;
  const bool one = p.x_scale->elements() == 1 && p.weight_scale->elements() == 1;
  return one ? Scaling::kOne : Scaling::kRows;
}

// Whether the operand's only scale has to be repeated for its rows; then the other operand has
// more.
bool repeats(const LinearCall& p, const View& operand, const std::optional<View>& scale) {
  if (scaling_of(p) != Scaling::kRows || scale->elements() > 1) return false;
  return operand.shape[0] > 1 || alignment_of(scale) < kCodesAlignment;
}
bool repeats_x(const LinearCall& p) {
  return repeats(p, p.x, p.x_scale);
}
bool repeats_weight(const LinearCall& p) {
  return repeats(p, p.weight, p.weight_scale);
}

// The call with scales for each row of both operands, of which `repeated` holds one's.
LinearCall with_repeated(const LinearCall& p, const void* repeated) {
  LinearCall call = p;
  if (repeats_x(p)) call.x_scale = view_of(repeated, kF32, {p.x.shape[0]});
  if (repeats_weight(p)) call.weight_scale = view_of(repeated, kF32, {p.weight.shape[0]});
  return call;
}

size_t workspace_of(const LinearCall& p) {
  return repeats_x(p) || repeats_weight(p) ? kWorkspace - kRepeatedBytes : kWorkspace;
}

// cuBLASLt's matrices are column-major: y^T [N, M] = (weight^T)^T x^T, all of them as they lie.
struct Descriptors {
  Operation operation;
  Layout weight, x, y;

  explicit Descriptors(const LinearCall& p) {
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
    if (p.x_scale) set_scales(p);
    check(
        cublasLtMatrixLayoutCreate(weight.out(), type_of(p.weight), k, n, static_cast<int64_t>(k)),
        "weight");
    check(cublasLtMatrixLayoutCreate(x.out(), type_of(p.x), k, m, static_cast<int64_t>(k)),
          "input");
    check(cublasLtMatrixLayoutCreate(y.out(), type_of(p.y), n, m, static_cast<int64_t>(n)),
          "output");
  }
  void set_scales(const LinearCall& p) {
    const cublasLtMatmulMatrixScale_t mode = scaling_of(p) == Scaling::kRows
                                                 ? CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F
                                                 : CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F;
    const void *of_weight = p.weight_scale->data, *of_x = p.x_scale->data;
    set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, mode);
    set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, mode);
    set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, of_weight);
    set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, of_x);
    // Tensor cores keep some 14 bits of a sum of such products (compute/tolerance.hpp). Fast, all
    // of K is summed so; else every few products the sum goes to fp32, which is what we promise.
    const int8_t fast = 0;
    set(CUBLASLT_MATMUL_DESC_FAST_ACCUM, fast);
  }
  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check(cublasLtMatmulDescSetAttribute(operation.get(), attribute, &value, sizeof(value)),
          "a product");
  }
};

// The same algorithm for the same shapes, types and alignments: two runs agree bit by bit.
using Key = std::array<int64_t, 15>;

Key key_of(const LinearCall& p) {
  return {p.x.shape[0],
          p.y.shape[1],
          p.x.shape[1],
          type_of(p.x),
          type_of(p.y),
          p.bias.has_value(),
          static_cast<int64_t>(scaling_of(p)),
          repeats_x(p),
          repeats_weight(p),
          alignment_of(p.x.data),
          alignment_of(p.weight.data),
          alignment_of(p.y.data),
          alignment_of(p.bias),
          alignment_of(p.x_scale),
          alignment_of(p.weight_scale)};
}

void limit(const Preference& preference, cublasLtMatmulPreferenceAttributes_t attribute,
           const auto& value) {
  check(cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof(value)),
        "the choice of an algorithm");
}

std::optional<cublasLtMatmulAlgo_t> search(const LinearCall& p) {
  const Descriptors d(with_repeated(p, aligned_address()));
  Handle<cublasLtHandle_t, cublasLtDestroy> handle;
  check(cublasLtCreate(handle.out()), "cuBLASLt cannot be started");
  Preference preference;
  check(cublasLtMatmulPreferenceCreate(preference.out()), "the choice of an algorithm");
  limit(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_of(p));
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
  if (fresh) entry->second = search(p);
  return entry->second ? &*entry->second : nullptr;
}

// Why FP8 tensor cores do not take it, before an algorithm is looked for.
std::string_view codes_refused(const LinearCall& p, const DeviceInfo& info) {
  if (info.capability < 89) return "FP8 products need compute capability 8.9";
  if (scaling_of(p) == Scaling::kRows && info.capability != 90)
    return "of FP8 products, compute capability 9.0 alone takes scales for each row";
  if (p.weight.shape[0] % 16 != 0 || p.weight.shape[1] % 16 != 0)
    return "of codes it takes sizes of a multiple of 16 only";
  if (p.bias && !is_bf16(p.y)) return "of codes with a bias it makes bf16 only";
  uint32_t alignment = std::min({alignment_of(p.x.data), alignment_of(p.weight.data),
                                 alignment_of(p.y.data), alignment_of(p.bias)});
  if (scaling_of(p) == Scaling::kRows) {
    const LinearCall call = with_repeated(p, aligned_address());
    alignment = std::min({alignment, alignment_of(call.x_scale), alignment_of(call.weight_scale)});
  }
  if (alignment < kCodesAlignment) return "of codes it takes operands aligned to 16 bytes only";
  const int64_t rows = std::max(p.x.shape[0], p.weight.shape[0]);
  if (workspace_of(p) != kWorkspace && rows > kMostRepeated)
    return "its workspace has no room for one scale repeated for so many rows";
  return {};
}

}  // namespace

std::string_view linear_cublaslt_refuses(const LinearCall& p, const DeviceInfo& info) {
  if (p.x.elements() == 0 || p.weight.elements() == 0) return "it has no elements";
  // Its algorithms for rows that are not aligned round the sum before they add the bias.
  if (p.bias && (p.weight.shape[0] % 8 != 0 || p.weight.shape[1] % 8 != 0))
    return "with a bias it takes sizes of a multiple of 8 only";
  if (p.x_scale) {
    const std::string_view reason = codes_refused(p, info);
    if (!reason.empty()) return reason;
  }
  return algorithm(p) == nullptr ? "cuBLASLt has no algorithm for its shape and alignment" : "";
}

void linear_cublaslt(const LinearCall& p, Queue& queue) {
  CudaQueue& q = cuda_queue(queue);
  auto* workspace = static_cast<std::byte*>(q.workspace(kWorkspace));
  const LinearCall call = with_repeated(p, workspace + (kWorkspace - kRepeatedBytes));
  if (repeats_x(p)) repeat_scale(*p.x_scale, *call.x_scale, queue);
  if (repeats_weight(p)) repeat_scale(*p.weight_scale, *call.weight_scale, queue);
  const Descriptors d(call);
  const float one = 1, none = 0;
  check(cublasLtMatmul(q.cublas(), d.operation.get(), &one, p.weight.data, d.weight.get(), p.x.data,
                       d.x.get(), &none, p.y.data, d.y.get(), p.y.data, d.y.get(), algorithm(p),
                       workspace, workspace_of(p), q.cuda_stream()),
        "a product failed");
}

}  // namespace mopt::compute::cuda
