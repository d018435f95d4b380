#include "metadata.hpp"

#include <array>
#include <charconv>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "json.hpp"
#include "mopt/error.hpp"

namespace mopt::gguf {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kLongArray = 16;

constexpr std::array<std::string_view, kValueTypes> kNames = {
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};
constexpr std::array<size_t, kValueTypes> kWidths = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

template <class T>
T load(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

std::string_view string_at(const uint8_t* from) {
  return {reinterpret_cast<const char*>(from) + 8, load<uint64_t>(from)};
}

bool is_integer(ValueType type) {
  return type != ValueType::kF32 && type != ValueType::kF64 && type != ValueType::kString &&
         type != ValueType::kArray && type != ValueType::kBool;
}

// Nothing when a u64 exceeds the range.
std::optional<int64_t> integer_at(ValueType type, const uint8_t* from) {
  switch (type) {
    case ValueType::kU8:
      return load<uint8_t>(from);
    case ValueType::kI8:
      return load<int8_t>(from);
    case ValueType::kU16:
      return load<uint16_t>(from);
    case ValueType::kI16:
      return load<int16_t>(from);
    case ValueType::kU32:
      return load<uint32_t>(from);
    case ValueType::kI32:
      return load<int32_t>(from);
    case ValueType::kI64:
      return load<int64_t>(from);
    default:
      break;
  }
  const uint64_t value = load<uint64_t>(from);
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return {};
  return static_cast<int64_t>(value);
}

double number_at(ValueType type, const uint8_t* from) {
  if (type == ValueType::kF32) return Metadata::shortest(load<float>(from));
  return load<double>(from);
}

Json json_at(ValueType type, const uint8_t* from) {
  if (type == ValueType::kString) return string_at(from);
  if (type == ValueType::kBool) return *from != 0;
  if (type == ValueType::kU64) return load<uint64_t>(from);
  if (is_integer(type)) return *integer_at(type, from);
  return number_at(type, from);
}

const uint8_t* next(ValueType type, const uint8_t* at) {
  return at + (type == ValueType::kString ? 8 + string_at(at).size() : width(type));
}

Json to_json(const Value& value) {
  if (value.type != ValueType::kArray) return json_at(value.type, value.data);
  if (value.count > kLongArray) {
    return {{"type", kNames[static_cast<size_t>(value.element)]}, {"count", value.count}};
  }
  Json out = Json::array();
  const uint8_t* at = value.data;
  for (uint64_t i = 0; i < value.count; ++i, at = next(value.element, at)) {
    out.push_back(json_at(value.element, at));
  }
  return out;
}

}  // namespace

size_t width(ValueType type) {
  return kWidths[static_cast<size_t>(type)];
}

double Metadata::shortest(float value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  double out = value;
  std::from_chars(text, end, out);
  return out;
}

bool Metadata::add(std::string_view key, Value value) {
  if (!index_.emplace(key, entries_.size()).second) return false;
  entries_.emplace_back(key, value);
  return true;
}

const Value* Metadata::find(std::string_view key) const {
  const auto at = index_.find(key);
  return at == index_.end() ? nullptr : &entries_[at->second].second;
}

std::optional<int64_t> Metadata::integer(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return {};
  if (!is_integer(value->type)) wrong_kind(key, "an integer");
  const auto out = integer_at(value->type, value->data);
  if (!out) wrong_kind(key, "an integer below 2^63");
  return out;
}

std::optional<double> Metadata::number(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return {};
  if (value->type != ValueType::kF32 && value->type != ValueType::kF64) wrong_kind(key, "a float");
  return number_at(value->type, value->data);
}

std::optional<bool> Metadata::flag(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return {};
  if (value->type != ValueType::kBool) wrong_kind(key, "a bool");
  return *value->data != 0;
}

std::optional<std::string_view> Metadata::text(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return {};
  if (value->type != ValueType::kString) wrong_kind(key, "a string");
  return string_at(value->data);
}

std::vector<int64_t> Metadata::integers(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return {};
  if (value->type != ValueType::kArray || !is_integer(value->element)) {
    wrong_kind(key, "an array of integers");
  }
  std::vector<int64_t> out;
  out.reserve(value->count);
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto one = integer_at(value->element, value->data + i * width(value->element));
    if (!one) wrong_kind(key, "integers below 2^63");
    out.push_back(*one);
  }
  return out;
}

std::vector<std::string_view> Metadata::texts(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return {};
  if (value->type != ValueType::kArray || value->element != ValueType::kString) {
    wrong_kind(key, "an array of strings");
  }
  std::vector<std::string_view> out;
  out.reserve(value->count);
  const uint8_t* at = value->data;
  for (uint64_t i = 0; i < value->count; ++i, at = next(ValueType::kString, at)) {
    out.push_back(string_at(at));
  }
  return out;
}

std::string Metadata::json() const {
  Json out = Json::object();
  auto& members = out.get_ref<Json::object_t&>();  // unique already: no search per key
  members.reserve(entries_.size());
  for (const auto& [key, value] : entries_)
    members.emplace_back(std::string(key), to_json(value));
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string json_text(const Metadata& metadata, const Json& json, int indent) {
  try {
    return json.dump(indent) + "\n";
  } catch (const Json::exception&) {
    throw Error(MOPT_UNSUPPORTED,
                metadata.file() + ": expected texts in UTF-8, found other bytes; " +
                    "use the original checkpoint",
                metadata.file());
  }
}

void Metadata::wrong_kind(std::string_view key, std::string_view expected) const {
  const Value& value = *find(key);
  throw Error(MOPT_DATA_LOSS,
              file_ + ": expected " + std::string(expected) + " as " + in_quotes(key) + ", found " +
                  std::string(kNames[static_cast<size_t>(value.type)]) + "; " +
                  std::string(kDamaged),
              file_);
}

}  // namespace mopt::gguf
