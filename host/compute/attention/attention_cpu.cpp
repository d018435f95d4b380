// attention in tiles of queries: keys and values are packed once into panels, then every task
// multiplies some queries of one kv head (all heads of its group together) with all keys that they
// see, takes the softmax of whole rows in fp32, and multiplies with the values.
#include "host/compute/attention/attention.hpp"
#include "host/compute/avx512_bf16.hpp"
#include "host/compute/parallel.hpp"
#include "host/compute/scratch.hpp"
#include "host/compute/simd.hpp"

#include <cstring>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "host/compute/attention/attention_cpu.cpp"
#include "hwy/foreach_target.h"  // must come before simd-inl.hpp

#include "host/compute/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace mopt::compute::HWY_NAMESPACE {
#if MOPT_NO_LANES

void attention_simd(const AttentionProblem& p) {
  attention_reference(p);
}
void attention_bf16_simd(const AttentionProblem& p) {
  attention_reference(p);
}

#else

// Rows x vectors of results that one block keeps in registers: 6 x 4 of 32, or 6 x 2 of 16.
constexpr int64_t kBlockRows = 6;
constexpr int kBlockVectors = HWY_TARGET == HWY_AVX3 ? 4 : 2;

// A panel is a matrix [cells, width] of 4-byte cells: one f32, or two bf16 that follow each other
// along the sum. Element (u, j) of a panel belongs to column j of the result.
struct Block {
  const char* a;  // kBlockRows rows of cells
  int64_t a_row;  // bytes from one row of a to the next
  const char* b;  // panel
  int64_t cells;
  float* c;       // kBlockRows rows of results
  int64_t c_row;  // elements from one row of c to the next
};

struct Singles {
  static constexpr int64_t kPerCell = 1;

  // c = a b for `Vectors` vectors of columns.
  template <int Vectors>
  static HWY_NOINLINE void multiply(const Block& k) {
    const auto* b = reinterpret_cast<const float*>(k.b);
    F sum[kBlockRows][Vectors];
    for (auto& row : sum) {
      for (F& v : row)
        v = ln::all(0.0f);
    }
    for (int64_t u = 0; u < k.cells; ++u, b += Vectors * ln::lanes()) {
      F column[Vectors];
      for (int v = 0; v < Vectors; ++v)
        column[v] = load(b + v * ln::lanes());
      for (int64_t r = 0; r < kBlockRows; ++r) {
        const F x = ln::all(reinterpret_cast<const float*>(k.a + r * k.a_row)[u]);
        for (int v = 0; v < Vectors; ++v)
          sum[r][v] = hn::MulAdd(x, column[v], sum[r][v]);
      }
    }
    for (int64_t r = 0; r < kBlockRows; ++r) {
      for (int v = 0; v < Vectors; ++v)
        store(sum[r][v], k.c + r * k.c_row + v * ln::lanes());
    }
  }

  template <class T>
  static void to_cells(const T* x, int64_t n, void* cells) {
    map(x, n, static_cast<float*>(cells), [](F v) { return v; });
  }

  // Rows x and next of d elements become one row of cells.
  template <class T>
  static void interleave(const T* x, const T*, int64_t d, void* cells) {
    to_cells(x, d, cells);
  }

  // Exponentials become probabilities as they multiply the values: times `share`, rounded to T.
  template <class T>
  static void share(float* row, int64_t columns, float share, const T* type) {
    for (int64_t i = 0; i < columns; i += ln::lanes()) {
      store(ln::round_as(hn::Mul(load(row + i), ln::all(share)), type), row + i);
    }
  }
};

#  if HWY_TARGET == HWY_AVX3
struct Pairs {
  static constexpr int64_t kPerCell = 2;

  template <int Vectors>
  static HWY_NOINLINE MOPT_AVX512_BF16 void multiply(const Block& k) {
    const char* b = k.b;
    __m512 sum[kBlockRows][Vectors];
    for (auto& row : sum) {
      for (__m512& v : row)
        v = _mm512_setzero_ps();
    }
    for (int64_t u = 0; u < k.cells; ++u, b += Vectors * 64) {
      __m512i column[Vectors];
      for (int v = 0; v < Vectors; ++v)
        column[v] = _mm512_loadu_si512(b + v * 64);
      for (int64_t r = 0; r < kBlockRows; ++r) {
        const __m512i x = broadcast_pair(k.a + r * k.a_row + u * 4);
        for (int v = 0; v < Vectors; ++v)
          sum[r][v] = add_pairs(sum[r][v], x, column[v]);
      }
    }
    for (int64_t r = 0; r < kBlockRows; ++r) {
      for (int v = 0; v < Vectors; ++v)
        _mm512_storeu_ps(k.c + r * k.c_row + v * 16, sum[r][v]);
    }
  }

  static void to_cells(const Bf16* x, int64_t n, void* cells) {
    std::copy(x, x + n, static_cast<Bf16*>(cells));
    if (n % 2 != 0) static_cast<Bf16*>(cells)[n] = {0};
  }

  static void interleave(const Bf16* x, const Bf16* next, int64_t d, void* cells) {
    auto* out = static_cast<Bf16*>(cells);
    for (int64_t i = 0; i < d; ++i) {
      out[2 * i] = x[i];
      out[2 * i + 1] = next == nullptr ? Bf16{0} : next[i];
    }
  }

  // In place: the rounded numbers fill the first half of the row.
  static HWY_NOINLINE MOPT_AVX512_BF16 void share(float* row, int64_t columns, float share,
                                                  const Bf16*) {
    auto* out = reinterpret_cast<char*>(row);
    const __m512 by = _mm512_set1_ps(share);
    for (int64_t i = 0; i < columns; i += 16) {
      const __m512 p = _mm512_mul_ps(_mm512_loadu_ps(row + i), by);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 2 * i), round_to_bf16(p));
    }
  }
};
#  endif

template <class Unit, int Vectors>
void multiply_narrow(int64_t vectors, const Block& block) {
  if (vectors == Vectors) return Unit::template multiply<Vectors>(block);
  if constexpr (Vectors > 1) multiply_narrow<Unit, Vectors - 1>(vectors, block);
}

int64_t up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

struct PackedHeads;  // keys and values of one call
struct TileMemory;   // queries, scores and results of one task

// One call: T is the type of the tensors, Unit how their products are formed.
template <class T, class Unit>
class Run {
 public:
  explicit Run(const AttentionProblem& p)
      : p_(p),
        t_(p.q.shape[1]),
        s_(p.k.shape[1]),
        d_(p.q.shape[3]),
        kv_heads_(p.k.shape[2]),
        group_(p.q.shape[2] / p.k.shape[2]),
        width_(kBlockVectors * ln::lanes()),
        d_cells_((d_ + Unit::kPerCell - 1) / Unit::kPerCell),
        s_cells_((s_ + Unit::kPerCell - 1) / Unit::kPerCell),
        key_bytes_(4 * d_cells_ * up(s_, width_)),
        head_bytes_(key_bytes_ + 4 * s_cells_ * up(d_, ln::lanes())) {
    // Enough rows to use a panel several times, few enough for the scores to stay in the L2 cache.
    const int64_t rows = std::clamp<int64_t>(kScoreBytes / (4 * s_), 4 * kBlockRows, 96);
    tokens_ = std::max<int64_t>(1, rows / group_);
  }

  void run() {
    const int64_t heads = p_.q.shape[0] * kv_heads_, tiles = (t_ + tokens_ - 1) / tokens_;
    char* packed = static_cast<char*>(scratch<PackedHeads>(heads * head_bytes_));
    const int64_t panels = up(s_, width_) / width_;
    for_each(heads * panels, 4, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        pack(i / panels, i % panels * width_, packed + i / panels * head_bytes_);
      }
    });
    // The last tiles see the most keys: they come first, so that no thread ends long after the
    // others.
    for_each(heads * tiles, 1, [&](int64_t i, int64_t) {
      tile(i % heads, (tiles - 1 - i / heads) * tokens_, packed + i % heads * head_bytes_);
    });
  }

 private:
  static constexpr int64_t kScoreBytes = 768 << 10;

  // First key or value of a head; a head is batch row * kv heads + kv head.
  const T* first(const View& v, int64_t head) const {
    return v.as<T>() + (head / kv_heads_ * s_ * kv_heads_ + head % kv_heads_) * d_;
  }

  // Keys begin.. begin + width of a head into a panel [d_cells, width], the same values into rows
  // of the value panels [s_cells, up to width].
  void pack(int64_t head, int64_t begin, char* packed) const {
    const int64_t n = std::min(width_, s_ - begin), stride = kv_heads_ * d_;
    const T* k = first(p_.k, head) + begin * stride;
    char* panel = packed + 4 * begin * d_cells_;
    auto* row = static_cast<char*>(scratch<TileMemory>(4 * d_cells_));
    for (int64_t j = 0; j < width_; ++j) {
      if (j < n) Unit::to_cells(k + j * stride, d_, row);
      if (j == n) std::memset(row, 0, static_cast<size_t>(4 * d_cells_));
      for (int64_t u = 0; u < d_cells_; ++u)
        std::memcpy(panel + 4 * (u * width_ + j), row + 4 * u, 4);
    }
    const T* v = first(p_.v, head) + begin * stride;
    for (int64_t j = 0; j < n; j += Unit::kPerCell) {
      const T* next = begin + j + 1 < s_ ? v + (j + 1) * stride : nullptr;
      for (int64_t c = 0; c < d_; c += width_) {
        const int64_t w = std::min(width_, up(d_ - c, ln::lanes())), filled = std::min(w, d_ - c);
        char* cells = packed + key_bytes_ + 4 * (c * s_cells_ + (begin + j) / Unit::kPerCell * w);
        Unit::interleave(v + j * stride + c, next == nullptr ? nullptr : next + c, filled, cells);
        std::memset(cells + 4 * filled, 0, static_cast<size_t>(4 * (w - filled)));
      }
    }
  }

  // Queries begin.. of all heads of a group; row r is token r / group, head r % group.
  void tile(int64_t head, int64_t begin, const char* packed) const {
    const int64_t tokens = std::min(tokens_, t_ - begin), rows = tokens * group_;
    const int64_t padded = up(rows, kBlockRows), position = s_ - t_ + begin;
    // Keys low.. of the scores' columns; the first at the start of a panel.
    const int64_t low = first_key(p_, position) / width_ * width_;
    const int64_t columns = up(position + tokens - low, width_), out_row = up(d_, ln::lanes());
    auto* queries =
        static_cast<char*>(scratch<TileMemory>(4 * padded * (d_cells_ + columns + out_row)));
    auto* scores = reinterpret_cast<float*>(queries + 4 * padded * d_cells_);
    float* out = scores + padded * columns;

    const int64_t at = head / kv_heads_ * t_ + begin;
    for (int64_t r = 0; r < rows; ++r) {
      Unit::to_cells(p_.q.as<T>() + row_offset(at, head, r), d_, queries + 4 * r * d_cells_);
    }
    std::memset(queries + 4 * rows * d_cells_, 0,
                static_cast<size_t>(4 * (padded - rows) * d_cells_));
    score(queries, padded, {low, columns, position}, packed, scores);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t own = position + r / group_;
      softmax(scores + r * columns, columns, first_key(p_, own) - low, own + 1 - low);
    }
    sum_values(scores, padded, {low, columns, position}, packed + key_bytes_, out);
    for (int64_t r = 0; r < rows; ++r) {
      map(out + r * out_row, d_, p_.y.as<T>() + row_offset(at, head, r), [](F v) { return v; });
    }
  }

  // Where row r of a tile lies in q and y; `at` is the tile's first token.
  int64_t row_offset(int64_t at, int64_t head, int64_t r) const {
    return (((at + r / group_) * kv_heads_ + head % kv_heads_) * group_ + r % group_) * d_;
  }

  // Key positions of a tile's scores: columns from `low` on; `position` is that of the first query.
  struct Span {
    int64_t low, columns, position;
  };
  // The last position of a block of rows.
  int64_t last_position(const Span& span, int64_t row) const {
    return span.position + (row + kBlockRows - 1) / group_;
  }

  void score(const char* queries, int64_t rows, const Span& span, const char* keys,
             float* scores) const {
    for (int64_t j = 0; j < span.columns; j += width_) {
      const char* panel = keys + 4 * (span.low + j) * d_cells_;
      for (int64_t r = 0; r < rows; r += kBlockRows) {
        if (span.low + j > last_position(span, r)) continue;
        Unit::template multiply<kBlockVectors>({queries + 4 * r * d_cells_, 4 * d_cells_, panel,
                                                d_cells_, scores + r * span.columns + j,
                                                span.columns});
      }
    }
  }

  // Columns begin..end of a row of scores become probabilities, the others zero. The scale, which
  // is positive, multiplies differences to the largest score: one rounding less than scaling
  // scores.
  void softmax(float* row, int64_t columns, int64_t begin, int64_t end) const {
    const float lowest = -std::numeric_limits<float>::infinity();
    std::fill(row, row + begin, lowest);
    const int64_t step = ln::lanes(), n = up(end, step);
    std::fill(row + end, row + n, lowest);
    F most = ln::all(lowest), sum = ln::all(0.0f);
    for (int64_t i = 0; i < n; i += step)
      most = hn::Max(most, load(row + i));
    const F max = ln::all(max_of(most)), scale = ln::all(p_.scale);
    for (int64_t i = 0; i < n; i += step) {
      const F e = exp(hn::Mul(hn::Sub(load(row + i), max), scale));
      sum = hn::Add(sum, e);
      store(e, row + i);
    }
    Unit::share(row, n, 1.0f / sum_of(sum), static_cast<const T*>(nullptr));
    constexpr int64_t kBytes = 4 / Unit::kPerCell;
    std::memset(reinterpret_cast<char*>(row) + n * kBytes, 0,
                static_cast<size_t>((columns - n) * kBytes));
  }

  void sum_values(const float* scores, int64_t rows, const Span& span, const char* values,
                  float* out) const {
    const int64_t out_row = up(d_, ln::lanes());
    for (int64_t c = 0; c < d_; c += width_) {
      const int64_t w = std::min(width_, out_row - c);
      const char* panel = values + 4 * (c * s_cells_ + span.low / Unit::kPerCell * w);
      for (int64_t r = 0; r < rows; r += kBlockRows) {
        const int64_t keys = std::min(last_position(span, r) + 1, s_) - span.low;
        const int64_t cells = (keys + Unit::kPerCell - 1) / Unit::kPerCell;
        multiply_narrow<Unit, kBlockVectors>(
            w / ln::lanes(), {reinterpret_cast<const char*>(scores + r * span.columns),
                              4 * span.columns, panel, cells, out + r * out_row + c, out_row});
      }
    }
  }

  const AttentionProblem& p_;
  int64_t t_, s_, d_, kv_heads_, group_, width_;
  int64_t d_cells_, s_cells_;  // cells along the sums over d and over keys
  int64_t key_bytes_, head_bytes_;
  int64_t tokens_ = 1;  // of a tile
};

void attention_simd(const AttentionProblem& p) {
  by_dtype("attention", p.q, [&]<class T>(T*) { Run<T, Singles>(p).run(); });
}

#  if HWY_TARGET == HWY_AVX3
void attention_bf16_simd(const AttentionProblem& p) {
  Run<Bf16, Pairs>(p).run();
}
#  else
void attention_bf16_simd(const AttentionProblem& p) {
  attention_simd(p);
}
#  endif

#endif
}  // namespace mopt::compute::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mopt::compute {

HWY_EXPORT(attention_simd);
HWY_EXPORT(attention_bf16_simd);

void attention_highway(const AttentionProblem& p) {
  HWY_DYNAMIC_DISPATCH(attention_simd)(p);
}

std::string_view attention_highway_refuses(const AttentionProblem& p) {
  if (!(p.scale > 0.0f)) return "needs a positive scale";
  if (p.positions) return "takes the newest positions only";
  return need_simd(p);
}

std::string_view attention_avx512_bf16_refuses(const AttentionProblem& p) {
  if (!(p.scale > 0.0f)) return "needs a positive scale";
  if (p.positions) return "takes the newest positions only";
  if (!is_bf16(p.q)) return "multiplies bf16 only";
  if ((hwy::SupportedTargets() & HWY_AVX3) == 0 || !has_avx512_bf16()) {
    return "this CPU has no AVX512_BF16";
  }
  return {};
}

void attention_avx512_bf16(const AttentionProblem& p) {
  HWY_DYNAMIC_DISPATCH(attention_bf16_simd)(p);
}

}  // namespace mopt::compute
#endif
