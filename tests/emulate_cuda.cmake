# cmake -DSOURCE=x_cuda.cu -DOUTPUT=x_cuda.cpp -P emulate_cuda.cmake: a CUDA source as one of C++. Only
# an array of shared memory whose size the launch gives has no equal in C++.
file(READ ${SOURCE} text)
string(REGEX REPLACE "extern __shared__ ([^;]*[^; ]) +([A-Za-z_0-9]+)\\[\\];"
  "auto* \\2 = static_cast<\\1*>(mopt::emulation::dynamic_shared());" text "${text}")
file(WRITE ${OUTPUT} "#line 1 \"${SOURCE}\"\n${text}")
