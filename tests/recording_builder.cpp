#include "tests/recording_builder.hpp"

#include <filesystem>

#include "tests/json.hpp"

namespace mopt::test {

FakeConfig::FakeConfig(const std::string& json, std::set<std::string> tensors)
    : json_(std::make_unique<nlohmann::json>(parse_json(json))), tensors_(std::move(tensors)) {
  abi_ = {sizeof(mopt_config), 0, this,
          [](void* ctx, mopt_str path) noexcept {
            return static_cast<FakeConfig*>(ctx)->get(std::string(view(path)));
          },
          [](void* ctx, mopt_str name) noexcept -> int32_t {
            return static_cast<FakeConfig*>(ctx)->tensors_.contains(std::string(view(name)));
          }};
}

FakeConfig::~FakeConfig() = default;

mopt_value FakeConfig::get(const std::string& path) {
  std::string pointer = "/" + path;
  for (char& c : pointer)
    c = c == '.' ? '/' : c;
  const nlohmann::json::json_pointer at(pointer);
  return json_->contains(at) ? value((*json_)[at]) : mopt_value{};
}

mopt_value FakeConfig::value(const nlohmann::json& j) {
  if (j.is_boolean()) return {MOPT_BOOL, 0, {.i = j.get<bool>()}};
  if (j.is_number_integer()) return {MOPT_INT, 0, {.i = j.get<int64_t>()}};
  if (j.is_number()) return {MOPT_FLOAT, 0, {.f = j.get<double>()}};
  if (j.is_string()) return {MOPT_STR, 0, {.s = str(j.get_ref<const std::string&>())}};
  if (j.is_object()) return {MOPT_MAP, 0, {.i = 0}};
  if (!j.is_array()) return {};
  std::vector<mopt_value> list;
  for (const auto& element : j)
    list.push_back(value(element));
  lists_.push_back(std::move(list));
  return {MOPT_LIST, static_cast<uint32_t>(lists_.back().size()), {.list = lists_.back().data()}};
}

RecordingBuilder::RecordingBuilder() {
  abi_.owner = this;
  mopt_builder& b = abi_.head;
  b.struct_size = sizeof(mopt_builder);
  b.opset = 1;
  b.input = [](mopt_builder* b, mopt_str name, DLDataType, int32_t, const int64_t*) noexcept {
    return self(b).inputs[std::string(view(name))] = ++self(b).last_;
  };
  b.param = [](mopt_builder* b, mopt_str name, int32_t n, const int64_t* dims) noexcept {
    mopt_val& id = self(b).ids_[std::string(view(name))];
    if (id == 0) {
      id = ++self(b).last_;
      self(b).params[std::string(view(name))] = {dims, dims + n};
      self(b).names[id] = std::string(view(name));
    }
    return id;
  };
  b.op = [](mopt_builder* b, mopt_str kind, mopt_str label, const mopt_val* in, uint32_t n_in,
            const mopt_attr* attrs, uint32_t n_attrs) noexcept {
    return self(b).record(view(kind), view(label), {in, n_in}, {attrs, n_attrs});
  };
  b.begin_block = [](mopt_builder* b, mopt_str role, int64_t index) noexcept {
    self(b).block_ = std::string(view(role)) + " " + std::to_string(index);
    self(b).blocks.push_back(self(b).block_);
  };
  b.end_block = [](mopt_builder* b) noexcept { self(b).block_.clear(); };
  b.tag = [](mopt_builder* b, mopt_val v, mopt_str role) noexcept {
    self(b).roles.try_emplace(v, view(role));
  };
  b.fuse_group = [](mopt_builder* b, mopt_str name, const mopt_val* params, uint32_t n) noexcept {
    auto& group = self(b).groups[std::string(view(name))];
    for (uint32_t i = 0; i < n; ++i)
      group.push_back(self(b).names[params[i]]);
  };
  b.output = [](mopt_builder* b, mopt_str name, mopt_val v) noexcept {
    self(b).outputs[std::string(view(name))] = v;
  };
}

std::vector<const RecordedOp*> RecordingBuilder::all(std::string_view kind) const {
  std::vector<const RecordedOp*> out;
  for (const RecordedOp& op : ops) {
    if (op.kind == kind) out.push_back(&op);
  }
  return out;
}

mopt_val RecordingBuilder::record(std::string_view kind, std::string_view label,
                                  std::span<const mopt_val> in, std::span<const mopt_attr> attrs) {
  RecordedOp op{
      std::string(kind), std::string(label), {in.begin(), in.end()}, ++last_, {}, {}, {}, block_};
  for (const mopt_attr& a : attrs) {
    const std::string key(view(a.name));
    if (a.value.type == MOPT_STR) op.texts[key] = view(a.value.as.s);
    if (a.value.type == MOPT_FLOAT) op.numbers[key] = a.value.as.f;
    if (a.value.type == MOPT_INT) op.numbers[key] = static_cast<double>(a.value.as.i);
    for (uint32_t i = 0; a.value.type == MOPT_LIST && i < a.value.count; ++i) {
      op.dims.push_back(a.value.as.list[i].as.i);
    }
  }
  ops.push_back(std::move(op));
  return last_;
}

std::map<std::string, std::vector<int64_t>> checkpoint_shapes(const std::string& folder) {
  std::map<std::string, std::vector<int64_t>> out;
  const std::string config = golden(folder + "/config.json");
  if (config.empty()) return out;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(config).parent_path())) {
    const std::string file = entry.path().filename();
    if (!file.starts_with("model") || !file.ends_with(".safetensors")) continue;
    for (const auto& [name, tensor] : read_safetensors(entry.path()))
      out[name] = tensor.shape;
  }
  const std::string header = out.empty() ? golden(folder + "/header.json") : std::string();
  if (header.empty()) return out;
  const nlohmann::json entries = parse_json(read_file(header));
  for (const auto& [name, entry] : entries.items())
    out[name] = entry["shape"].get<std::vector<int64_t>>();
  return out;
}

}  // namespace mopt::test
