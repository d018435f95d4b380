// From a layer entry back to schemes.
#include <array>
#include <functional>
#include <mutex>
#include <set>

#include "scheme.hpp"

namespace mopt::hf {
namespace {

constexpr std::string_view kFp8 = "fp8", kInt8 = "int8", kInt4 = "int4", kNvfp4 = "nvfp4",
                           kMxfp4 = "mxfp4", kMxfp8 = "mxfp8";
enum : uint32_t { kStatic = 0, kRunTime = MOPT_SCHEME_DYNAMIC };

mopt_scheme make(std::string_view name, DLDataType element, mopt_granularity granularity,
                 mopt_scheme_flags flags = 0) {
  return {sizeof(mopt_scheme), granularity, str(name), element, kF32, 0, 0, flags, 0};
}
mopt_scheme blocks(std::string_view name, DLDataType element, DLDataType scale, uint32_t size,
                   mopt_scheme_flags flags = 0) {
  return {sizeof(mopt_scheme), MOPT_PER_BLOCK, str(name), element, scale, 1, size, flags, 0};
}

mopt_scheme fp8(mopt_scheme_flags flags = 0) {
  return make(kFp8, kE4m3, MOPT_PER_TENSOR, flags);
}
mopt_scheme nvfp4(uint32_t size, mopt_scheme_flags flags = 0) {
  return blocks(kNvfp4, kE2m1, kE4m3, size, MOPT_SCHEME_GLOBAL_SCALE | flags);
}

struct Row {
  std::string_view algorithm;  // in upper case
  uint32_t group;              // where the entry names none
  Schemes (*make)(uint32_t group, InputScales scales);
};
constexpr std::array kRows{
    Row{"FP8", 0,
        [](uint32_t, InputScales scales) {
          if (scales == InputScales::kAbsent) return Schemes{fp8(), std::nullopt, false};
          return Schemes{fp8(), fp8(), true};
        }},
    Row{"FP8_PER_CHANNEL_PER_TOKEN", 0,
        [](uint32_t, InputScales) {
          return Schemes{make(kFp8, kE4m3, MOPT_PER_CHANNEL),
                         make(kFp8, kE4m3, MOPT_PER_TOKEN, kRunTime), false};
        }},
    Row{"FP8_PB_WO", 128,
        [](uint32_t group, InputScales) {
          mopt_scheme tiles = blocks(kFp8, kE4m3, kF32, group);
          tiles.block_rows = group;
          return Schemes{tiles, std::nullopt, false};
        }},
    Row{"W8A8_SQ_PER_CHANNEL", 0,
        [](uint32_t, InputScales) {
          return Schemes{make(kInt8, kI8, MOPT_PER_CHANNEL), make(kInt8, kI8, MOPT_PER_TENSOR),
                         true};
        }},
    Row{"W8A16", 0,
        [](uint32_t, InputScales) {
          return Schemes{make(kInt8, kI8, MOPT_PER_CHANNEL), std::nullopt, false};
        }},
    Row{"W4A16_AWQ", 128,
        [](uint32_t group, InputScales) {
          return Schemes{blocks(kInt4, kI4, kF32, group), std::nullopt, false};
        }},
    Row{"NVFP4", 16,
        [](uint32_t group, InputScales) {
          return Schemes{nvfp4(group), nvfp4(16, kRunTime), true};
        }},
    Row{"W4A16_NVFP4", 16,
        [](uint32_t group, InputScales) {
          return Schemes{nvfp4(group), std::nullopt, false};
        }},
    Row{"W4A8_NVFP4_FP8", 32,
        [](uint32_t group, InputScales) {
          return Schemes{nvfp4(group), fp8(), true};
        }},
    Row{"MXFP4", 32,
        [](uint32_t group, InputScales) {
          return Schemes{blocks(kMxfp4, kE2m1, kE8m0, group),
                         blocks(kMxfp4, kE2m1, kE8m0, group, kRunTime), false};
        }},
    Row{"W4A8_MXFP4_FP8", 32,
        [](uint32_t group, InputScales scales) {
          const bool stored = scales == InputScales::kStored;
          return Schemes{blocks(kMxfp4, kE2m1, kE8m0, group), fp8(stored ? kStatic : kRunTime),
                         stored};
        }},
    Row{"MXFP8", 32,
        [](uint32_t group, InputScales) {
          return Schemes{blocks(kMxfp8, kE4m3, kE8m0, group),
                         blocks(kMxfp8, kE4m3, kE8m0, group, kRunTime), false};
        }},
};

// A scheme's name outlives everything that may hold it.
std::string_view keep(const std::string& name) {
  static std::mutex mutex;
  static std::set<std::string> names;
  const std::lock_guard lock(mutex);
  return *names.insert(name).first;
}

mopt_scheme parse(const Tree& j) {
  const auto type = [](const Tree& pair) {
    return DLDataType{pair.at(0).get<uint8_t>(), pair.at(1).get<uint8_t>(), 1};
  };
  return {sizeof(mopt_scheme),
          j.at("granularity").get<uint32_t>(),
          str(keep(j.at("name").get<std::string>())),
          type(j.at("element")),
          type(j.at("scale")),
          j.at("block").at(0).get<uint32_t>(),
          j.at("block").at(1).get<uint32_t>(),
          j.at("flags").get<uint32_t>(),
          0};
}

bool sound(const mopt_scheme& s) {
  return s.granularity != MOPT_PER_BLOCK || (s.block_rows > 0 && s.block_cols > 0);
}

// The input of an algorithm without a name stores a scale unless all of its scales come at run
// time.
bool stores_scale(const mopt_scheme& input) {
  return (input.flags & MOPT_SCHEME_DYNAMIC) == 0 || (input.flags & MOPT_SCHEME_GLOBAL_SCALE) != 0;
}

}  // namespace

std::optional<Schemes> schemes_of(const Tree& entry, InputScales scales) {
  if (const auto own = entry.find("mopt_scheme"); own != entry.end() && own->is_object()) {
    Schemes out{parse(own->at("weight")), std::nullopt, false};
    if (!sound(out.weight)) return std::nullopt;
    if (own->at("input").is_object()) {
      out.input = parse(own->at("input"));
      out.static_input = stores_scale(*out.input);
    }
    return out;
  }
  const std::string name = upper(entry.at("quant_algo").get<std::string>());
  for (const Row& row : kRows) {
    if (row.algorithm != name) continue;
    const auto group = entry.find("group_size");
    const bool given = group != entry.end() && group->is_number_unsigned() && *group != 0;
    Schemes out = row.make(given ? group->get<uint32_t>() : row.group, scales);
    const auto weight_only = entry.find("weight_only");
    if (weight_only != entry.end() && weight_only->get<bool>()) {
      out.input.reset();
      out.static_input = false;
    }
    return out;
  }
  return std::nullopt;
}

std::optional<mopt_scheme> kv_scheme_of(std::string_view algorithm) {
  const std::string name = upper(algorithm);
  if (name == "FP8") return fp8();
  if (name == "NVFP4") return nvfp4(16, kRunTime);
  return std::nullopt;
}

}  // namespace mopt::hf
