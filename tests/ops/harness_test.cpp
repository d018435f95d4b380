#include "tests/ops/harness.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/emulated_device/emulated_device.hpp"

namespace mopt::ops {
namespace {

HostTensor floats(std::initializer_list<float> values) {
  HostTensor out(kF32, {static_cast<int64_t>(values.size())});
  std::memcpy(out.bytes.data(), std::data(values), out.bytes.size());
  return out;
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Runs fn over operands on a target; what the harness finds wrong around them.
std::string damage_of(const Target& target, Role role,
                      const std::function<void(std::byte* at)>& fn) {
  const Operand operand{role, floats({1, 2, 3}), 1};
  const Placed placed(target, {&operand, 1});
  fn(static_cast<std::byte*>(placed.views()[0].data));
  std::string damage;
  placed.results(damage);
  return damage;
}

}  // namespace

TEST_CASE("without a tolerance the sign of zero counts, and NaN equals NaN of other bits") {
  CHECK(compare(floats({0.0f}), floats({-0.0f}), 0, 0) != "");
  CHECK(compare(floats({kNan}), floats({-kNan}), 0, 0) == "");
  CHECK(compare(floats({1.0f}), floats({std::nextafter(1.0f, 2.0f)}), 0, 0) != "");
}

TEST_CASE("NaN and infinities have to be where the reference has them, whatever the tolerance") {
  CHECK(compare(floats({kNan}), floats({1}), 10, 10) != "");
  CHECK(compare(floats({1}), floats({kNan}), 10, 10) != "");
  CHECK(compare(floats({kInfinity}), floats({1}), 10, 10) != "");
  CHECK(compare(floats({kInfinity}), floats({-kInfinity}), 10, 10) != "");
  CHECK(compare(floats({1}), floats({kInfinity}), 10, 10) != "");
  CHECK(compare(floats({kInfinity}), floats({kInfinity}), 1e-6f, 0) == "");
}

TEST_CASE("the worst element is named, and how many are wrong") {
  CHECK(compare(floats({1, 2, 3, 4}), floats({1, 2.5f, 3, 8}), 0, 0.1f) ==
        "2 of 4 differ; [3]: found 4, expected 8");
  CHECK(compare(floats({1, 2}), floats({1.05f, 2}), 0, 0.1f) == "");
}

TEST_CASE("a write before or behind an operand, or into an input, is found") {
  const Target cpu;
  CHECK(damage_of(cpu, Role::kIn, [](std::byte*) {}) == "");
  CHECK(damage_of(cpu, Role::kOut, [](std::byte* at) { at[0] = std::byte{0}; }) == "");
  CHECK(damage_of(cpu, Role::kIn, [](std::byte* at) { at[0] = std::byte{7}; }) ==
        "operand 0, an input, changed");
  CHECK(damage_of(cpu, Role::kOut, [](std::byte* at) { at[12] = std::byte{7}; }) ==
        "operand 0: something was written behind it");
  CHECK(damage_of(cpu, Role::kOut, [](std::byte* at) { at[-1] = std::byte{7}; }) ==
        "operand 0: something was written before its start");
}

TEST_CASE("the same is found in memory of a device") {
  compute::test::EmulatedDevice device;
  compute::test::EmulatedQueue queue(device);
  const Target target{"emulated", &queue};
  for (const int64_t i : {-1, 12}) {
    const std::string found = damage_of(target, Role::kOut, [&](std::byte* at) {
      queue.submit([at, i] { at[i] = std::byte{7}; });
    });
    CHECK(found.find("something was written") != std::string::npos);
  }
}

TEST_CASE("special content holds NaN, infinities and zeros of both signs; not finite only those") {
  for (const Content content : {Content::kSpecial, Content::kNotFinite}) {
    const HostTensor t = filled(kBf16, {4000}, {content, 3, 1.0f, 10});
    int nan = 0, infinite = 0, zero = 0;
    for (int64_t i = 0; i < 4000; ++i) {
      const float x = value_at(t, i);
      nan += std::isnan(x);
      infinite += std::isinf(x);
      zero += x == 0 && std::signbit(x);
    }
    CHECK(nan > 10);
    CHECK(infinite > 10);
    CHECK((zero > 10) == (content == Content::kSpecial));
  }
}

TEST_CASE("indices reach both ends of their range and stay within") {
  const HostTensor t = indices({100}, 7, 5);
  std::array<int, 7> seen{};
  for (size_t i = 0; i < 100; ++i) {
    int64_t index = 0;
    std::memcpy(&index, t.bytes.data() + 8 * i, 8);
    REQUIRE(index >= 0);
    REQUIRE(index < 7);
    ++seen[static_cast<size_t>(index)];
  }
  CHECK(seen[0] > 0);
  CHECK(seen[6] > 0);
}

TEST_CASE("every op has a kernel somewhere, problems, and a layer to be timed at") {
  for (const Op& op : all_ops()) {
    CAPTURE(op.name);
    const size_t kernels =
        op.on_cpu().size() + op.on_device(compute::test::reference_kernels()).size();
    CHECK(kernels > 0);
    int problems = 0;
    op.problems({Extent::kQuick, 1}, [&](const Case& c) { problems += !c.operands.empty(); });
    CHECK(problems > 4);
  }
  // An op that a device has and this list has not would not be tested.
  size_t tables = 0, listed = 0;
  compute::for_each_table(compute::test::reference_kernels(), [&](const auto&) { ++tables; });
  for (const Op& op : all_ops())
    listed += !op.on_device(compute::test::reference_kernels()).empty();
  CHECK(listed == tables);
}

}  // namespace mopt::ops
