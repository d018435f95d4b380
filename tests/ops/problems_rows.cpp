// rms_norm, rope, kv_append, divergence, nll: each row by itself.
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "tests/ops/problems.hpp"

namespace mopt::ops {
namespace {

struct Rows {
  DLDataType dtype;
  int64_t rows, columns;
  Content content = Content::kNoise;
  int64_t shift = 0;
};

enum class Place { kApart, kSame };

Case rms_norm_case(const Rows& r, uint64_t seed, Place place = Place::kApart) {
  Case c;
  c.label = Label{"", r.dtype, {r.rows, r.columns}, r.content, r.shift}.text();
  const HostTensor x = filled(r.dtype, {r.rows, r.columns},
                              {r.content, seed, 1.0f, 3 * std::max<int64_t>(1, r.columns)});
  const Operand weight = in(filled(r.dtype, {r.columns}, {Content::kNoise, seed + 100}), r.shift);
  if (place == Place::kSame) {
    c.label += " in place";
    c.operands = {weight, in_out(x, r.shift)};
  } else {
    c.operands = {weight, in(x, r.shift), out(r.dtype, {r.rows, r.columns}, r.shift)};
  }
  const size_t y = c.operands.size() - 1;
  c.operands.insert(c.operands.end(), {range_parts(), range_parts()});
  c.run = [y](std::span<const View> v, const Options& options) {
    const bool parts = options.queue != nullptr;
    compute::rms_norm({v[1], v[0], 1e-5f, v[y], parts ? v[y + 1].as<uint32_t>() : nullptr},
                      options);
    if (parts) compute::range({v[y], v[y + 2].as<uint32_t>()}, options);
  };
  const compute::Tolerance t = compute::tolerance("rms_norm", r.dtype);
  c.judge = [t](std::span<const HostTensor> got, std::span<const HostTensor> expected) {
    const std::string wrong = compare(got[0], expected[0], t.relative, t.absolute);
    return wrong.empty() ? judge_range(got[1], got[2]) : wrong;
  };
  return c;
}

struct Tokens {
  DLDataType dtype;
  int64_t batch, t, heads, d, half;
  Content content = Content::kNoise;
  int64_t shift = 0;
};

constexpr int64_t kPositions = 64;

// The angles of the tokens' positions, as the CPU's kernels take them.
compute::RopeAngles angles_of(const View& cos, const View& sin, const View& positions) {
  compute::RopeAngles angles;
  angles.half = cos.columns();
  for (int64_t i = 0; i < positions.elements(); ++i) {
    const int64_t at = positions.as<int64_t>()[i] * angles.half;
    for (int64_t k = at; k < at + angles.half; ++k) {
      angles.cos.push_back(cos.as<float>()[k]);
      angles.sin.push_back(sin.as<float>()[k]);
    }
  }
  return angles;
}

HostTensor table(int64_t rows, int64_t half, double (*fn)(double)) {
  HostTensor out(kF32, {rows, half});
  for (int64_t i = 0; i < rows * half; ++i) {
    const double angle = static_cast<double>(i / half) *
                         std::pow(1e4, -static_cast<double>(i % half) / static_cast<double>(half));
    const auto value = static_cast<float>(fn(angle));
    std::memcpy(out.bytes.data() + i * 4, &value, sizeof(value));
  }
  return out;
}

Case rope_case(const Tokens& k, uint64_t seed, Place place = Place::kApart) {
  Case c;
  const std::vector<int64_t> shape{k.batch, k.t, k.heads, k.d};
  c.label =
      Label{"of " + std::to_string(2 * k.half) + " in", k.dtype, shape, k.content, k.shift}.text();
  const int64_t positions = std::max(kPositions, k.t);
  const HostTensor x = filled(k.dtype, shape, {k.content, seed});
  c.operands = {in(table(positions, k.half, [](double a) { return std::cos(a); })),
                in(table(positions, k.half, [](double a) { return std::sin(a); })),
                in(indices({k.batch, k.t}, positions, seed))};
  if (place == Place::kSame) {
    c.label += " in place";
    c.operands.push_back(in_out(x, k.shift));
  } else {
    c.operands.push_back(in(x, k.shift));
    c.operands.push_back(out(k.dtype, shape, k.shift));
  }
  c.run = [](std::span<const View> v, const Options& options) {
    if (options.queue != nullptr) {
      return compute::rope(compute::RopeLookup{v[3], v[0], v[1], v[2], v.back()}, options);
    }
    const compute::RopeAngles angles = angles_of(v[0], v[1], v[2]);
    compute::rope(compute::RopeProblem{v[3], &angles, v.back()}, options);
  };
  set_tolerance(c, "rope", k.dtype);
  return c;
}

struct Append {
  DLDataType dtype;
  int64_t batch, t, s, heads, d, shift = 0;
};

// Positions of a row follow each other; rows begin at different ones.
Case kv_append_case(const Append& a, uint64_t seed) {
  Case c;
  const std::vector<int64_t> shape{a.batch, a.t, a.heads, a.d}, cache{a.batch, a.s, a.heads, a.d};
  c.label =
      Label{"into " + std::to_string(a.s) + " positions", a.dtype, shape, Content::kNoise, a.shift}
          .text();
  HostTensor positions(kI64, {a.batch, a.t});
  for (int64_t i = 0; i < a.batch * a.t; ++i)
    positions.view().as<int64_t>()[i] = i / a.t % (a.s - a.t + 1) + i % a.t;
  c.operands = {in(filled(a.dtype, shape, {Content::kSpecial, seed}), a.shift),
                in(filled(a.dtype, shape, {Content::kSpecial, seed + 100}), a.shift), in(positions),
                in_out(filled(a.dtype, cache, {Content::kSpecial, seed + 200}), a.shift),
                in_out(filled(a.dtype, cache, {Content::kSpecial, seed + 300}), a.shift)};
  c.run = [](std::span<const View> v, const Options& options) {
    compute::kv_append({v[0], v[1], v[2], v[3], v[4]}, options);
  };
  c.bytes = 4 * static_cast<double>(c.operands[0].tensor.bytes.size());
  set_tolerance(c, "kv_append", a.dtype);
  return c;
}

Case nll_case(const Rows& r, uint64_t seed) {
  Case c;
  c.label = Label{"", r.dtype, {r.rows, r.columns}, r.content, r.shift}.text();
  c.operands = {
      in(filled(r.dtype, {r.rows, r.columns}, {r.content, seed, 8.0f, 3 * r.columns}), r.shift),
      in(indices({r.rows}, r.columns, seed)), out(kF64, {r.rows})};
  c.run = [](std::span<const View> v, const Options& options) {
    if (options.queue != nullptr) return compute::nll({v[0], v[1], v[2]}, options);
    const std::span targets(v[1].as<int64_t>(), static_cast<size_t>(v[1].elements()));
    const std::vector<double> found = compute::nll(v[0], targets, options);
    std::copy(found.begin(), found.end(), v[2].as<double>());
  };
  // Logits of magnitude 8 in place of 1.
  set_tolerance(c, "nll", r.dtype, 8);
  return c;
}

Case divergence_case(const Rows& r, uint64_t seed) {
  Case c;
  c.label = Label{"", r.dtype, {r.rows, r.columns}, r.content, r.shift}.text();
  for (const uint64_t each : {seed, seed + 100}) {
    c.operands.push_back(
        in(filled(r.dtype, {r.rows, r.columns}, {r.content, each, 8.0f, 3 * r.columns}), r.shift));
  }
  c.operands.push_back(out(kF64, {r.rows, 2}));
  c.run = [](std::span<const View> v, const Options& options) {
    compute::divergence({v[0], v[1], v[2]}, options);
  };
  set_tolerance(c, "divergence", r.dtype, 8);
  return c;
}

}  // namespace

void rms_norm_problems(const Problems& p, const Emit& emit) {
  for (const DLDataType dtype : {kF32, kBf16}) {
    for (const int64_t columns : awkward_columns(p.extent)) {
      if (columns == 0) continue;
      emit(rms_norm_case({dtype, 3, columns}, p.seed));
      emit(rms_norm_case({dtype, 3, columns, Content::kNoise, 1}, p.seed));
    }
    emit(rms_norm_case({dtype, 0, 64}, p.seed));
    emit(rms_norm_case({dtype, 33, 576}, p.seed));
    emit(rms_norm_case({dtype, 2, 5120}, p.seed));
    emit(rms_norm_case({dtype, 2, 16400}, p.seed));
    for (const Content content : {Content::kSpecial, Content::kLarge, Content::kSmall}) {
      emit(rms_norm_case({dtype, 12, 1024, content}, p.seed));
      emit(rms_norm_case({dtype, 12, 1001, content, 1}, p.seed));
    }
    emit(rms_norm_case({dtype, 5, 4096}, p.seed, Place::kSame));
    emit(rms_norm_case({dtype, 5, 4095, Content::kNoise, 1}, p.seed, Place::kSame));
  }
}
void rms_norm_layer(const Emit& emit) {
  for (const auto& [tokens, cols] : {std::pair{kBatchTokens, kC}, std::pair{kManyTokens, kWideC}}) {
    Case c = rms_norm_case({kBf16, tokens, cols}, 1);
    c.operands.pop_back();
    c.bytes = 2.0 * static_cast<double>(c.operands[1].tensor.bytes.size());
    for (const bool ranged : {false, true}) {
      c.run = [ranged](std::span<const View> v, const Options& options) {
        const bool parts = ranged && options.queue != nullptr;
        compute::rms_norm({v[1], v[0], 1e-5f, v[2], parts ? v[3].as<uint32_t>() : nullptr},
                          options);
      };
      const std::string label = "bf16 " + shape_text(std::array{tokens, cols});
      emit_layer(emit, c, ranged ? "with range " + label : label);
    }
  }
}

void rope_problems(const Problems& p, const Emit& emit) {
  for (const DLDataType dtype : {kF32, kBf16}) {
    for (const Tokens& k :
         {Tokens{dtype, 2, 5, 4, 64, 32}, Tokens{dtype, 1, 1, 1, 2, 1},
          Tokens{dtype, 1, 7, 3, 20, 5}, Tokens{dtype, 3, 4, 9, 128, 64},
          Tokens{dtype, 1, 3, 2, 33, 16}, Tokens{dtype, 0, 3, 2, 16, 8},
          Tokens{dtype, 2, 0, 2, 16, 8}, Tokens{dtype, 2, 5, 4, 64, 32, Content::kNoise, 1},
          Tokens{dtype, 2, 9, 4, 64, 32, Content::kSpecial},
          Tokens{dtype, 2, 9, 4, 80, 20, Content::kLarge, 1}}) {
      emit(rope_case(k, p.seed));
    }
    emit(rope_case({dtype, 2, 5, 4, 64, 24}, p.seed, Place::kSame));
  }
}
void rope_layer(const Emit& emit) {
  emit_layer(emit, rope_case({kBf16, kBatchTokens / kT, kT, kH, kD, kD / 2}, 1),
             "bf16 [16, 512, 32, 128]");
  emit_layer(emit, rope_case({kBf16, kManyTokens / kT, kT, kWideC / kD, kD, kD / 2}, 1),
             "bf16 [64, 512, 64, 128]");
}

void kv_append_problems(const Problems& p, const Emit& emit) {
  for (const DLDataType dtype : {kF32, kBf16}) {
    for (const Append& a : {Append{dtype, 3, 1, 9, 2, 64}, Append{dtype, 1, 7, 7, 1, 16},
                            Append{dtype, 2, 3, 11, 3, 17}, Append{dtype, 4, 1, 1, 1, 1},
                            Append{dtype, 0, 1, 4, 2, 8}, Append{dtype, 2, 0, 4, 2, 8},
                            Append{dtype, 2, 5, 8, 8, 128}, Append{dtype, 2, 5, 8, 2, 64, 1}}) {
      emit(kv_append_case(a, p.seed));
    }
  }
}
void kv_append_layer(const Emit& emit) {
  emit_layer(emit, kv_append_case({kBf16, kT, 1, kT, kK, kD}, 1), "bf16 [512, 1, 8, 128]");
  emit_layer(emit, kv_append_case({kBf16, kBatchTokens / kT, kT, kT, kK, kD}, 1),
             "bf16 [16, 512, 8, 128]");
}

void divergence_problems(const Problems& p, const Emit& emit) {
  for (const DLDataType dtype : {kF32, kBf16}) {
    for (const int64_t columns : awkward_columns(p.extent)) {
      if (columns == 0) continue;
      emit(divergence_case({dtype, 3, columns}, p.seed));
      emit(divergence_case({dtype, 2, columns, Content::kNoise, 1}, p.seed));
    }
    emit(divergence_case({dtype, 0, 100}, p.seed));
    emit(divergence_case({dtype, 20, 1000, Content::kSpecial}, p.seed));
    emit(divergence_case({dtype, 20, 4097, Content::kSpecial, 1}, p.seed));
  }
}
void divergence_layer(const Emit& emit) {
  emit_layer(emit, divergence_case({kBf16, kT, kV}, 1), "bf16 [512, 128256]");
}

void nll_problems(const Problems& p, const Emit& emit) {
  for (const DLDataType dtype : {kF32, kBf16}) {
    for (const int64_t columns : awkward_columns(p.extent)) {
      if (columns == 0) continue;
      emit(nll_case({dtype, 3, columns}, p.seed));
      emit(nll_case({dtype, 2, columns, Content::kNoise, 1}, p.seed));
    }
    emit(nll_case({dtype, 0, 100}, p.seed));
    emit(nll_case({dtype, 20, 1000, Content::kSpecial}, p.seed));
    emit(nll_case({dtype, 20, 4097, Content::kSpecial, 1}, p.seed));
  }
}
void nll_layer(const Emit& emit) {
  emit_layer(emit, nll_case({kBf16, kT, kV}, 1), "bf16 [512, 128256]");
}

}  // namespace mopt::ops
