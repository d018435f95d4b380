// What a unit makes, written behind the work on the next one: threads write and hash, another one
// brings each whole unit to the disk and then says so.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "host/loader/container.hpp"
#include "host/pipeline/busy.hpp"
#include "host/pipeline/timeline.hpp"

namespace mopt::pipeline {

// Where the bytes go. `write` is called by several threads at once, also while `sync` runs.
struct WriteSink {
  std::function<void(std::string_view tensor, uint64_t offset, std::span<const std::byte>)> write;
  std::function<void()> sync;  // all that was written before reaches the disk
};
WriteSink sink_of(ContainerWriter&);  // outlives the sink

struct WrittenTensor {
  std::string name;
  uint64_t bytes = 0;
  std::string xxh128;
};
using WrittenUnit = std::vector<WrittenTensor>;  // in the order in which they were begun

// Seconds that all threads together were busy, and that callers waited.
struct WriteTiming {
  double write = 0, hash = 0, sync = 0, stalled = 0;
  uint64_t bytes = 0;
};

class WriteBehind {
 public:
  struct Limits {
    int threads = 2;
    // Submitted and not yet dropped; one piece larger than that goes alone.
    uint64_t bytes = uint64_t{256} << 20;
    // Ended and not yet committed while another is begun: what a kill loses beside that one.
    size_t units = 1;
  };
  WriteBehind(WriteSink, Limits, Timeline* timeline = nullptr);
  // Cancels what is not committed.
  ~WriteBehind();
  WriteBehind(const WriteBehind&) = delete;
  WriteBehind& operator=(const WriteBehind&) = delete;

  // Units follow each other; between the two calls pieces may come from several threads.
  //
  // The first failure of a write, of the sync or of `committed` is thrown as it is by these, from
  // then on, and by drain(). Of the failed unit and those after it nothing is committed; those
  // before it are by the time that drain() throws.
  void begin_unit(std::string_view name = {});  // for the timeline, which it outlives
  // The next bytes of a tensor, in order of offset and without gaps. `keep` owns them, and is
  // dropped when they are written and hashed (a slot: std::make_shared<Slot>(std::move(slot))).
  // Waits while too many bytes are in flight.
  void submit(const std::string& tensor, uint64_t offset, std::span<const std::byte> bytes,
              std::shared_ptr<void> keep);
  // `committed` is called, by a thread of its own and in the order of the units, when the unit is
  // on the disk.
  void end_unit(std::function<void(const WrittenUnit&)> committed);
  // Returns when every ended unit is committed, and everything submitted is written.
  void drain();
  // Drops what is not yet written and commits nothing more; the calls above then throw
  // MOPT_CANCELLED.
  void cancel();
  WriteTiming timing() const;

 private:
  struct Tensor;
  struct Unit;
  struct Piece {
    Unit* unit;
    Tensor* tensor;
    uint64_t number;  // of the tensor's pieces
    uint64_t offset;
    std::span<const std::byte> bytes;
    std::shared_ptr<void> keep;
  };
  void write_all();
  void write(const Piece&);
  void hash_in_order(std::unique_lock<std::mutex>&, Piece);
  void commit_all();
  void commit(const std::vector<Unit*>&);
  bool is_dead(size_t unit) const { return cancelled_ || unit >= failed_unit_; }
  bool is_complete(const Unit&) const;
  void fail(size_t unit, std::exception_ptr);
  void rethrow() const;

  const WriteSink sink_;
  const Limits limits_;
  Timeline* timeline_;
  mutable std::mutex mutex_;
  // Pieces to write; a unit's progress; room for more.
  std::condition_variable queued_, progress_, room_;
  std::deque<Piece> queue_;
  std::deque<std::unique_ptr<Unit>> units_;  // not yet committed, in order
  size_t begun_ = 0;
  uint64_t in_flight_ = 0;
  size_t failed_unit_ = SIZE_MAX;
  std::exception_ptr failure_;
  bool cancelled_ = false;
  struct Counters {
    Nanoseconds write = 0, hash = 0, sync = 0, stalled = 0;
    std::atomic<uint64_t> bytes = 0;
  };
  Counters counters_;
  std::vector<std::thread> writers_;
  std::thread committer_;
};

}  // namespace mopt::pipeline
