#include "host/pipeline/read_ahead.hpp"

#include <pthread.h>

#include <algorithm>
#include <cstring>

#include "host/pipeline/source_file.hpp"
#include "host/report/hash.hpp"
#include "mopt/tensor.hpp"

namespace mopt::pipeline {
namespace {

// Filled slots that wait in a lane for their hash: enough that neither thread of it idles, few
// enough that one lane does not hold the ring.
constexpr size_t kFilledAhead = 2;

std::exception_ptr cancelled() {
  return std::make_exception_ptr(Error(MOPT_CANCELLED, "reading was cancelled"));
}

// The error of a file, about one of its tensors.
Error about(const StoredTensor& t, const Error& e) {
  return {e.code(), "tensor " + in_quotes(t.name) + ": " + e.what(), e.where()};
}

}  // namespace

bool may_be_split(const Container& container, const StoredTensor& t) {
  return t.plain && t.file < container.files().size();
}

struct ReadAhead::Task {
  Task(ReadJob j, uint64_t o) : job(std::move(j)), order(o) {}
  const ReadJob job;
  const uint64_t order;
  std::promise<Delivered> promise;
  std::atomic<bool> failed = false;  // nothing more of it is read
  // Of the thread that hashes:
  std::exception_ptr error;
  Sha256 sha256;
  uint64_t hashed = 0;  // of the stored bytes
  Delivered result;

  bool is_decoded() const { return !job.tensor.plain; }
};

// One filled slot of a task, or its end, with the error of whoever filled it.
struct ReadAhead::Piece {
  std::shared_ptr<Task> task;
  uint64_t offset = 0;
  Slot slot;
  std::exception_ptr error;
};

class ReadAhead::Lane {
 public:
  Lane(ReadAhead& owner, int index) : owner_(owner) {
    deliverer_ = std::thread([this] { deliver_all(); });
    filler_ = std::thread([this] { fill_all(); });
    const std::string number = std::to_string(index);
    pthread_setname_np(filler_.native_handle(), ("mopt-read-" + number).c_str());
    pthread_setname_np(deliverer_.native_handle(), ("mopt-hash-" + number).c_str());
  }
  ~Lane() {
    filler_.join();
    deliverer_.join();
  }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

 private:
  void fill_all();
  void fill(const std::shared_ptr<Task>&);
  void fill_from_file(const std::shared_ptr<Task>&);
  void fill_from_map(const std::shared_ptr<Task>&);
  void fill_decoded(const std::shared_ptr<Task>&);
  void fill_from_row(const std::shared_ptr<Task>&, uint64_t offset, std::span<const std::byte> row);
  Slot take(const Task&);
  void push(Piece);

  void deliver_all();
  void hash(Task&, const Slot&, uint64_t end);
  void deliver(Piece);

  ReadAhead& owner_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Piece> filled_;
  bool closed_ = false;
  std::thread filler_, deliverer_;
};

void ReadAhead::Lane::fill_all() {
  while (const std::shared_ptr<Task> task = owner_.next()) {
    std::exception_ptr error;
    try {
      fill(task);
    } catch (...) {
      error = std::current_exception();
    }
    push({task, 0, {}, error});
  }
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void ReadAhead::Lane::fill(const std::shared_ptr<Task>& task) {
  const ReadJob& job = task->job;
  if (task->is_decoded()) return fill_decoded(task);
  if (!may_be_split(job.container, job.tensor)) return fill_from_map(task);
  try {
    fill_from_file(task);
  } catch (const Error& e) {
    if (e.code() == MOPT_CANCELLED) throw;
    throw about(job.tensor, e);
  }
}

// Pieces begin at blocks of the file, except the first: whether a piece is then read directly or
// not, its bytes lie at the same place of the slot.
void ReadAhead::Lane::fill_from_file(const std::shared_ptr<Task>& task) {
  const StoredTensor& t = task->job.tensor;
  const std::shared_ptr<SourceFile> file = owner_.open(task->job.container, t);
  const size_t room = owner_.ring_.slot_bytes();
  const size_t block = std::min(file->alignment(), SlotRing::kPage);
  const uint64_t end = std::min(task->job.end, t.stored_bytes);
  for (uint64_t at = task->job.begin; at < end && !task->failed;) {
    const size_t lead = (t.offset + at) % (room >= file->alignment() ? file->alignment() : block);
    const size_t n = std::min<uint64_t>(end - at, room - lead);
    Slot slot = take(*task);
    {
      const Busy busy(owner_.counters_.read);
      const Timeline::Scope scope(owner_.timeline_, Phase::kRead, task->job.unit);
      const SourceFile::Place place =
          file->read(t.offset + at, n, slot.memory(),
                     task->job.again ? Residency::kCached : residency({t.data + at, n}));
      slot.fill(place.begin, n);
      if (place.how == SourceFile::How::kDirect) owner_.counters_.direct_bytes += n;
    }
    push({task, at, std::move(slot), {}});
    at += n;
  }
}

// Of a container without files of its own.
void ReadAhead::Lane::fill_from_map(const std::shared_ptr<Task>& task) {
  const StoredTensor& t = task->job.tensor;
  fill_from_row(task, 0, {t.data, static_cast<size_t>(t.stored_bytes)});
}

void ReadAhead::Lane::fill_decoded(const std::shared_ptr<Task>& task) {
  const Container& container = task->job.container;
  const StoredTensor& t = task->job.tensor;
  const int64_t rows = t.shape.empty() ? 1 : t.shape[0];
  if (t.bytes() == 0) return;
  const uint64_t row_bytes = t.bytes() / static_cast<uint64_t>(rows);
  std::vector<int64_t> extents(t.shape.begin(), t.shape.end());
  const auto step = static_cast<int64_t>(owner_.ring_.slot_bytes() / row_bytes);
  for (int64_t row = 0; row < rows && !task->failed; row += std::max<int64_t>(1, step)) {
    const int64_t end = std::min(rows, row + std::max<int64_t>(1, step));
    if (!extents.empty()) extents[0] = end - row;
    const uint64_t offset = static_cast<uint64_t>(row) * row_bytes;
    const uint64_t bytes = static_cast<uint64_t>(end - row) * row_bytes;
    if (step == 0) {  // a row that no slot holds
      Tensor whole = allocate(t.dtype, extents);
      container.read(t, row, end, whole.get());
      fill_from_row(task, offset, {whole.data<std::byte>(), bytes});
      continue;
    }
    Slot slot = take(*task);
    {
      const Busy busy(owner_.counters_.read);
      const Timeline::Scope scope(owner_.timeline_, Phase::kRead, task->job.unit);
      const TensorRef into(slot.memory().data(), t.dtype, extents);
      DLTensor out = *into.get();
      container.read(t, row, end, &out);
      slot.fill(0, bytes);
    }
    push({task, offset, std::move(slot), {}});
  }
}

void ReadAhead::Lane::fill_from_row(const std::shared_ptr<Task>& task, uint64_t offset,
                                    std::span<const std::byte> row) {
  while (!row.empty() && !task->failed) {
    Slot slot = take(*task);
    const size_t n = std::min(row.size(), slot.memory().size());
    {
      const Busy busy(owner_.counters_.read);
      const Timeline::Scope scope(owner_.timeline_, Phase::kRead, task->job.unit);
      std::memcpy(slot.memory().data(), row.data(), n);
      slot.fill(0, n);
    }
    push({task, offset, std::move(slot), {}});
    row = row.subspan(n);
    offset += n;
  }
}

Slot ReadAhead::Lane::take(const Task& task) {
  const Busy starved(owner_.counters_.starved);
  return owner_.ring_.take(task.order, owner_.stop_.get_token());
}

// The end of a task takes no room: a lane that is being cancelled is never stuck here, since the
// other thread empties it.
void ReadAhead::Lane::push(Piece piece) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return filled_.size() < kFilledAhead; });
  filled_.push_back(std::move(piece));
  changed_.notify_all();
}

void ReadAhead::Lane::deliver_all() {
  for (;;) {
    Piece piece;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !filled_.empty() || closed_; });
      if (filled_.empty()) return;
      piece = std::move(filled_.front());
      filled_.pop_front();
      changed_.notify_all();
    }
    deliver(std::move(piece));
  }
}

// A decoded tensor's stored bytes are hashed as far as it has been decoded: their pages are mapped
// then, and are given back.
void ReadAhead::Lane::hash(Task& task, const Slot& slot, uint64_t end) {
  const Container& container = task.job.container;
  const StoredTensor& t = task.job.tensor;
  const Busy busy(owner_.counters_.hash);
  const Timeline::Scope scope(owner_.timeline_, Phase::kHash, task.job.unit);
  const bool digested = task.job.digest == Digest::kSha256;
  if (digested && !task.is_decoded()) task.sha256.update(slot.bytes());
  if (digested && task.is_decoded() && t.data != nullptr) {
    const uint64_t until =
        end == t.bytes()
            ? t.stored_bytes
            : static_cast<uint64_t>(static_cast<double>(t.stored_bytes) * static_cast<double>(end) /
                                    static_cast<double>(t.bytes()));
    task.sha256.update({t.data + task.hashed, until - task.hashed});
    task.hashed = until;
  }
  if (!may_be_split(container, t)) container.release(t);  // it was read through a map
}

void ReadAhead::Lane::deliver(Piece piece) {
  Task& task = *piece.task;
  const bool end = !piece.slot;
  if (piece.error && !task.error) task.error = piece.error;
  if (!end && !task.error) {
    try {
      if (owner_.stop_.stop_requested()) std::rethrow_exception(cancelled());
      const uint64_t size = piece.slot.bytes().size();
      hash(task, piece.slot, piece.offset + size);
      const Busy busy(owner_.counters_.deliver);
      task.job.deliver(piece.offset, std::move(piece.slot));
      task.result.bytes += size;
      owner_.counters_.bytes += size;
    } catch (...) {
      task.error = std::current_exception();
      task.failed = true;
    }
  }
  piece.slot.drop();
  if (end) owner_.finish(piece.task);
}

ReadAhead::ReadAhead(SlotRing& ring, int lanes, Timeline* timeline)
    : ring_(ring), timeline_(timeline) {
  ring_.set_first(0);
  for (int i = 0; i < std::max(1, lanes); ++i)
    lanes_.push_back(std::make_unique<Lane>(*this, i));
}

ReadAhead::~ReadAhead() {
  cancel();
  lanes_.clear();
}

std::future<Delivered> ReadAhead::submit(ReadJob job) {
  const std::lock_guard lock(mutex_);
  auto task = std::make_shared<Task>(std::move(job), next_order_++);
  std::future<Delivered> result = task->promise.get_future();
  if (stop_.stop_requested()) {
    task->promise.set_exception(cancelled());
    return result;
  }
  unfinished_.insert(task->order);
  queue_.push_back(std::move(task));
  submitted_.notify_one();
  return result;
}

// The next task in order; NULL when there will be none.
std::shared_ptr<ReadAhead::Task> ReadAhead::next() {
  std::unique_lock lock(mutex_);
  submitted_.wait(lock, stop_.get_token(), [&] { return !queue_.empty(); });
  if (stop_.stop_requested() || queue_.empty()) return nullptr;
  std::shared_ptr<Task> task = std::move(queue_.front());
  queue_.pop_front();
  return task;
}

void ReadAhead::finish(const std::shared_ptr<Task>& task) {
  {
    const std::lock_guard lock(mutex_);
    unfinished_.erase(task->order);
    ring_.set_first(unfinished_.empty() ? next_order_ : *unfinished_.begin());
  }
  if (task->error) return task->promise.set_exception(task->error);
  if (task->job.digest == Digest::kSha256) task->result.sha256 = task->sha256.hex();
  task->promise.set_value(task->result);
}

void ReadAhead::cancel() {
  stop_.request_stop();
  std::deque<std::shared_ptr<Task>> dropped;
  {
    const std::lock_guard lock(mutex_);
    dropped.swap(queue_);
    for (const auto& task : dropped)
      unfinished_.erase(task->order);
  }
  for (const auto& task : dropped)
    task->promise.set_exception(cancelled());
}

std::shared_ptr<SourceFile> ReadAhead::open(const Container& container, const StoredTensor& t) {
  const std::string path = container.files()[t.file];
  const std::lock_guard lock(mutex_);
  std::weak_ptr<SourceFile>& known = files_[path];
  std::shared_ptr<SourceFile> file = known.lock();
  if (!file) known = file = std::make_shared<SourceFile>(path);
  return file;
}

ReadTiming ReadAhead::timing() const {
  return {seconds(counters_.read),    seconds(counters_.hash), seconds(counters_.deliver),
          seconds(counters_.starved), counters_.bytes,         counters_.direct_bytes};
}

}  // namespace mopt::pipeline
