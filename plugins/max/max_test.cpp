#include "mopt/calibrator.hpp"
#include "tests/fake_host.hpp"

namespace mopt::test {
namespace {

struct Calibrator {
  Calibrator() : vtable(static_cast<const mopt_calibrator*>(component().vtable)) {
    check(vtable->create(host.host(), nullptr, 0, &self));
  }
  ~Calibrator() { vtable->destroy(self); }
  static const mopt_component& component() {
    return component_named(*mopt_plugin_entry_v0(), "max");
  }
  FakeHost host;
  const mopt_calibrator* vtable;
  mopt_instance* self = nullptr;
  mopt_site site{sizeof(mopt_site), MOPT_OPERAND_INPUT, {"a:input", 7}, {"attn.q", 6}, nullptr, 64};
};

}  // namespace

TEST_CASE("max asks for absmax alone") {
  const Calibrator c;
  std::vector<std::string> wanted;
  check(c.vtable->plan(c.self, &c.site,
                       {&wanted, [](void* ctx, mopt_str stat) noexcept {
                          static_cast<std::vector<std::string>*>(ctx)->emplace_back(view(stat));
                          return static_cast<mopt_error*>(nullptr);
                        }}));
  CHECK(wanted == std::vector<std::string>{"absmax"});
  CHECK(std::string(Calibrator::component().interface_id) == MOPT_CALIBRATOR_INTERFACE);
}

TEST_CASE("max returns the statistic as the range, and refuses any other") {
  const Calibrator c;
  const float seen = 3.25f;
  const TensorRef tensor(&seen, kF32, {});
  float range = 0;
  const mopt_range_sink sink{&range, [](void* ctx, float absmax) noexcept {
                               *static_cast<float*>(ctx) = absmax;
                               return static_cast<mopt_error*>(nullptr);
                             }};
  const mopt_named_tensor stat{{"absmax", 6}, tensor.get()};
  check(c.vtable->solve(c.self, c.host.exec(), &c.site, &stat, 1, sink));
  CHECK(range == seen);
  const mopt_named_tensor other{{"mean", 4}, tensor.get()};
  CHECK_THROWS_AS(check(c.vtable->solve(c.self, c.host.exec(), &c.site, &other, 1, sink)), Error);
}

}  // namespace mopt::test
