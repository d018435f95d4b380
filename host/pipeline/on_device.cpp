#include "host/pipeline/on_device.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "host/compute/parallel.hpp"
#include "host/plan/device_cost.hpp"

namespace mopt::pipeline {

using compute::View;

namespace {

constexpr auto kPositions = plan::kAnglePositions;
constexpr auto kUploadBytes = static_cast<int64_t>(plan::kUploadBytes);
// Of an upload, what a thread copies at a time.
constexpr int64_t kStretch = int64_t{1} << 20;

DLDevice dlpack_device(const compute::Device& device) {
  return {device.info().type, device.info().index};
}

}  // namespace

OnDevice::OnDevice(std::unique_ptr<compute::Queue> queue, Services& services)
    : queue_(std::move(queue)),
      exec_(services.on_device(dlpack_device(queue_->device()), queue_->stream(),
                               [q = queue_.get()](int64_t bytes) { return q->take(bytes); })) {}

TensorRef OnDevice::tensor(const View& view) const {
  return TensorRef(view.data, view.dtype, view.extents()).on(exec_->device);
}

// While one piece is on its way, the next is copied by all threads: reading a mapped file's pages
// takes longer than the device does.
compute::Buffer OnDevice::upload(const void* data, int64_t bytes) {
  compute::Buffer memory = queue_->take(bytes);
  const auto* from = static_cast<const std::byte*>(data);
  std::array<compute::Buffer, 2> pinned;
  std::array<compute::EventPtr, 2> sent;
  for (int64_t at = 0, turn = 0; at < bytes; at += kUploadBytes, ++turn) {
    const auto slot = static_cast<size_t>(turn % 2);
    const int64_t size = std::min(kUploadBytes, bytes - at);
    if (!pinned[slot]) pinned[slot] = device().take_pinned(size);
    if (sent[slot]) sent[slot]->wait();
    compute::for_each(size, kStretch, [&](int64_t begin, int64_t end) {
      std::memcpy(pinned[slot].get() + begin, from + at + begin, static_cast<size_t>(end - begin));
    });
    queue_->copy(memory.get() + at, pinned[slot].get(), size);
    sent[slot] = queue_->record();
  }
  queue_->finish();
  return memory;
}

const AnglesOnDevice& OnDevice::angles(const compute::RopeTable& table, int64_t length,
                                       DLDataType dtype) {
  // Only "dynamic" scaling makes angles depend on the sequence's length.
  const bool dynamic = table.attrs.scaling == compute::RopeScaling::kDynamic;
  const int64_t positions = dynamic ? length : (length + kPositions - 1) / kPositions * kPositions;
  for (const Known& known : known_) {
    const bool enough = dynamic ? known.length == positions : known.length >= positions;
    if (enough && known.attrs == table.attrs && mopt::same(known.dtype, dtype)) return known.angles;
  }
  std::vector<int64_t> all(static_cast<size_t>(positions));
  std::iota(all.begin(), all.end(), int64_t{0});
  const compute::RopeAngles host =
      compute::rope_angles(table, compute::view_of(all.data(), kI64, {positions}), dtype);
  std::vector<float> both = host.cos;
  both.insert(both.end(), host.sin.begin(), host.sin.end());
  AnglesOnDevice made;
  made.memory = upload(both.data(), static_cast<int64_t>(both.size() * sizeof(float)));
  auto* at = reinterpret_cast<float*>(made.memory.get());
  made.cos = compute::view_of(at, kF32, {positions, host.half});
  made.sin = compute::view_of(at + host.cos.size(), kF32, {positions, host.half});
  known_.push_back({table.attrs, positions, dtype, std::move(made)});
  return known_.back().angles;
}

}  // namespace mopt::pipeline
