// What a run did, as plain data: `mopt/report.json` and the lines of `mopt/ledger.jsonl`.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/loader/components.hpp"
#include "host/recipe/diagnostic.hpp"

namespace mopt {

inline constexpr double kNotMeasured = NAN;  // becomes null

// The members carry the keys of report.json, in its order.
struct Report {
  struct Program {
    std::string version;
    int abi = MOPT_ABI_MAJOR;
    std::string commit;
  };
  struct Model {
    std::string path, adapter, architecture;
    uint64_t parameters = 0, bytes = 0;
  };
  struct Machine {
    std::string cpu;
    int cores = 0;
    std::string device, driver;
  };
  struct Calibration {
    std::string source;
    int64_t rows = 0, tokens = 0;
    std::string sha256;
  };
  struct Output {
    std::string path;
    uint64_t bytes = 0, tensors = 0;
    double bits_per_weight = kNotMeasured;
  };
  struct Seconds {
    double total = 0, read = 0, forward = 0, solve = 0, encode = 0, write = 0, verify = 0, eval = 0;
  };
  // What the run did when, in seconds since it began. `busy` counts the time in which at least one
  // thread, or the device, was at it; by the device's clock where it computed.
  struct Timeline {
    // Work of one unit, or of those from `unit` to `to`: what is close together is joined, so that
    // a lane has at most some 40 of them whatever the model's size; `busy` is the part of it that
    // was spent working.
    struct Span {
      std::string unit, to;  // empty: of none; of one
      std::string wait;      // of lane "wait": for "read", "device" or "write"
      double begin = 0, end = 0, busy = 0;
    };
    // "read", "hash", "copy in", "forward", "solve", "encode", "copy out", "write", "sync",
    // "verify", "eval", and "wait" of the loop's thread for others, in this order; without work it
    // is left out. Its spans follow each other.
    struct Lane {
      std::string name;
      double busy = 0;
      std::vector<Span> spans;
    };
    // By the loop's thread.
    struct Waited {
      double read = 0, device = 0, write = 0;
    };
    std::string text;  // what limited the run, a sentence; empty: nothing was left to do
    double loop_begin = 0, loop_end = 0;
    Waited waited;
    double device_busy = kNotMeasured;  // it computed, or copied out; not measured without one
    std::vector<Lane> lanes;
  };
  // Batches of calibration rows by where their activations rested between two blocks.
  struct Resting {
    int64_t batch_tokens = 0;
    uint64_t on_device = 0, pinned = 0, on_disk = 0;
  };
  struct Memory {
    uint64_t peak_bytes = 0;
    std::optional<uint64_t> limit_bytes, device_peak_bytes;
    std::optional<Resting> activations;  // absent: on the CPU, or the recipe needs no data
  };
  struct Layer {
    std::string name, role, scheme;
    std::vector<int64_t> shape;
    uint64_t bytes_before = 0, bytes_after = 0;
    double weight_error = kNotMeasured;  // ||Wq - W|| / ||W||
    double output_error = kNotMeasured;  // likewise for the layer's output, where a forward ran
  };
  struct Kept {
    std::string tensor, reason;
  };
  struct Expert {
    int64_t layer = 0, expert = 0, tokens = 0;
  };
  struct Verify {
    bool ok = false;
    std::string format;
    std::vector<EngineVerdict> engines;
    std::vector<Diagnostic> problems;
  };
  // One [[eval]]; measures that were not taken stay not measured.
  struct Eval {
    std::string id, kind, data;
    int64_t tokens = 0;
    double nll = kNotMeasured, perplexity = kNotMeasured;
    double reference_perplexity = kNotMeasured;
    double ratio = kNotMeasured, max_ratio = kNotMeasured;
    std::optional<bool> passed;  // absent: no gate
  };

  Program mopt;
  std::string recipe, command;
  Model model;
  Machine machine;
  std::optional<Calibration> calibration;  // absent: the recipe needs no data
  Output output;
  Seconds seconds;
  Memory memory;
  std::vector<Layer> layers;  // in the order of the model
  std::vector<Kept> kept;
  std::vector<Expert> experts;
  std::vector<Diagnostic> warnings;
  std::optional<Verify> verify;
  std::vector<Eval> eval;
  Timeline timeline;
};

// Indented, one layer or tensor a line; ends with a newline.
std::string to_json(const Report&);

enum class Fate { kQuantized, kCopied, kTransformed, kDropped };
std::string_view fate_name(Fate);

struct LedgerEntry {
  std::string tensor;
  Fate fate = Fate::kCopied;
  std::string rule;  // empty: none matched
  std::vector<std::string> outputs;
  std::string sha256;  // of the source's bytes; for kCopied of the output's too
  std::vector<std::string> outputs_xxh128;  // of the bytes of each output
};

// One line with its newline.
std::string to_json_line(const LedgerEntry&);
// What such a line says; nothing when it is none.
std::optional<LedgerEntry> ledger_entry(std::string_view json_line);

}  // namespace mopt
