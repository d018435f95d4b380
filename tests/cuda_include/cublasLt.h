/* The types that kernel files see of cuBLASLt through headers; none of its functions. */
#ifndef MOPT_EMULATED_CUBLASLT_H
#define MOPT_EMULATED_CUBLASLT_H
typedef struct cublasLtContext* cublasLtHandle_t;
#endif
