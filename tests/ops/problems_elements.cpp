// activation, cast, elementwise, gate, embedding: element by element, or row by row without
// arithmetic.
#include "host/compute/cast/cast.hpp"
#include "tests/ops/problems.hpp"

namespace mopt::ops {
namespace {

using compute::Activation;
using compute::Elementwise;

enum class Place { kApart, kSame };

struct Elements {
  DLDataType dtype;
  int64_t n;
  Content content;
  int64_t shift;
  uint64_t seed;
  Place place = Place::kApart;
};

// Every length with and without a shift, every content, in place too.
void for_each_elements(const Problems& p, std::initializer_list<DLDataType> dtypes,
                       const std::function<void(const Elements&)>& fn) {
  for (const DLDataType dtype : dtypes) {
    for (const int64_t n : awkward_columns(p.extent)) {
      for (const int64_t shift : {0, 1})
        fn({dtype, n, Content::kNoise, shift, p.seed});
    }
    for (const Content content : {Content::kSpecial, Content::kLarge, Content::kSmall}) {
      for (const int64_t shift : {0, 3})
        fn({dtype, 4097, content, shift, p.seed});
    }
    fn({dtype, 4096, Content::kNoise, 0, p.seed, Place::kSame});
    fn({dtype, 4099, Content::kNoise, 1, p.seed, Place::kSame});
  }
}

std::string label_of(std::string_view what, const Elements& e) {
  return Label{what, e.dtype, {e.n}, e.content, e.shift}.text() +
         (e.place == Place::kSame ? " in place" : "");
}

struct GateViews {
  View x, up, y;
  View halves;                 // of activation and mul
  View parts, parts_of_range;  // of y's range, by gate and by range
};

constexpr std::pair<std::string_view, Activation> kActivations[] = {
    {"silu", Activation::kSilu},
    {"gelu", Activation::kGelu},
    {"gelu_tanh", Activation::kGeluTanh},
    {"relu", Activation::kRelu}};

Case activation_case(std::string_view name, Activation kind, const Elements& e) {
  Case c;
  c.label = label_of(name, e);
  const HostTensor x = filled(e.dtype, {e.n}, {e.content, e.seed, 4.0f});
  if (e.place == Place::kSame) {
    c.operands = {in_out(x, e.shift)};
  } else {
    c.operands = {in(x, e.shift), out(e.dtype, {e.n}, e.shift)};
  }
  c.run = [kind](std::span<const View> v, const Options& options) {
    compute::activation({kind, v.front(), v.back()}, options);
  };
  set_tolerance(c, "activation", e.dtype);
  return c;
}

Case elementwise_case(Elementwise kind, const Elements& e) {
  Case c;
  c.label = label_of(kind == Elementwise::kAdd ? "add" : "mul", e);
  const HostTensor a = filled(e.dtype, {e.n}, {e.content, e.seed, 4.0f});
  const HostTensor b = filled(e.dtype, {e.n}, {e.content, e.seed + 100, 4.0f});
  if (e.place == Place::kSame) {
    c.operands = {in_out(a, e.shift), in(b, e.shift)};
  } else {
    c.operands = {in(a, e.shift), in(b, e.shift), out(e.dtype, {e.n}, e.shift)};
  }
  const size_t y = e.place == Place::kSame ? 0 : 2;
  c.run = [kind, y](std::span<const View> v, const Options& options) {
    const auto op = kind == Elementwise::kAdd ? compute::add : compute::mul;
    op(v[0], v[1], v[y], options);
  };
  set_tolerance(c, "elementwise", e.dtype);
  return c;
}

// gate and what its two halves make of the same, by kernels of the same kind: "gate.cuda",
// "activation.cuda", "elementwise.cuda".
void run_both(Activation kind, const GateViews& v, const Options& options) {
  Options halves = options;
  for (const std::string& name : options.forced) {
    const std::string kernel = name.substr(name.find('.'));
    halves.forced.insert(halves.forced.end(), {"activation" + kernel, "elementwise" + kernel});
  }
  compute::activation({kind, v.x, v.halves}, halves);
  compute::mul(v.halves, v.up, v.halves, halves);
  const bool parts = options.queue != nullptr;
  compute::gate({kind, v.x, v.up, v.y, parts ? v.parts.as<uint32_t>() : nullptr}, options);
  if (parts) compute::range({v.y, v.parts_of_range.as<uint32_t>()}, options);
}

Case gate_case(std::string_view name, Activation kind, const Elements& e) {
  Case c;
  c.label = label_of(name, e);
  const Operand x{Role::kIn, filled(e.dtype, {e.n}, {e.content, e.seed, 4.0f}), e.shift};
  const Operand up = in(filled(e.dtype, {e.n}, {e.content, e.seed + 100, 4.0f}), e.shift);
  const Operand y = out(e.dtype, {e.n}, e.shift);
  if (e.place == Place::kSame) {
    c.operands = {up, in_out(x.tensor, e.shift)};
  } else {
    c.operands = {up, x, y};
  }
  const size_t at = c.operands.size() - 1;
  c.operands.insert(c.operands.end(), {y, range_parts(), range_parts()});
  c.run = [kind, at](std::span<const View> v, const Options& options) {
    run_both(kind, {v[1], v[0], v[at], v[at + 1], v[at + 2], v[at + 3]}, options);
  };
  // The error of the activation grows with the other factor: of large ones only the halves tell.
  const bool bounded = e.content == Content::kNoise || e.content == Content::kSmall;
  const compute::Tolerance t = compute::tolerance("gate", e.dtype);
  c.judge = [t, bounded](std::span<const HostTensor> got, std::span<const HostTensor> expected) {
    std::string wrong;
    if (bounded) wrong = compare(got[0], expected[0], t.relative, t.absolute);
    if (wrong.empty() && got[0].bytes != got[1].bytes)
      wrong = "other bits than of activation and mul";
    return wrong.empty() ? judge_range(got[2], got[3]) : wrong;
  };
  return c;
}

Case cast_case(DLDataType to, const Elements& e) {
  Case c;
  c.label = label_of("to " + dtype_name(to) + " from", e);
  c.operands = {in(filled(e.dtype, {e.n}, {e.content, e.seed, 4.0f}), e.shift),
                out(to, {e.n}, e.shift)};
  c.run = [](std::span<const View> v, const Options& options) {
    compute::cast(v[0], v[1], options);
  };
  return c;
}

struct Rows {
  DLDataType dtype;
  int64_t rows, vocabulary, columns;
  Content content = Content::kNoise;
  int64_t shift = 0;
};

Case embedding_case(const Rows& r, uint64_t seed) {
  Case c;
  c.label = Label{"ids " + std::to_string(r.rows) + " of",
                  r.dtype,
                  {r.vocabulary, r.columns},
                  r.content,
                  r.shift}
                .text();
  c.operands = {in(indices({r.rows}, r.vocabulary, seed)),
                in(filled(r.dtype, {r.vocabulary, r.columns}, {r.content, seed}), r.shift),
                out(r.dtype, {r.rows, r.columns}, r.shift)};
  c.run = [](std::span<const View> v, const Options& options) {
    compute::embedding(v[0], v[1], v[2], options);
  };
  return c;
}

}  // namespace

void activation_problems(const Problems& p, const Emit& emit) {
  for (const auto& [name, kind] : kActivations) {
    for_each_elements(p, {kF32, kBf16},
                      [&](const Elements& e) { emit(activation_case(name, kind, e)); });
  }
}

void activation_layer(const Emit& emit) {
  const Elements e{kBf16, kBatchTokens * kF, Content::kNoise, 0, 1};
  emit_layer(emit, activation_case("silu", Activation::kSilu, e), "silu bf16 [8192, 14336]");
}

void gate_problems(const Problems& p, const Emit& emit) {
  for (const auto& [name, kind] : kActivations) {
    for_each_elements(p, {kF32, kBf16}, [&](const Elements& e) { emit(gate_case(name, kind, e)); });
  }
}

void gate_layer(const Emit& emit) {
  const Elements e{kBf16, kBatchTokens * kF, Content::kNoise, 0, 1};
  Case c = gate_case("silu", Activation::kSilu, e);
  c.bytes = 3.0 * static_cast<double>(c.operands[0].tensor.bytes.size());
  c.operands.erase(c.operands.begin() + 3, c.operands.begin() + 5);
  for (const bool ranged : {false, true}) {
    c.run = [ranged](std::span<const View> v, const Options& options) {
      const bool parts = ranged && options.queue != nullptr;
      compute::gate({Activation::kSilu, v[1], v[0], v[2], parts ? v[3].as<uint32_t>() : nullptr},
                    options);
    };
    emit_layer(emit, c, ranged ? "silu, range bf16 [8192, 14336]" : "silu bf16 [8192, 14336]");
  }
}

void elementwise_problems(const Problems& p, const Emit& emit) {
  for (const Elementwise kind : {Elementwise::kAdd, Elementwise::kMul}) {
    for_each_elements(p, {kF32, kBf16},
                      [&](const Elements& e) { emit(elementwise_case(kind, e)); });
  }
}

void elementwise_layer(const Emit& emit) {
  const Elements hidden{kBf16, kBatchTokens * kC, Content::kNoise, 0, 1};
  emit_layer(emit, elementwise_case(Elementwise::kAdd, hidden), "add bf16 [8192, 4096]");
  const Elements many{kBf16, kManyTokens * kWideC, Content::kNoise, 0, 1};
  emit_layer(emit, elementwise_case(Elementwise::kAdd, many), "add bf16 [32768, 8192]");
  const Elements wide{kBf16, kBatchTokens * kF, Content::kNoise, 0, 1};
  emit_layer(emit, elementwise_case(Elementwise::kMul, wide), "mul bf16 [8192, 14336]");
}

void cast_problems(const Problems& p, const Emit& emit) {
  for (const DLDataType to : {kF32, kBf16, kF16}) {
    for_each_elements(p, {kF32, kBf16, kF16}, [&](const Elements& e) {
      if (e.place == Place::kApart) emit(cast_case(to, e));
    });
  }
}

void cast_layer(const Emit& emit) {
  emit_layer(emit, cast_case(kBf16, {kF32, kF * kC, Content::kNoise, 0, 1}),
             "f32 to bf16 [14336, 4096]");
  emit_layer(emit, cast_case(kBf16, {kF32, kWideF * kWideC, Content::kNoise, 0, 1}),
             "f32 to bf16 [28672, 8192]");
  emit_layer(emit, cast_case(kBf16, {kF16, kF * kC, Content::kNoise, 0, 1}),
             "f16 to bf16 [14336, 4096]");
}

void embedding_problems(const Problems& p, const Emit& emit) {
  for (const DLDataType dtype : {kF32, kBf16}) {
    for (const Rows& r :
         {Rows{dtype, 5, 7, 64}, Rows{dtype, 9, 3, 17}, Rows{dtype, 1, 1, 1}, Rows{dtype, 0, 5, 16},
          Rows{dtype, 33, 1000, 24}, Rows{dtype, 3, 4, 4097},
          Rows{dtype, 5, 7, 64, Content::kNoise, 1}, Rows{dtype, 40, 100, 8, Content::kSpecial},
          Rows{dtype, 40, 100, 8, Content::kSpecial, 3}}) {
      emit(embedding_case(r, p.seed));
    }
    if (p.extent == Extent::kUsual) emit(embedding_case({dtype, 700, kV, 3}, p.seed));
  }
}

void embedding_layer(const Emit& emit) {
  Case c = embedding_case({kBf16, kBatchTokens, kV, kC}, 1);
  // Rows that are read and written; most of the table is not.
  c.bytes = 2.0 * kBatchTokens * kC * 2 + kBatchTokens * 8.0;
  emit_layer(emit, std::move(c), "ids 8192 of bf16 [128256, 4096]");
}

}  // namespace mopt::ops
