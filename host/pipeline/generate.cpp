#include "host/pipeline/generate.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <numeric>

#include "host/compute/parallel.hpp"
#include "host/plan/cost.hpp"

namespace mopt::pipeline {

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

}  // namespace

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
                    const Sampling& sampling, const std::function<bool(int32_t)>& on_token,
                    Steps steps) {
  const std::vector<int64_t> stops = checkpoint.eos_ids();
  Session session(checkpoint, options, steps);
  session.begin(1, static_cast<int64_t>(prompt.size()) + max_new_tokens);
  Generation out;
  out.finish_reason = "length";
  TokenRows next{prompt};
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < max_new_tokens; ++i) {
    session.append(next);
    const int32_t token =
        sample(session.logits(0), sampling, 0, static_cast<uint64_t>(session.length()));
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

namespace {

// Rows [first, first + count) of all, or none when `progress` stops.
TokenRows write_rows(Session& session, const SelfText& request, std::optional<int64_t> bos,
                     int64_t first, int64_t count, const TextProgress& progress) {
  const Sampling sampling{1.0, 1.0, request.seed};
  const auto number = [&](size_t r) { return static_cast<uint64_t>(first) + r; };
  session.begin(static_cast<size_t>(count), request.seq_len);
  TokenRows text(static_cast<size_t>(count)), next(static_cast<size_t>(count));
  for (size_t r = 0; r < next.size(); ++r) {
    const auto random = static_cast<int32_t>(uniform(request.seed, number(r), 0) *
                                             static_cast<double>(session.vocabulary()));
    next[r] = {static_cast<int32_t>(bos.value_or(random))};
  }
  while (true) {
    for (size_t r = 0; r < text.size(); ++r)
      text[r].push_back(next[r][0]);
    const auto written = static_cast<int64_t>(text[0].size());
    if (!progress(first * request.seq_len + written * count, request.samples * request.seq_len))
      return {};
    if (written == request.seq_len) return text;
    session.append(next);
    compute::for_each(count, 1, [&](int64_t row, int64_t) {
      const auto r = static_cast<size_t>(row);
      next[r][0] = sample(session.logits(r), sampling, number(r), static_cast<uint64_t>(written));
    });
  }
}

}  // namespace

TokenRows write_self_text(const Checkpoint& checkpoint, const ForwardOptions& options,
                          const SelfText& request, const TextProgress& progress, Steps steps) {
  const bool on_device = options.on_device != nullptr;
  Session session(checkpoint, options, steps);
  int64_t batch =
      on_device ? session.rows_that_fit(request.samples, request.seq_len) : plan::kSelfTextRows;
  TokenRows rows;
  while (static_cast<int64_t>(rows.size()) < request.samples) {
    const auto first = static_cast<int64_t>(rows.size());
    const int64_t count = std::min(batch, request.samples - first);
    TokenRows text;
    try {
      text = write_rows(session, request, checkpoint.bos_id(), first, count, progress);
    } catch (const Error& e) {
      if (!on_device || e.code() != MOPT_OUT_OF_MEMORY || count == 1) throw;
      batch = count / 2;
      continue;
    }
    if (text.empty()) return {};
    std::move(text.begin(), text.end(), std::back_inserter(rows));
  }
  return rows;
}

TokenRows write_self_text_on(compute::Device* device, const Checkpoint& checkpoint,
                             const ForwardOptions& options, const SelfText& request,
                             const TextProgress& progress,
                             const std::function<void(const std::string&)>& say) {
  if (device == nullptr) return write_self_text(checkpoint, options, request, progress);
  try {
    OnDevice on(device->make_queue("own text"), checkpoint.registry().services());
    ForwardOptions there = options;
    there.on_device = &on;
    there.kernels.queue = &on.queue();
    return write_self_text(checkpoint, there, request, progress);
  } catch (const Error& e) {
    if (e.code() == MOPT_DEVICE)
      throw Error(e.code(), e.what() + std::string("; the model wrote its calibration text"));
    if (e.code() != MOPT_OUT_OF_MEMORY) throw;
    say(std::string("the model writes its text on the CPU: ") + e.what());
  }
  return write_self_text(checkpoint, options, request, progress);
}

}  // namespace mopt::pipeline
