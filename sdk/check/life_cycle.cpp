// Instances are created and destroyed, with and without the host's services.
#include <cstring>

#include "harness.hpp"
#include "host.hpp"

namespace mopt::conformance {
namespace {

using Create = mopt_error* (*)(const mopt_host*, const mopt_setting*, uint64_t,
                               mopt_instance**) noexcept;
using Destroy = void (*)(mopt_instance*) noexcept;

struct Life {
  Create create = nullptr;
  Destroy destroy = nullptr;
};

template <class Table>
Life life_of_table(const void* table) {
  return {static_cast<const Table*>(table)->create, static_cast<const Table*>(table)->destroy};
}

// Adapters and containers have no instances of their own.
Life life_of(const mopt_component& c) {
  const std::string_view id = c.interface_id;
  if (id == MOPT_QUANTIZER_INTERFACE) return life_of_table<mopt_quantizer>(c.vtable);
  if (id == MOPT_CALIBRATOR_INTERFACE) return life_of_table<mopt_calibrator>(c.vtable);
  if (id == MOPT_PRUNER_INTERFACE) return life_of_table<mopt_pruner>(c.vtable);
  if (id == MOPT_EXPORTER_INTERFACE) return life_of_table<mopt_exporter>(c.vtable);
  return {};
}

void for_each_life(const std::string& file,
                   const std::function<void(const mopt_component&, const Life&)>& body) {
  const mopt_plugin* plugin = open_plugin(file);
  bool any = false;
  for (uint64_t i = 0; i < plugin->n_components; ++i) {
    const Life life = life_of(plugin->components[i]);
    if (life.create == nullptr) continue;
    any = true;
    body(plugin->components[i], life);
  }
  if (!any) throw NotApplicable();
}

}  // namespace

std::vector<Test> life_cycle_tests(const std::string& file) {
  return {{"life cycle: a thousand instances with default options",
           [=] {
             for_each_life(file, [](const mopt_component& c, const Life& life) {
               const std::vector<mopt_setting> settings = defaults(c);
               for (int i = 0; i < 1000; ++i) {
                 mopt_instance* self = nullptr;
                 expect_success(
                     life.create(host(Services::kAll), settings.data(), settings.size(), &self),
                     std::string(c.name) + ": create");
                 if (self == nullptr)
                   throw Broken(std::string(c.name) + ": create gave no instance");
                 life.destroy(self);
               }
             });
           }},
          {"life cycle: create does not need any service", [=] {
             for_each_life(file, [](const mopt_component& c, const Life& life) {
               const std::vector<mopt_setting> settings = defaults(c);
               mopt_instance* self = nullptr;
               const mopt_code code = code_of(
                   life.create(host(Services::kNone), settings.data(), settings.size(), &self));
               if (code == 0) life.destroy(self);
               if (code == MOPT_INTERNAL)
                 throw Broken("MP-20: " + std::string(c.name) +
                              " reports a bug where a service is missing");
             });
           }}};
}

}  // namespace mopt::conformance
