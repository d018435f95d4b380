// The memory that a problem names, so that none of it lies outside of the device.
#pragma once

#include "tests/emulated_device/emulated_device.hpp"

namespace mopt::compute::test {

template <class Fn>
void for_parts(const uint32_t* parts, const Fn& fn) {
  if (parts != nullptr) fn(parts, kRangeParts * static_cast<int64_t>(sizeof(uint32_t)));
}

// Calls fn(pointer, bytes) for all memory that the problem reads or writes.
template <class Fn>
void for_each_operand(const ActivationProblem& p, const Fn& fn) {
  for (const View* v : {&p.x, &p.y})
    fn(v->data, v->bytes());
}
template <class Fn>
void for_each_operand(const AttentionProblem& p, const Fn& fn) {
  for (const View* v : {&p.q, &p.k, &p.v, &p.y})
    fn(v->data, v->bytes());
  if (p.positions) fn(p.positions->data, p.positions->bytes());
}
template <class Fn>
void for_each_operand(const CastProblem& p, const Fn& fn) {
  for (const View* v : {&p.x, &p.y})
    fn(v->data, v->bytes());
}
template <class Fn>
void for_each_operand(const DivergenceProblem& p, const Fn& fn) {
  for (const View* v : {&p.ours, &p.reference, &p.result})
    fn(v->data, v->bytes());
}
template <class Fn>
void for_each_operand(const ElementwiseProblem& p, const Fn& fn) {
  for (const View* v : {&p.a, &p.b, &p.y})
    fn(v->data, v->bytes());
}
template <class Fn>
void for_each_operand(const EmbeddingProblem& p, const Fn& fn) {
  for (const View* v : {&p.ids, &p.weight, &p.y})
    fn(v->data, v->bytes());
}
template <class Fn>
void for_each_operand(const GateProblem& p, const Fn& fn) {
  for (const View* v : {&p.x, &p.up, &p.y})
    fn(v->data, v->bytes());
  for_parts(p.range_parts, fn);
}
template <class Fn>
void for_each_operand(const KvAppendProblem& p, const Fn& fn) {
  for (const View* v : {&p.k, &p.v, &p.positions, &p.keys, &p.values})
    fn(v->data, v->bytes());
}
template <class Fn>
void for_each_operand(const LinearCall& p, const Fn& fn) {
  for (const View* v : {&p.x, &p.weight, &p.y})
    fn(v->data, v->bytes());
  for (const std::optional<View>* v : {&p.bias, &p.x_scale, &p.weight_scale}) {
    if (*v) fn((*v)->data, (*v)->bytes());
  }
}
template <class Fn>
void for_each_operand(const NllOnDevice& p, const Fn& fn) {
  for (const View* v : {&p.logits, &p.targets, &p.result})
    fn(v->data, v->bytes());
}
template <class Fn>
void for_each_operand(const RangeProblem& p, const Fn& fn) {
  fn(p.x.data, p.x.bytes());
  for_parts(p.parts, fn);
}
template <class Fn>
void for_each_operand(const RmsNormProblem& p, const Fn& fn) {
  for (const View* v : {&p.x, &p.weight, &p.y})
    fn(v->data, v->bytes());
  for_parts(p.range_parts, fn);
}
template <class Fn>
void for_each_operand(const RopeLookup& p, const Fn& fn) {
  for (const View* v : {&p.x, &p.cos, &p.sin, &p.positions, &p.y})
    fn(v->data, v->bytes());
}
template <class Fn>
void for_each_operand(const SquaredErrorProblem& p, const Fn& fn) {
  for (const View* v : {&p.a, &p.b})
    fn(v->data, v->bytes());
  fn(p.parts, 2 * kErrorParts * static_cast<int64_t>(sizeof(double)));
}

template <class Problem>
void require_on_device(const Problem& problem, Queue& queue) {
  const auto& device = static_cast<const EmulatedDevice&>(queue.device());
  for_each_operand(problem, [&](const void* p, int64_t bytes) {
    device.require_device_memory(p, bytes, "a kernel was given");
  });
}

}  // namespace mopt::compute::test
