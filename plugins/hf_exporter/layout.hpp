// Names, types and shapes of the stored tensors, and the two packings that change bytes or shape:
//   int4 codes [out, in]  <->  U8 [out/2, in], rows 2i (low nibble) and 2i+1 (high nibble) in one
//   byte e2m1 codes [out, in]  <->  U8 [out, in/2], the same bytes e8m0 scales           <->  U8,
//   the same bytes 128x128 tile scales [R, C]  <->  F32 [R, 1, C, 1], the same bytes; [] stays []
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mopt/exporter.h"
#include "mopt/plugin.hpp"

namespace mopt::hf {

struct Stored {
  std::string name;
  DLDataType dtype{};
  std::vector<int64_t> shape;
};

// A tensor that stands beside a weight, as "<module><suffix>".
struct Companion {
  std::string_view role, suffix;
};
std::span<const Companion> companions();

// "model.layers.0.mlp.up_proj" of "model.layers.0.mlp.up_proj.weight"; empty for another name.
std::string_view module_of(std::string_view parameter);

// Where a tensor of this role, type and shape goes. Throws when the layout cannot hold it.
Stored stored(const mopt_param& param, std::string_view role, DLDataType dtype,
              std::span<const int64_t> shape);

// A tensor under its role -> as stored. The result shares the bytes of `tensor` wherever the
// packing keeps them, so that `tensor` must outlive it.
Tensor pack(const Exec& exec, const mopt_param& param, std::string_view role,
            const DLTensor& tensor);

// The inverse; `stored` must outlive the result.
Tensor unpack(const Exec& exec, const mopt_param& param, std::string_view role,
              const DLTensor& stored);

}  // namespace mopt::hf
