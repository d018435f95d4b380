// Operands in the memory of a target.
#include <algorithm>
#include <cstring>

#include "tests/ops/harness.hpp"

namespace mopt::ops {
namespace {

constexpr int64_t kGuard = 256;
constexpr std::byte kPoison{0xFF}, kGuardByte{0xA7};

int64_t size_of(const Operand& operand) {
  return static_cast<int64_t>(operand.tensor.bytes.size());
}
// Where the elements begin, behind the first guard.
int64_t offset_of(const Operand& operand) {
  return kGuard + operand.shift * operand.tensor.dtype.bits / 8;
}
int64_t room_of(const Operand& operand) {
  return offset_of(operand) + size_of(operand) + kGuard;
}

compute::Buffer host_memory(int64_t bytes) {
  const auto rounded = static_cast<size_t>((bytes + 255) / 256 * 256);
  return compute::Buffer(static_cast<std::byte*>(std::aligned_alloc(256, rounded)),
                         [](std::byte* p) { std::free(p); });
}

void write_image(const Operand& operand, std::byte* to) {
  std::memset(to, static_cast<int>(kGuardByte), static_cast<size_t>(room_of(operand)));
  std::byte* at = to + offset_of(operand);
  if (operand.role == Role::kOut) {
    std::memset(at, static_cast<int>(kPoison), operand.tensor.bytes.size());
  } else {
    std::copy(operand.tensor.bytes.begin(), operand.tensor.bytes.end(), at);
  }
}

bool all_guard(const std::byte* from, const std::byte* to) {
  return std::all_of(from, to, [](std::byte b) { return b == kGuardByte; });
}

}  // namespace

Placed::Placed(const Target& target, std::span<const Operand> operands)
    : target_(target), operands_(operands.begin(), operands.end()) {
  std::vector<compute::Buffer> staged;
  for (const Operand& operand : operands_) {
    const int64_t room = room_of(operand);
    if (target.queue == nullptr) {
      memory_.push_back(host_memory(room));
      write_image(operand, memory_.back().get());
    } else {
      staged.push_back(target.queue->device().take_pinned(room));
      write_image(operand, staged.back().get());
      memory_.push_back(target.queue->take(room));
      target.queue->copy(memory_.back().get(), staged.back().get(), room);
    }
    View view = operand.tensor.view();
    view.data = memory_.back().get() + offset_of(operand);
    views_.push_back(view);
  }
  if (target.queue != nullptr) target.queue->finish();
}

std::vector<HostTensor> Placed::results(std::string& damage) const {
  std::vector<HostTensor> out;
  for (size_t i = 0; i < operands_.size(); ++i) {
    const Operand& operand = operands_[i];
    const int64_t room = room_of(operand);
    compute::Buffer image = memory_[i];
    if (target_.queue != nullptr) {
      image = target_.queue->device().take_pinned(room);
      target_.queue->copy(image.get(), memory_[i].get(), room);
      target_.queue->finish();
    }
    const std::byte* at = image.get() + offset_of(operand);
    const std::byte* end = at + size_of(operand);
    const std::string which = "operand " + std::to_string(i);
    if (!all_guard(image.get(), at)) damage = which + ": something was written before its start";
    if (!all_guard(end, image.get() + room)) damage = which + ": something was written behind it";
    if (operand.role == Role::kIn) {
      if (!std::equal(at, end, operand.tensor.bytes.begin()))
        damage = which + ", an input, changed";
      continue;
    }
    HostTensor result(operand.tensor.dtype, operand.tensor.shape);
    std::copy(at, end, result.bytes.begin());
    out.push_back(std::move(result));
  }
  return out;
}

std::vector<HostTensor> expected_of(const Op& op, const Case& c) {
  const Placed placed({}, c.operands);
  if (c.expect) {
    c.expect(placed.views());
  } else {
    Options options;
    options.forced = {std::string(op.name) + ".reference"};
    c.run(placed.views(), options);
  }
  std::string damage;
  std::vector<HostTensor> results = placed.results(damage);
  if (!damage.empty()) throw Error(MOPT_INTERNAL, "the reference of " + c.label + ": " + damage);
  return results;
}

std::string judge(const Case& c, std::span<const HostTensor> got,
                  std::span<const HostTensor> expected) {
  if (c.judge) return c.judge(got, expected);
  for (size_t i = 0; i < expected.size(); ++i) {
    const std::string what = compare(got[i], expected[i], c.relative, c.absolute);
    if (!what.empty()) return what;
  }
  return {};
}

}  // namespace mopt::ops
