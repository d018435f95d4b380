// Tensors of a source, read ahead of whoever needs them into the slots of a ring, hashed on the
// way. Plain tensors are read from their files, never through the map: resident memory is the ring.
#pragma once

#include <deque>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "host/loader/container.hpp"
#include "host/pipeline/busy.hpp"
#include "host/pipeline/slots.hpp"
#include "host/pipeline/timeline.hpp"

namespace mopt::pipeline {

enum class Digest { kNone, kSha256 };

struct ReadJob {
  const Container& container;  // both outlive the job
  const StoredTensor& tensor;
  Digest digest = Digest::kNone;
  // The next bytes of the presented tensor, from `offset` on: slot.bytes(). Called in order of
  // offset, by one of the readers' threads, which waits for it. What it throws fails the job.
  std::function<void(uint64_t offset, Slot&&)> deliver;
  bool again = false;          // it is read again soon: the page cache shall keep it
  std::string_view unit = {};  // of the plan, for the timeline
  // Bytes of it that are read; all but the default only where may_be_split, and without a digest.
  uint64_t begin = 0, end = UINT64_MAX;
};
// Several jobs may each read a part of it: it lies in a file as it is presented.
bool may_be_split(const Container&, const StoredTensor&);

struct Delivered {
  std::string sha256;  // of the stored bytes; empty without a digest
  uint64_t bytes = 0;  // delivered
};

// Seconds that all threads together were busy, or waited for a free slot.
struct ReadTiming {
  double read = 0, hash = 0, deliver = 0, starved = 0;
  uint64_t bytes = 0, direct_bytes = 0;  // direct: past the page cache
};

class ReadAhead {
 public:
  // Each of the `lanes` reads one tensor at a time, with one thread that fills slots and one that
  // hashes and delivers them. A ring serves one ReadAhead at a time, and outlives it.
  ReadAhead(SlotRing& ring, int lanes, Timeline* timeline = nullptr);
  // Cancels what is not finished; waits for a deliver that is running.
  ~ReadAhead();
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  // Jobs are begun in the order of their submission, several at a time. A failure is the job's own:
  // Error with the tensor and the file, or what deliver threw.
  //
  // No job waits for a later one: the slots of the earliest unfinished job cannot all be held by
  // others (SlotRing), and jobs reach a lane in order, so the earliest has one. A consumer may
  // therefore keep the slots of any job, or block in their deliver, until an earlier job is done;
  // it must give back those of the earliest one without waiting for a later one.
  std::future<Delivered> submit(ReadJob);
  // Unfinished jobs fail with MOPT_CANCELLED, as do those submitted from now on.
  void cancel();
  ReadTiming timing() const;

 private:
  struct Task;
  struct Piece;
  class Lane;
  std::shared_ptr<Task> next();
  void finish(const std::shared_ptr<Task>&);
  std::shared_ptr<class SourceFile> open(const Container&, const StoredTensor&);

  SlotRing& ring_;
  Timeline* timeline_;
  std::stop_source stop_;
  mutable std::mutex mutex_;
  std::condition_variable_any submitted_;
  std::deque<std::shared_ptr<Task>> queue_;
  std::set<uint64_t> unfinished_;  // orders of the tasks that are queued or in work
  uint64_t next_order_ = 0;
  std::map<std::string, std::weak_ptr<SourceFile>> files_;  // shared by the tasks that read them
  struct Counters {
    Nanoseconds read = 0, hash = 0, deliver = 0, starved = 0;
    std::atomic<uint64_t> bytes = 0, direct_bytes = 0;
  };
  Counters counters_;
  std::vector<std::unique_ptr<Lane>> lanes_;
};

}  // namespace mopt::pipeline
