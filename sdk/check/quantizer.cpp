// Number formats: what plan declares is what quantize emits, for awkward weights, on read-only
// inputs and guarded outputs, with the same bytes for one thread and two.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "harness.hpp"
#include "host.hpp"
#include "mopt/numeric/bf16.hpp"

namespace mopt::conformance {
namespace {

enum class Content { kRandom, kZero, kOutlier, kTiny, kConstant };
constexpr Content kContents[] = {Content::kRandom, Content::kZero, Content::kOutlier,
                                 Content::kTiny, Content::kConstant};

// A weight on read-only pages.
struct Weight {
  int64_t rows, cols;
  DLDataType dtype;
  std::vector<float> values;  // as stored
  TensorRef tensor;
  float absmax = 0;
};

float value_at(Content content, int64_t i) {
  const auto hash = static_cast<uint32_t>(i) * 2654435761u;
  const float x = static_cast<float>(hash >> 8) / 8388608.0f - 1.0f;  // [-1, 1)
  switch (content) {
    case Content::kZero:
      return 0;
    case Content::kOutlier:
      return i == 3 ? 1e4f : x * 1e-2f;
    case Content::kTiny:
      return x * 1e-30f;
    case Content::kConstant:
      return -0.375f;
    default:
      return x * 0.05f;
  }
}

Weight make_weight(int64_t rows, int64_t cols, DLDataType dtype, Content content) {
  Weight w{rows, cols, dtype, {}, {}, 0};
  const auto n = static_cast<uint64_t>(rows * cols);
  void* bytes = guarded(mopt_nbytes(n, dtype));
  for (uint64_t i = 0; i < n; ++i) {
    const uint16_t bits = bf16::encode(value_at(content, static_cast<int64_t>(i)));
    const float x = bf16::decode(bits);
    w.values.push_back(x);
    w.absmax = std::max(w.absmax, std::fabs(x));
    if (same(dtype, kBf16)) static_cast<uint16_t*>(bytes)[i] = bits;
    if (same(dtype, kF32)) static_cast<float*>(bytes)[i] = x;
  }
  protect(bytes, mopt_nbytes(n, dtype));
  w.tensor = TensorRef(bytes, dtype, {rows, cols});
  return w;
}

struct Decl {
  std::string dtype;
  std::vector<int64_t> shape;
  bool operator==(const Decl&) const = default;
};
using Decls = std::map<std::string, Decl>;
using Emitted = std::map<std::string, Tensor>;

std::string bytes_of(const DLTensor& t) {
  return {data<char>(t), static_cast<size_t>(nbytes(t))};
}

class Subject {
 public:
  Subject(const mopt_component& c)
      : name_(c.name), table_(static_cast<const mopt_quantizer*>(c.vtable)) {
    const std::vector<mopt_setting> settings = defaults(c);
    expect_success(table_->create(host(Services::kAll), settings.data(), settings.size(), &self_),
                   "create");
  }
  ~Subject() { table_->destroy(self_); }
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;

  bool serves_weights() const {
    mopt_scheme scheme{};
    scheme.struct_size = sizeof(scheme);
    return code_of(table_->scheme(self_, MOPT_OPERAND_WEIGHT, &scheme)) == 0;
  }

  // Empty when it answered that it cannot hold such a weight.
  Decls plan(const mopt_weight_view& view_) const {
    Decls decls;
    const mopt_decl_sink sink{&decls, [](void* ctx, const mopt_tensor_decl* d) noexcept {
                                return guard([&] {
                                  (*static_cast<Decls*>(ctx))[std::string(view(d->name))] = {
                                      dtype_name(d->dtype), {d->shape, d->shape + d->ndim}};
                                });
                              }};
    const mopt_code code = code_of(table_->plan(self_, &view_, sink));
    if (code == 0) return decls;
    if (code != MOPT_UNSUPPORTED && code != MOPT_INVALID_ARGUMENT) {
      throw Broken("MP-16: plan fails with code " + std::to_string(code) +
                   " instead of answering MOPT_UNSUPPORTED");
    }
    return {};
  }

  Emitted quantize(const Weight& w, Threads threads) const {
    Emitted emitted;
    const mopt_exec exec = exec_on(host(Services::kAll, threads));
    const mopt_weight_job job{sizeof(job), 0, str("w"), w.tensor.get(), w.absmax, w.absmax};
    const mopt_tensor_sink sink{
        &emitted, [](void* ctx, mopt_str name, DLManagedTensorVersioned* t) noexcept {
          return guard([&] {
            Tensor owned(t);
            (*static_cast<Emitted*>(ctx))[std::string(view(name))] = std::move(owned);
          });
        }};
    expect_success(table_->quantize(self_, &exec, &job, sink), name_ + ": quantize");
    return emitted;
  }

  std::vector<float> dequantize(const Weight& w, const Emitted& parts) const {
    std::vector<mopt_named_tensor> named;
    for (const auto& [role, tensor] : parts)
      named.push_back({str(role), tensor.get()});
    const mopt_qtensor q{sizeof(q),   static_cast<uint32_t>(named.size()), str("w"), w.rows, w.cols,
                         named.data()};
    const auto n = static_cast<size_t>(w.rows * w.cols);
    auto* bytes = static_cast<float*>(guarded(n * sizeof(float)));
    TensorRef out(bytes, kF32, {w.rows, w.cols});
    const mopt_exec exec = exec_on(host(Services::kAll));
    expect_success(table_->dequantize(self_, &exec, &q, out.get()), name_ + ": dequantize");
    return {bytes, bytes + n};
  }

 private:
  std::string name_;
  const mopt_quantizer* table_;
  mopt_instance* self_ = nullptr;
};

void check_values(const std::string& what, const Weight& w, const std::vector<float>& back,
                  Content content) {
  double error = 0, power = 0;
  for (size_t i = 0; i < back.size(); ++i) {
    if (!std::isfinite(back[i])) throw Broken(what + ": a decoded weight is not finite");
    error += std::pow(double{back[i]} - double{w.values[i]}, 2);
    power += std::pow(double{w.values[i]}, 2);
  }
  // A format that stores nothing at all has an error of 1.
  const double bound = content == Content::kTiny ? 1.5 : 0.7;
  if (power == 0 ? error != 0 : std::sqrt(error / power) > bound) {
    throw Broken(what + ": decoded weights are off by " + std::to_string(std::sqrt(error / power)));
  }
}

void check_weight(const Subject& subject, const Weight& w, Content content) {
  const std::string what = dtype_name(w.dtype) + " " + shape_text(shape(*w.tensor)) + ", content " +
                           std::to_string(static_cast<int>(content));
  const mopt_weight_view seen{sizeof(seen), w.dtype, str("w"), w.rows, w.cols};
  const Decls decls = subject.plan(seen);
  if (decls.empty()) return;
  const Emitted one = subject.quantize(w, Threads::kInline);
  Decls found;
  for (const auto& [role, tensor] : one) {
    found[role] = {dtype_name(tensor.get()->dtype), {shape(*tensor).begin(), shape(*tensor).end()}};
  }
  if (found != decls) throw Broken(what + ": quantize emits other tensors than plan declared");
  const Emitted two = subject.quantize(w, Threads::kTwo);
  for (const auto& [role, tensor] : one) {
    if (bytes_of(*tensor) != bytes_of(*two.at(role))) {
      throw Broken(what + ": MP-17: " + role + " depends on the number of threads");
    }
  }
  check_values(what, w, subject.dequantize(w, one), content);
}

void for_each_quantizer(const std::string& file, const std::function<void(const Subject&)>& body) {
  const mopt_plugin* plugin = open_plugin(file);
  bool any = false;
  for (uint64_t i = 0; i < plugin->n_components; ++i) {
    const mopt_component& c = plugin->components[i];
    if (std::strcmp(c.interface_id, MOPT_QUANTIZER_INTERFACE) != 0) continue;
    const Subject subject(c);
    if (!subject.serves_weights()) continue;
    any = true;
    body(subject);
  }
  if (!any) throw NotApplicable();
}

}  // namespace

std::vector<Test> quantizer_tests(const std::string& file) {
  return {{"quantizer: weights of awkward content and shape go there and back",
           [=] {
             for_each_quantizer(file, [](const Subject& subject) {
               for (const Content content : kContents) {
                 for (const DLDataType dtype : {kBf16, kF32}) {
                   for (const int64_t rows : {16, 1, 129}) {
                     check_weight(subject, make_weight(rows, 256, dtype, content), content);
                   }
                 }
               }
             });
           }},
          {"quantizer: a shape or type that does not fit is answered, not attempted", [=] {
             for_each_quantizer(file, [](const Subject& subject) {
               for (const int64_t cols : {1, 7, 100, 4100}) {
                 subject.plan({sizeof(mopt_weight_view), kBf16, str("w"), 8, cols});
               }
               if (!subject.plan({sizeof(mopt_weight_view), kI32, str("w"), 8, 256}).empty()) {
                 throw Broken("MP-16: plan takes a weight of type i32");
               }
             });
           }}};
}

}  // namespace mopt::conformance
