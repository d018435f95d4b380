// MOPT_HD: a function for host and device code.
#pragma once

#if defined(__CUDACC__)
#  define MOPT_HD __host__ __device__
#else
#  define MOPT_HD
#endif
