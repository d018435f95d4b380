// The host's table that every plugin is given, and the services behind it. The parts of the host
// that own a service (threads, cancellation) install it; the loader knows none of them.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "mopt/host.h"
#include "mopt/tensor.hpp"

namespace mopt {

// What a plugin logs; `level` as in host.h.
using LogSink =
    std::function<void(mopt_log_level level, std::string_view component, std::string_view message)>;

class Services {
 public:
  Services(std::string version, LogSink log);
  Services(const Services&) = delete;
  Services& operator=(const Services&) = delete;

  // `table` begins with struct_size and must outlive every plugin call.
  void install(std::string id, const void* table) { tables_[std::move(id)] = table; }
  const mopt_host* host() const { return &table_.head; }
  // A CPU execution context.
  const mopt_exec* cpu() const { return &cpu_; }

 private:
  // The ABI hands back a mopt_host*; it is the first member, so the owner is found from it.
  struct Table {
    mopt_host head;
    Services* owner;
  };
  Table table_;
  mopt_exec cpu_;
  std::string version_;
  LogSink log_;
  std::map<std::string, const void*, std::less<>> tables_;
};

// A host-owned tensor on the CPU: contiguous, 256-byte aligned, uninitialized.
Tensor allocate(DLDataType dtype, std::span<const int64_t> shape);
inline Tensor allocate(DLDataType dtype, std::initializer_list<int64_t> shape) {
  return allocate(dtype, std::span<const int64_t>(shape.begin(), shape.size()));
}

}  // namespace mopt
