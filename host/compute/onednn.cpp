#include "host/compute/onednn.hpp"

#include <unordered_map>

#include "host/compute/scratch.hpp"
#include "mopt/error.hpp"

// Absent when oneDNN was built upon another threading library.
extern "C" void omp_set_num_threads(int) __attribute__((weak));

namespace mopt::compute::onednn {
namespace {

using dnnl::memory;

struct Scratchpad;  // what oneDNN asks for while it runs

dnnl::primitive_attr attributes(Accumulate accumulate) {
  dnnl::primitive_attr attr;
  // Our own scratch memory: the library's belongs to the thread that made the primitive.
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (accumulate == Accumulate::kYes) {
    dnnl::post_ops ops;
    ops.append_sum(1.0f);
    attr.set_post_ops(ops);
  }
  return attr;
}

dnnl::matmul::primitive_desc describe(const Product::Shape& s) {
  stay_on_this_thread();
  const dnnl::primitive_attr attr = attributes(s.accumulate);
#if DNNL_VERSION_MAJOR >= 3
  if (!s.bias.is_zero()) return {engine(), s.x, s.w, s.bias, s.y, attr};
  return {engine(), s.x, s.w, s.y, attr};
#else
  if (!s.bias.is_zero()) return {dnnl::matmul::desc(s.x, s.w, s.bias, s.y), attr, engine()};
  return {dnnl::matmul::desc(s.x, s.w, s.y), attr, engine()};
#endif
}

memory wrap(const memory::desc& desc, const void* data) {
  return memory(desc, engine(), const_cast<void*>(data));
}

// oneDNN runs a CPU primitive before execute() returns.
dnnl::stream& stream() {
  thread_local dnnl::stream own(engine());
  return own;
}

}  // namespace

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

void stay_on_this_thread() {
  thread_local bool done = false;
  if (done) return;
  if (omp_set_num_threads != nullptr) omp_set_num_threads(1);
  done = true;
}

memory::data_type type(DLDataType dtype) {
  if (same(dtype, kF32)) return memory::data_type::f32;
  if (same(dtype, kBf16)) return memory::data_type::bf16;
  throw Error(MOPT_UNSUPPORTED, "expected f32 or bf16 in a matrix product, found " +
                                    dtype_name(dtype) + "; cast first");
}

Product::Product(const Shape& shape)
    : pd_(describe(shape)),
      op_(pd_),
      scratch_bytes_(static_cast<int64_t>(pd_.scratchpad_desc().get_size())) {}

void Product::run(const void* x, const void* w, const void* bias, void* y) const {
  stay_on_this_thread();
  std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, wrap(pd_.src_desc(), x)},
                                            {DNNL_ARG_WEIGHTS, wrap(pd_.weights_desc(), w)},
                                            {DNNL_ARG_DST, wrap(pd_.dst_desc(), y)}};
  if (bias != nullptr) arguments.emplace(DNNL_ARG_BIAS, wrap(pd_.bias_desc(), bias));
  if (scratch_bytes_ > 0) {
    arguments.emplace(DNNL_ARG_SCRATCHPAD,
                      wrap(pd_.scratchpad_desc(), scratch<Scratchpad>(scratch_bytes_)));
  }
  op_.execute(stream(), arguments);
}

void reorder(const memory::desc& from_desc, const void* from, const memory::desc& to_desc,
             void* to) {
  stay_on_this_thread();
  memory source = wrap(from_desc, from), target = wrap(to_desc, to);
  dnnl::reorder(source, target).execute(stream(), source, target);
}

namespace {

bool has_isa(dnnl::cpu_isa isa) {
  const auto bits = static_cast<unsigned>(isa);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & bits) == bits;
}

}  // namespace

bool has_blocked_products() {
  return has_isa(dnnl::cpu_isa::avx512_core);
}

bool has_bf16() {
  return has_isa(dnnl::cpu_isa::avx512_core_bf16);
}

}  // namespace mopt::compute::onednn
