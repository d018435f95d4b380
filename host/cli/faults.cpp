#include "host/cli/faults.hpp"

#include "mopt/format.h"

#include <filesystem>
#include <new>

namespace mopt::cli {
namespace {

constexpr const char* kReport =
    "this is a bug of ours: please report it with the command and 'mopt-host --version'";

struct Row {
  mopt_code code;
  const char* diagnostic;
};

constexpr Row kRows[] = {
    {MOPT_INVALID_ARGUMENT, "E303"}, {MOPT_NOT_FOUND, "M101"}, {MOPT_UNSUPPORTED, "M102"},
    {MOPT_OUT_OF_MEMORY, "R101"},    {MOPT_CANCELLED, "I101"}, {MOPT_IO, "M101"},
    {MOPT_DATA_LOSS, "M103"},        {MOPT_DEVICE, "R103"},    {MOPT_ABI_MISMATCH, "P103"},
    {MOPT_EXECUTABLE, "M105"},       {MOPT_OUTSIDE, "M106"},
};

const char* code_of(mopt_code code) {
  for (const Row& row : kRows) {
    if (row.code == code) return row.diagnostic;
  }
  return "X101";
}

Diagnostic plain(const char* code, std::string message, std::string remedy) {
  Diagnostic d;
  d.code = code;
  d.message = std::move(message);
  d.remedy = std::move(remedy);
  return d;
}

Verdict one(Diagnostic d) {
  const Exit exit = Failure(d).exit();
  return {{std::move(d)}, exit};
}

}  // namespace

Diagnostic diagnostic_of(const Error& e) {
  Diagnostic d = plain(code_of(e.code()), e.what(), "");
  // A path has a slash, or is there; a tensor's name is not.
  std::error_code failed;
  const bool is_file = e.where().find('/') != std::string::npos ||
                       std::filesystem::exists(e.where(), failed) || d.code == "M101";
  (is_file ? d.file : d.tensor) = e.where();
  d.message = without_place(e.what(), d.file, d.tensor);
  if (d.code == "X101") d.remedy = kReport;
  return d;
}

Diagnostic device_fault(const Error& e, const std::string& device) {
  return plain("R103", device + ": " + e.what(),
               "try again, look at nvidia-smi when it stays so, or use --device cpu");
}

Verdict judge(std::exception_ptr fault) {
  try {
    std::rethrow_exception(fault);
  } catch (const Failure& f) {
    return {f.diagnostics(), f.exit()};
  } catch (const Error& e) {
    return one(diagnostic_of(e));
  } catch (const std::bad_alloc&) {
    return one(plain("R101", "this process got no more memory",
                     "close other programs, or ask for less with fewer samples or a shorter "
                     "seq_len"));
  } catch (const std::exception& e) {
    return one(plain("X101", e.what(), kReport));
  } catch (...) {
    return one(plain("X101", "an exception of unknown type", kReport));
  }
}

}  // namespace mopt::cli
