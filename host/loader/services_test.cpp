#include "host/loader/services.hpp"

#include <doctest/doctest.h>

#include <limits>

namespace mopt {
namespace {

TEST_CASE("a tensor of the host is contiguous, row-major and aligned for every kernel") {
  const Tensor t = allocate(kBf16, {3, 5, 7});
  CHECK(reinterpret_cast<uintptr_t>(t.data<void>()) % 256 == 0);
  CHECK(t.get()->strides[0] == 35);
  CHECK(t.get()->strides[1] == 7);
  CHECK(t.get()->strides[2] == 1);
  CHECK(nbytes(*t) == 210);
}

TEST_CASE("a tensor without axes has one element, one with a zero extent has none") {
  CHECK(nbytes(*allocate(kF32, {})) == 4);
  const Tensor none = allocate(kF32, {0, 9});
  CHECK(nbytes(*none) == 0);
  CHECK(none.data<void>() != nullptr);
}

TEST_CASE("extents whose product overflows are refused, whatever stands between them") {
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  for (const auto& shape : {std::vector<int64_t>{kHuge, 2}, {kHuge / 2, 3, 2}, {1LL << 62, 1}}) {
    CAPTURE(shape_text(shape));
    CHECK_THROWS_AS(allocate(kF32, shape), Error);
  }
  CHECK_THROWS_AS(allocate(kF32, {-1}), Error);
}

TEST_CASE("a service is found by its id, and only by it") {
  Services services("1.2.3", {});
  const mopt_host* host = services.host();
  CHECK(std::string(host->version) == "1.2.3");
  CHECK(host->get_service(host, "mopt.nothing/1") == nullptr);
  const uint32_t table = sizeof(table);
  services.install("mopt.nothing/1", &table);
  CHECK(host->get_service(host, "mopt.nothing/1") == &table);
}

TEST_CASE("the memory service answers errors instead of throwing them") {
  Services services("", {});
  const mopt_host* host = services.host();
  const auto* memory =
      static_cast<const mopt_memory*>(host->get_service(host, MOPT_MEMORY_SERVICE));
  REQUIRE(memory != nullptr);
  const int64_t good[] = {2, 3}, bad[] = {-2, 3};
  DLManagedTensorVersioned* out = nullptr;
  REQUIRE(memory->alloc(services.cpu(), kF32, 2, good, &out) == nullptr);
  CHECK(nbytes(*Tensor(out)) == 24);
  mopt_error* error = memory->alloc(services.cpu(), kF32, 2, bad, &out);
  REQUIRE(error != nullptr);
  CHECK(error->code == MOPT_INVALID_ARGUMENT);
  error->release(error);
  mopt_exec cuda = *services.cpu();
  cuda.device = {kDLCUDA, 0};
  error = memory->alloc(&cuda, kF32, 2, good, &out);
  REQUIRE(error != nullptr);
  CHECK(error->code == MOPT_UNSUPPORTED);
  error->release(error);
}

TEST_CASE("a log sink that throws does not take the plugin's call with it") {
  std::string seen;
  Services services("", [&](mopt_log_level level, std::string_view component, std::string_view m) {
    seen = std::to_string(level) + " " + std::string(component) + " " + std::string(m);
    throw std::runtime_error("the terminal is gone");
  });
  const mopt_host* host = services.host();
  host->log(host, MOPT_LOG_WARN, str("nvfp4"), str("all zero"));
  CHECK(seen == "2 nvfp4 all zero");
}

}  // namespace
}  // namespace mopt
