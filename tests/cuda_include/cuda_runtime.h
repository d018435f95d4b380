/* Stands for CUDA's own header in a compilation of .cu files by the C++ compiler. */
#ifndef MOPT_EMULATED_CUDA_RUNTIME_H
#define MOPT_EMULATED_CUDA_RUNTIME_H
#include "tests/cuda_emulation.hpp"
#endif
