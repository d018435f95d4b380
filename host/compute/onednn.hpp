// oneDNN 2.6 to 3.x underneath our own tasks: matrix products y[M,N] = x[M,K] w[K,N] (+ bias) that
// run on the calling thread only.
#pragma once

#include <dnnl.hpp>

#include <cstdint>

#include "mopt/tensor.hpp"

namespace mopt::compute::onednn {

// oneDNN's engine for this process.
const dnnl::engine& engine();

// oneDNN's own threads (OpenMP in Debian) stay out of it: our tasks are the parallelism. Called
// before oneDNN makes or runs anything on this thread.
void stay_on_this_thread();

dnnl::memory::data_type type(DLDataType dtype);  // f32 or bf16

enum class Accumulate { kNo, kYes };  // kYes: added to what y holds

// A product of fixed extents and layouts; run() may be called from many threads at once.
class Product {
 public:
  struct Shape {
    dnnl::memory::desc x, w, bias, y;  // bias: an empty descriptor for none
    Accumulate accumulate = Accumulate::kNo;
  };
  explicit Product(const Shape& shape);
  // x, w, bias and y as the shape describes them; bias is null when there is none.
  void run(const void* x, const void* w, const void* bias, void* y) const;
  dnnl::memory::desc packed() const { return pd_.weights_desc(); }

 private:
  dnnl::matmul::primitive_desc pd_;
  dnnl::matmul op_;
  int64_t scratch_bytes_ = 0;
};

// Copies `from` as described into the layout of `to`.
void reorder(const dnnl::memory::desc& from_desc, const void* from,
             const dnnl::memory::desc& to_desc, void* to);

// True when oneDNN's products are its blocked ones ("brgemm", AVX-512 on), which sum a row in one
// order whatever the other rows are. Others choose the order by the number of rows.
bool has_blocked_products();

// True when this machine multiplies bf16 in hardware through oneDNN.
bool has_bf16();

}  // namespace mopt::compute::onednn
