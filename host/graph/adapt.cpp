#include "host/graph/adapt.hpp"

#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>

#include "host/graph/builder.hpp"
#include "mopt/python_json.hpp"

namespace mopt::graph {

using Json = nlohmann::json;

namespace {

// NaN or an infinity, which the standard's JSON has no numbers for.
std::optional<double> not_finite(const Json& node) {
  return node.is_string() ? marked_number(node.get_ref<const std::string&>()) : std::nullopt;
}

}  // namespace

struct ModelConfig::Impl {
  Json json;
  // Lists are handed out by address, so they are kept.
  std::mutex mutex;
  std::deque<std::vector<mopt_value>> lists;

  const Json* at(std::string_view path) const {
    const Json* node = &json;
    while (!path.empty()) {
      const size_t dot = path.find('.');
      const std::string key(path.substr(0, dot));
      if (!node->is_object() || !node->contains(key)) return nullptr;
      node = &(*node)[key];
      path = dot == std::string_view::npos ? "" : path.substr(dot + 1);
    }
    return node;
  }

  mopt_value value(const Json& node) {
    if (node.is_boolean()) return {MOPT_BOOL, 0, {.i = node.get<bool>()}};
    if (node.is_number_integer()) return {MOPT_INT, 0, {.i = node.get<int64_t>()}};
    if (node.is_number()) return {MOPT_FLOAT, 0, {.f = node.get<double>()}};
    if (const auto number = not_finite(node)) return {MOPT_FLOAT, 0, {.f = *number}};
    if (node.is_string()) return {MOPT_STR, 0, {.s = str(node.get_ref<const std::string&>())}};
    if (node.is_object()) return {MOPT_MAP, 0, {.i = 0}};
    if (!node.is_array()) return {MOPT_NONE, 0, {.i = 0}};
    std::vector<mopt_value> list;
    for (const Json& element : node)
      list.push_back(value(element));
    lists.push_back(std::move(list));
    return {MOPT_LIST, static_cast<uint32_t>(lists.back().size()), {.list = lists.back().data()}};
  }
};

ModelConfig::ModelConfig(std::string_view json, const std::string& file)
    : impl_(std::make_unique<Impl>()) {
  impl_->json = Json::parse(standard_json(json), nullptr, false);
  if (!impl_->json.is_object()) {
    throw Error(MOPT_DATA_LOSS,
                file + ": expected a JSON object, found " +
                    (json.empty() ? "no such file" : "something else") +
                    "; copy it from the model's repository",
                file);
  }
}

ModelConfig::~ModelConfig() = default;

mopt_value ModelConfig::get(std::string_view path) const {
  const Json* node = impl_->at(path);
  if (node == nullptr) return {MOPT_NONE, 0, {.i = 0}};
  const std::lock_guard lock(impl_->mutex);
  return impl_->value(*node);
}

std::string ModelConfig::text(std::string_view path) const {
  const Json* node = impl_->at(path);
  const bool text = node != nullptr && node->is_string() && !not_finite(*node);
  return text ? node->get<std::string>() : "";
}

std::optional<int64_t> ModelConfig::integer(std::string_view path) const {
  const Json* node = impl_->at(path);
  if (node == nullptr || !node->is_number_integer()) return std::nullopt;
  return node->get<int64_t>();
}

bool ModelConfig::flag(std::string_view path) const {
  const Json* node = impl_->at(path);
  return node != nullptr && node->is_boolean() && node->get<bool>();
}

std::vector<int64_t> ModelConfig::integers(std::string_view path) const {
  const Json* node = impl_->at(path);
  if (node == nullptr) return {};
  if (node->is_number_integer()) return {node->get<int64_t>()};
  std::vector<int64_t> list;
  if (node->is_array()) {
    for (const Json& element : *node) {
      if (element.is_number_integer()) list.push_back(element.get<int64_t>());
    }
  }
  return list;
}

namespace {

struct ConfigContext {
  const ModelConfig* config;
  const Container* container;
};

mopt_config abi_config(ConfigContext& context) {
  return {sizeof(mopt_config), 0, &context,
          [](void* ctx, mopt_str path) noexcept {
            try {
              return static_cast<ConfigContext*>(ctx)->config->get(view(path));
            } catch (...) {
              return mopt_value{MOPT_NONE, 0, {.i = 0}};
            }
          },
          [](void* ctx, mopt_str name) noexcept -> int32_t {
            return static_cast<ConfigContext*>(ctx)->container->find(view(name)) != nullptr;
          }};
}

Component choose(const Registry& registry, const mopt_config& config, const ModelConfig& model) {
  Component best;
  int32_t best_score = 0;
  std::string names;
  for (const Component& c : registry.components(MOPT_ADAPTER_INTERFACE)) {
    const int32_t score = table_of<mopt_adapter>(c)->match(&config);
    if (score > best_score) best = c, best_score = score;
    names += (names.empty() ? "" : ", ") + std::string(c.name());
  }
  if (best.entry == nullptr) {
    throw Error(MOPT_NOT_FOUND,
                "no adapter knows model_type '" + model.text("model_type") +
                    "' (there are: " + (names.empty() ? "none" : names) +
                    "); add an adapter plugin with --plugin-dir, or use adapter = \"none\" "
                    "with a recipe that needs no data");
  }
  return best;
}

}  // namespace

Model adapt(const Registry& registry, const Container& container, const ModelConfig& config,
            std::string_view adapter) {
  ConfigContext context{&config, &container};
  const mopt_config abi = abi_config(context);
  const Component component = adapter == "auto" ? choose(registry, abi, config)
                                                : registry.find(MOPT_ADAPTER_INTERFACE, adapter);
  Builder builder;
  check(table_of<mopt_adapter>(component)->build(&abi, builder.abi()));
  return builder.finish(std::string(component.name()));
}

void check_parameters(const Model& model, const Container& container) {
  for (const Param& p : model.params) {
    const mopt::StoredTensor* stored = container.find(p.name);
    if (stored == nullptr) {
      throw Error(MOPT_DATA_LOSS,
                  "the checkpoint holds no such tensor, but its configuration asks for it; the "
                  "checkpoint is incomplete or config.json belongs to another model",
                  p.name);
    }
    const std::vector<int64_t> found(stored->shape.begin(), stored->shape.end());
    if (found != p.dims) {
      throw Error(MOPT_DATA_LOSS,
                  "expected shape " + shape_text(p.dims) + " from config.json, found " +
                      shape_text(found) + "; config.json belongs to another model",
                  p.name);
    }
  }
}

}  // namespace mopt::graph
