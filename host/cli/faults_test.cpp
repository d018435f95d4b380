#include "host/cli/faults.hpp"

#include <doctest/doctest.h>

#include <new>
#include <stdexcept>

using namespace mopt;
using namespace mopt::cli;

namespace {

template <class T>
Verdict verdict_of(T fault) {
  return judge(std::make_exception_ptr(std::move(fault)));
}

}  // namespace

TEST_CASE("errors of models and data end with 3, with their place") {
  const Verdict v = verdict_of(Error(MOPT_NOT_FOUND, "there is no such file", "nowhere"));
  CHECK(v.exit == Exit::kModel);
  CHECK(format(v.diagnostics.at(0)) == "nowhere: error[M101]: there is no such file");
  for (const mopt_code code : {MOPT_UNSUPPORTED, MOPT_DATA_LOSS, MOPT_IO})
    CHECK(verdict_of(Error(code, "x", "y")).exit == Exit::kModel);
}

TEST_CASE("other errors end with the code that the contract gives them") {
  CHECK(verdict_of(Error(MOPT_INVALID_ARGUMENT, "x")).exit == Exit::kRecipe);
  CHECK(verdict_of(Error(MOPT_OUT_OF_MEMORY, "x")).exit == Exit::kResources);
  CHECK(verdict_of(Error(MOPT_DEVICE, "x")).exit == Exit::kResources);
  const Diagnostic fault = device_fault(Error(MOPT_DEVICE, "the device failed: x"), "NVIDIA H200");
  CHECK(format(fault) ==
        "error[R103]: NVIDIA H200: the device failed: x; try again, look at nvidia-smi when it "
        "stays so, or use --device cpu");
  CHECK(verdict_of(Error(MOPT_CANCELLED, "x")).exit == Exit::kInterrupted);
  CHECK(verdict_of(Error(MOPT_INTERNAL, "x")).exit == Exit::kBug);
  CHECK(verdict_of(Error(MOPT_FAILED_PRECONDITION, "x")).exit == Exit::kBug);
  CHECK(verdict_of(std::bad_alloc()).exit == Exit::kResources);
}

TEST_CASE("what nobody expected is a bug of ours with a request to report it") {
  const Verdict v = verdict_of(std::logic_error("vector::at"));
  CHECK(v.exit == Exit::kBug);
  CHECK(v.diagnostics.at(0).code == "X101");
  CHECK(v.diagnostics.at(0).remedy.find("report") != std::string::npos);
  CHECK(verdict_of(42).exit == Exit::kBug);
}

TEST_CASE("a failure keeps its diagnostics and its exit code") {
  Diagnostic d;
  d.code = "R105";
  d.message = "it exists";
  const Verdict v = verdict_of(Failure(d));
  CHECK(v.exit == Exit::kResources);
  CHECK(v.diagnostics.at(0).message == "it exists");
}

TEST_CASE("a place is told once") {
  CHECK(format(diagnostic_of(Error(MOPT_DATA_LOSS, "a/b: too short", "a/b"))) ==
        "a/b: error[M103]: too short");
}

TEST_CASE("a tensor's name is not taken for a file") {
  const Diagnostic d = diagnostic_of(Error(MOPT_DATA_LOSS, "short", "model.norm.weight"));
  CHECK(d.tensor == "model.norm.weight");
  CHECK(d.file.empty());
  CHECK(diagnostic_of(Error(MOPT_DATA_LOSS, "short", "dir/a.safetensors")).file ==
        "dir/a.safetensors");
}
