#include "host/pipeline/write_behind.hpp"

#include <pthread.h>

#include <algorithm>
#include <map>

#include "host/report/hash.hpp"
#include "mopt/error.hpp"

namespace mopt::pipeline {

struct WriteBehind::Tensor {
  std::string name;
  uint64_t submitted = 0, pieces = 0, hashed = 0;  // bytes, pieces, pieces
  std::map<uint64_t, Piece> written;               // not yet hashed, by number
  bool hashing = false;                            // by some thread, without the lock
  Xxh128 hash;
};

struct WriteBehind::Unit {
  size_t number;
  std::string_view name;
  std::deque<Tensor> tensors;
  std::map<std::string, Tensor*> by_name;
  size_t pending = 0;  // pieces
  bool ended = false;
  std::function<void(const WrittenUnit&)> committed;
};

WriteSink sink_of(ContainerWriter& writer) {
  return {[&writer](std::string_view tensor, uint64_t offset, std::span<const std::byte> bytes) {
            writer.write(tensor, offset, bytes);
          },
          [&writer] { writer.sync(); }};
}

WriteBehind::WriteBehind(WriteSink sink, Limits limits, Timeline* timeline)
    : sink_(std::move(sink)), limits_(limits), timeline_(timeline) {
  committer_ = std::thread([this] { commit_all(); });
  pthread_setname_np(committer_.native_handle(), "mopt-commit");
  for (int i = 0; i < std::max(1, limits_.threads); ++i) {
    writers_.emplace_back([this] { write_all(); });
    pthread_setname_np(writers_.back().native_handle(),
                       ("mopt-write-" + std::to_string(i)).c_str());
  }
}

WriteBehind::~WriteBehind() {
  cancel();
  for (std::thread& writer : writers_)
    writer.join();
  committer_.join();
}

void WriteBehind::rethrow() const {
  if (failure_) std::rethrow_exception(failure_);
  if (cancelled_) throw Error(MOPT_CANCELLED, "writing was cancelled");
}

void WriteBehind::begin_unit(std::string_view name) {
  std::unique_lock lock(mutex_);
  rethrow();
  if (!units_.empty() && !units_.back()->ended)
    throw Error(MOPT_INTERNAL, "a unit is begun before the one before it has ended");
  {
    const Busy busy(counters_.stalled);
    const Timeline::Scope scope(timeline_, Phase::kWaitWrite, name);
    room_.wait(lock, [&] { return cancelled_ || failure_ || units_.size() <= limits_.units; });
  }
  rethrow();
  units_.push_back(std::make_unique<Unit>());
  units_.back()->number = begun_++;
  units_.back()->name = name;
}

void WriteBehind::submit(const std::string& tensor, uint64_t offset,
                         std::span<const std::byte> bytes, std::shared_ptr<void> keep) {
  std::unique_lock lock(mutex_);
  {
    const Busy busy(counters_.stalled);
    const Timeline::Scope scope(timeline_, Phase::kWaitWrite,
                                units_.empty() ? std::string_view() : units_.back()->name);
    room_.wait(lock, [&] {
      return cancelled_ || failure_ || in_flight_ == 0 ||
             in_flight_ + bytes.size() <= limits_.bytes;
    });
  }
  rethrow();
  if (units_.empty() || units_.back()->ended)
    throw Error(MOPT_INTERNAL, "bytes are written outside of a unit", tensor);
  Unit& unit = *units_.back();
  Tensor*& known = unit.by_name[tensor];
  if (known == nullptr) {
    known = &unit.tensors.emplace_back();
    known->name = tensor;
  }
  if (known->submitted != offset) {
    throw Error(MOPT_INTERNAL,
                "expected its bytes from " + std::to_string(known->submitted) + " on, found " +
                    std::to_string(offset),
                tensor);
  }
  known->submitted += bytes.size();
  in_flight_ += bytes.size();
  ++unit.pending;
  queue_.push_back({&unit, known, known->pieces++, offset, bytes, std::move(keep)});
  queued_.notify_one();
}

void WriteBehind::end_unit(std::function<void(const WrittenUnit&)> committed) {
  const std::lock_guard lock(mutex_);
  rethrow();
  if (units_.empty() || units_.back()->ended)
    throw Error(MOPT_INTERNAL, "a unit is ended that was not begun");
  units_.back()->ended = true;
  units_.back()->committed = std::move(committed);
  progress_.notify_all();
}

void WriteBehind::drain() {
  std::unique_lock lock(mutex_);
  const Busy busy(counters_.stalled);
  const Timeline::Scope scope(timeline_, Phase::kWaitWrite);
  room_.wait(lock, [&] {
    if (cancelled_ || units_.empty()) return true;
    const Unit& first = *units_.front();
    return failure_ ? is_dead(first.number) : !first.ended && first.pending == 0;
  });
  rethrow();
}

void WriteBehind::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  queued_.notify_all();
  progress_.notify_all();
  room_.notify_all();
}

void WriteBehind::fail(size_t unit, std::exception_ptr failure) {
  const std::lock_guard lock(mutex_);
  if (!failure_) failure_ = std::move(failure);
  failed_unit_ = std::min(failed_unit_, unit);
  progress_.notify_all();
  room_.notify_all();
}

void WriteBehind::write_all() {
  std::unique_lock lock(mutex_);
  for (;;) {
    queued_.wait(lock, [&] { return cancelled_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Piece piece = std::move(queue_.front());
    queue_.pop_front();
    if (!is_dead(piece.unit->number)) {
      lock.unlock();
      write(piece);
      lock.lock();
    }
    hash_in_order(lock, std::move(piece));
  }
}

void WriteBehind::write(const Piece& piece) {
  try {
    const Busy busy(counters_.write);
    const Timeline::Scope scope(timeline_, Phase::kWrite, piece.unit->name);
    sink_.write(piece.tensor->name, piece.offset, piece.bytes);
    counters_.bytes += piece.bytes.size();
  } catch (...) {
    fail(piece.unit->number, std::current_exception());
  }
}

// Pieces of a tensor are hashed in order by whoever comes; one that overtook another waits. What a
// failure left unwritten passes through as well, so that every piece is dropped and counted.
void WriteBehind::hash_in_order(std::unique_lock<std::mutex>& lock, Piece piece) {
  Unit& unit = *piece.unit;
  Tensor& tensor = *piece.tensor;
  tensor.written.emplace(piece.number, std::move(piece));
  if (tensor.hashing) return;
  tensor.hashing = true;
  while (!tensor.written.empty() && tensor.written.begin()->first == tensor.hashed) {
    Piece next = std::move(tensor.written.extract(tensor.written.begin()).mapped());
    const bool dead = is_dead(unit.number);
    const uint64_t bytes = next.bytes.size();
    lock.unlock();
    if (!dead) {
      const Busy busy(counters_.hash);
      const Timeline::Scope scope(timeline_, Phase::kHash, unit.name);
      tensor.hash.update(next.bytes);
    }
    next.keep.reset();
    lock.lock();
    ++tensor.hashed;
    in_flight_ -= bytes;
    // The last act on this unit: the committer may remove it as soon as nothing is pending.
    if (tensor.written.empty()) tensor.hashing = false;
    const bool more = !tensor.written.empty();
    --unit.pending;
    progress_.notify_all();
    room_.notify_all();
    if (!more) return;
  }
  tensor.hashing = false;
}

bool WriteBehind::is_complete(const Unit& unit) const {
  return unit.ended && unit.pending == 0 && !is_dead(unit.number);
}

// Units that are complete when the disk is ready for the next one share its sync.
void WriteBehind::commit_all() {
  std::unique_lock lock(mutex_);
  for (;;) {
    progress_.wait(lock, [&] {
      return cancelled_ ||
             (!units_.empty() && (is_complete(*units_.front()) || is_dead(units_.front()->number)));
    });
    if (cancelled_ || is_dead(units_.front()->number)) return;
    std::vector<Unit*> group;
    for (const auto& unit : units_) {
      if (!is_complete(*unit)) break;
      group.push_back(unit.get());
    }
    lock.unlock();
    commit(group);
    lock.lock();
    while (!units_.empty() && !group.empty() && !is_dead(group.front()->number)) {
      units_.pop_front();
      group.erase(group.begin());
    }
    room_.notify_all();
  }
}

void WriteBehind::commit(const std::vector<Unit*>& group) {
  size_t at = group.front()->number;
  try {
    {
      const Busy busy(counters_.sync);
      const Timeline::Scope scope(timeline_, Phase::kSync, group.back()->name);
      sink_.sync();
    }
    for (Unit* unit : group) {
      at = unit->number;
      WrittenUnit written;
      for (const Tensor& t : unit->tensors)
        written.push_back({t.name, t.submitted, t.hash.hex()});
      {
        const std::lock_guard lock(mutex_);
        if (cancelled_) return;
      }
      if (unit->committed) unit->committed(written);
    }
  } catch (...) {
    fail(at, std::current_exception());
  }
}

WriteTiming WriteBehind::timing() const {
  return {seconds(counters_.write), seconds(counters_.hash), seconds(counters_.sync),
          seconds(counters_.stalled), counters_.bytes};
}

}  // namespace mopt::pipeline
