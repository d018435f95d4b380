// The host's table that every plugin is given, and the services behind it. The parts of the host
// that own a service (threads, cancellation) install it; the loader knows none of them.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
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
  static const Services& of(const mopt_host*);  // the one whose host() it is
  // A CPU execution context.
  const mopt_exec* cpu() const { return &cpu_; }

  // Memory for work on one stream.
  using TakeMemory = std::function<std::shared_ptr<std::byte>(int64_t bytes)>;
  // An execution context on a device's stream, whose plugins take memory from `take`. Lives as long
  // as this object. [any thread]
  const mopt_exec* on_device(DLDevice, void* stream, TakeMemory take);
  // Memory for a plugin that works in `exec`. Throws UNSUPPORTED for a context not made here.
  Tensor allocate_in(const mopt_exec* exec, DLDataType, std::span<const int64_t> shape) const;

 private:
  struct OnDevice {
    mopt_exec exec;
    TakeMemory take;
  };
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
  mutable std::mutex mutex_;
  std::deque<OnDevice> on_device_;
};

// A host-owned tensor on the CPU: contiguous, 256-byte aligned, uninitialized.
Tensor allocate(DLDataType dtype, std::span<const int64_t> shape);
inline Tensor allocate(DLDataType dtype, std::initializer_list<int64_t> shape) {
  return allocate(dtype, std::span<const int64_t>(shape.begin(), shape.size()));
}

// A contiguous tensor over memory that it keeps.
Tensor tensor_over(std::shared_ptr<std::byte> memory, DLDevice, DLDataType,
                   std::span<const int64_t> shape);

}  // namespace mopt
