// The ABI edge of the qwen adapter.
#include "qwen.hpp"

MOPT_PLUGIN("org.mopt.qwen_adapter", "0.1.0", mopt::AdapterComponent<mopt::qwen::Qwen>::value)
