#include "host/compute/cast/cast.hpp"
#include "host/compute/cast/half.hpp"
#include "host/compute/parallel.hpp"

namespace mopt::compute {
namespace {

float element(const View& v, int64_t i) {
  if (is_f32(v)) return v.as<float>()[i];
  const uint16_t bits = v.as<uint16_t>()[i];
  return is_bf16(v) ? bf16::decode(bits) : half::decode(bits);
}

void set_element(const View& v, int64_t i, float value) {
  if (is_f32(v)) {
    v.as<float>()[i] = value;
  } else {
    v.as<uint16_t>()[i] = is_bf16(v) ? bf16::encode(value) : half::encode(value);
  }
}

}  // namespace

void cast_reference(const CastProblem& p) {
  for_each(p.x.elements(), 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      set_element(p.y, i, element(p.x, i));
  });
}

}  // namespace mopt::compute
