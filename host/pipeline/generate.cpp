#include "host/pipeline/generate.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>

#include "host/compute/cast/cast.hpp"
#include "host/compute/parallel.hpp"
#include "host/plan/cost.hpp"

namespace mopt::pipeline {

using compute::View;
using graph::ValueId;

namespace {

// splitmix64, a bijection of 64 bits that passes the usual batteries.
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

// Uniform in [0, 1), a function of its three keys.
double uniform(uint64_t seed, uint64_t row, uint64_t position) {
  return static_cast<double>(mix(mix(mix(seed) ^ row) ^ position) >> 11) * 0x1p-53;
}

// e^x for x <= 0 to 2 units in the last place, plain arithmetic that a compiler vectorizes: x = n
// ln 2 + r with |r| <= ln 2 / 2, a Taylor polynomial of degree 6 in r, times 2^n. Below -87 it is
// 0.
inline float exp_of(float x) {
  const float clamped = x < -87.0f ? -87.0f : x;
  const float n = std::nearbyint(clamped * 1.44269504f);
  const float r = (clamped - n * 0.693145752f) - n * 1.42860677e-6f;
  float p = 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const float scale = std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
  return x < -87.0f ? 0.0f : p * scale;
}

std::vector<float> weights_of(std::span<const float> logits, double temperature) {
  const float max = *std::max_element(logits.begin(), logits.end());
  const auto inverse = static_cast<float>(1 / temperature);
  std::vector<float> weights(logits.size());
  for (size_t i = 0; i < logits.size(); ++i)
    weights[i] = exp_of((logits[i] - max) * inverse);
  return weights;
}

// Sets all but the smallest set of tokens with probability `top_p` to zero.
void keep_top(std::vector<float>& weights, double top_p) {
  std::vector<uint32_t> order(weights.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return weights[a] != weights[b] ? weights[a] > weights[b] : a < b;
  });
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  double sum = 0;
  for (const uint32_t token : order) {
    if (sum >= top_p * total) weights[token] = 0;
    sum += weights[token];
  }
}

View last_token(const View& all) {
  View part = all;
  const int64_t row_bytes = all.bytes() / all.shape[0], token_bytes = row_bytes / all.shape[1];
  part.data = static_cast<std::byte*>(all.data) + row_bytes - token_bytes;
  part.shape[0] = part.shape[1] = 1;
  return part;
}

}  // namespace

Session::Session(const Checkpoint& checkpoint, ForwardOptions options, size_t rows,
                 int64_t capacity)
    : graph_(checkpoint.required_graph()),
      dtype_(options.dtype),
      pool_(std::make_shared<BufferPool>()),
      rows_(rows) {
  for (size_t b = 0; b < graph_.blocks.size(); ++b) {
    blocks_.emplace_back(checkpoint, b, options);
    KvCache empty;
    empty.capacity = capacity;
    caches_.emplace_back(blocks_.back().attention_ops(), std::vector<KvCache>(rows, empty));
  }
  vocabulary_ = graph_.values[graph_.outputs.find("logits")->second].dims.back();
  logits_.resize(rows * static_cast<size_t>(vocabulary_));
}

const std::vector<float>& Session::append(const TokenRows& tokens) {
  const auto batch = static_cast<int64_t>(rows_), time = static_cast<int64_t>(tokens[0].size());
  std::vector<int64_t> ids, positions;
  for (const auto& row : tokens) {
    ids.insert(ids.end(), row.begin(), row.end());
    for (int64_t t = 0; t < time; ++t)
      positions.push_back(length_ + t);
  }
  LiveValues live;
  for (size_t b = 0; b < blocks_.size(); ++b) {
    Call call;
    call.pool = pool_;
    call.ids = compute::view_of(ids.data(), kI64, {batch, time});
    call.positions = compute::view_of(positions.data(), kI64, {batch, time});
    call.inputs = live;
    if (b + 1 == blocks_.size() && blocks_[b].token_wise() && batch == 1 && time > 1) {
      for (auto& [v, value] : call.inputs)
        value.view = last_token(value.view);
      call.ids.shape[1] = call.positions.shape[1] = 1;
    }
    call.caches = &caches_[b];
    for (auto& [v, value] : blocks_[b].run(call))
      live[v] = std::move(value);
  }
  const View& logits = live.at(graph_.outputs.find("logits")->second).view;
  const int64_t per_row = logits.shape[1];
  for (int64_t r = 0; r < batch; ++r) {
    View last = compute::view_of(static_cast<std::byte*>(logits.data) +
                                     ((r + 1) * per_row - 1) * (logits.bytes() / logits.rows()),
                                 logits.dtype, {vocabulary_});
    const View to = compute::view_of(logits_.data() + r * vocabulary_, kF32, {vocabulary_});
    if (compute::is_f32(last)) {
      std::memcpy(to.data, last.data, static_cast<size_t>(last.bytes()));
    } else {
      compute::cast(last, to);
    }
  }
  length_ += time;
  return logits_;
}

int32_t sample(std::span<const float> logits, const Sampling& sampling, uint64_t row,
               uint64_t position) {
  if (sampling.temperature <= 0) {
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  std::vector<float> weights = weights_of(logits, sampling.temperature);
  if (sampling.top_p < 1) keep_top(weights, sampling.top_p);
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  const double target = uniform(sampling.seed, row, position) * total;
  double sum = 0;
  int32_t last_possible = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] == 0) continue;
    sum += weights[i];
    last_possible = static_cast<int32_t>(i);
    if (sum > target) break;
  }
  return last_possible;
}

Generation generate(const Checkpoint& checkpoint, const ForwardOptions& options,
                    const std::vector<int32_t>& prompt, int64_t max_new_tokens,
                    const Sampling& sampling, const std::function<bool(int32_t)>& on_token) {
  const std::vector<int64_t> stops = checkpoint.eos_ids();
  Session session(checkpoint, options, 1, static_cast<int64_t>(prompt.size()) + max_new_tokens);
  Generation out;
  out.finish_reason = "length";
  TokenRows next{prompt};
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < max_new_tokens; ++i) {
    const int32_t token =
        sample(session.append(next), sampling, 0, static_cast<uint64_t>(session.length()));
    if (std::find(stops.begin(), stops.end(), token) != stops.end()) {
      out.finish_reason = "stop";
      break;
    }
    out.ids.push_back(token);
    if (!on_token(token)) break;
    next[0] = {token};
  }
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return out;
}

TokenRows write_self_text(const Checkpoint& checkpoint, const ForwardOptions& options,
                          const SelfText& request,
                          const std::function<bool(int64_t, int64_t)>& progress) {
  const Sampling sampling{1.0, 1.0, request.seed};
  const int64_t batch = std::min(plan::kSelfTextRows, request.samples);
  const int64_t batches = (request.samples + batch - 1) / batch;
  TokenRows rows;
  for (int64_t b = 0; b < batches; ++b) {
    Session session(checkpoint, options, static_cast<size_t>(batch), request.seq_len);
    TokenRows text(static_cast<size_t>(batch)), next(static_cast<size_t>(batch));
    for (int64_t r = 0; r < batch; ++r) {
      const auto row = static_cast<uint64_t>(b * batch + r);
      const auto random = static_cast<int32_t>(uniform(request.seed, row, 0) *
                                               static_cast<double>(session.vocabulary()));
      next[static_cast<size_t>(r)] = {static_cast<int32_t>(checkpoint.bos_id().value_or(random))};
    }
    while (true) {
      for (size_t r = 0; r < text.size(); ++r)
        text[r].push_back(next[r][0]);
      const auto written = static_cast<int64_t>(text[0].size());
      if (!progress(b * request.seq_len + written, batches * request.seq_len)) return {};
      if (written == request.seq_len) break;
      const std::vector<float>& logits = session.append(next);
      const auto width = static_cast<size_t>(session.vocabulary());
      compute::for_each(batch, 1, [&](int64_t r, int64_t) {
        const auto at = static_cast<size_t>(r);
        next[at][0] = sample({logits.data() + at * width, width}, sampling,
                             static_cast<uint64_t>(b * batch + r), static_cast<uint64_t>(written));
      });
    }
    for (auto& row : text)
      rows.push_back(std::move(row));
  }
  rows.resize(
      static_cast<size_t>(std::min<int64_t>(request.samples, static_cast<int64_t>(rows.size()))));
  return rows;
}

}  // namespace mopt::pipeline
