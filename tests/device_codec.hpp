// For tests of a number format's kernels, run by cuda_emulation.hpp: the device emits the bytes
// that the CPU emits, for weights of awkward shapes, types and contents, and for inputs.
#pragma once

#include "tests/codec_golden.hpp"

namespace mopt::test {

struct Shape {
  int64_t rows, cols;
  int64_t shift = 0;  // elements behind an aligned address
};

// Equal numbers with equal signs, or NaN in both.
bool same_numbers(const Blob& a, const Blob& b);

// Encoding, and decoding to each type.
void check_weights_on_device(const mopt_component& component, const std::vector<Option>& options,
                             const std::vector<Shape>& shapes);

// Inputs (and K and V, where it holds them) of bf16 and f32: without a stored scale, and with one
// where the format stores one, elements beyond its range too.
void check_inputs_on_device(const mopt_component& component, const std::vector<Option>& options,
                            const std::vector<Shape>& shapes);

// Codes of inputs in E4M3, on the CPU and on the device: of bf16 and f32, with and without a scale.
void check_codes_of_inputs(const mopt_component& component, const std::vector<Option>& options,
                           const std::vector<Shape>& shapes);

// The bytes of the original implementation, as codec_cases() lists them: our part -> its tensor.
void check_golden_on_device(const mopt_component& component, const std::vector<Option>& options,
                            const std::string& file,
                            const std::map<std::string, std::string>& names,
                            const std::string& suffix = "");

}  // namespace mopt::test
