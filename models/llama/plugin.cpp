// The ABI edge of the llama adapter.
#include "llama.hpp"

MOPT_PLUGIN("org.mopt.llama_adapter", "0.1.0", mopt::AdapterComponent<mopt::llama::Llama>::value)
