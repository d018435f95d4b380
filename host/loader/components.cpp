#include "host/loader/components.hpp"

namespace mopt {
namespace {

// Receivers of the ABI: each collects into the vector that ctx points to.
mopt_decl_sink collect(DeclList& into) {
  return {&into, [](void* ctx, const mopt_tensor_decl* d) noexcept {
            return guard([&] { static_cast<DeclList*>(ctx)->append(*d); });
          }};
}

mopt_tensor_sink collect(std::vector<NamedTensor>& into) {
  return {&into, [](void* ctx, mopt_str name, DLManagedTensorVersioned* managed) noexcept {
            Tensor tensor(managed);
            return guard([&] {
              static_cast<std::vector<NamedTensor>*>(ctx)->push_back(
                  {std::string(view(name)), std::move(tensor)});
            });
          }};
}

}  // namespace

// ---- quantizer

Quantizer::Quantizer(const Registry& registry, const Component& c,
                     std::span<const mopt_setting> settings)
    : instance_(create_instance<mopt_quantizer>(registry, c, settings)), flags_(c.entry->flags) {}

std::optional<Quantizer> Quantizer::open(const Registry& registry, const mopt_scheme& scheme) {
  for (const Component& c : registry.components(MOPT_QUANTIZER_INTERFACE)) {
    const auto* table = table_of<mopt_quantizer>(c);
    mopt_instance* self = nullptr;
    mopt_error* error = table->open(registry.services().host(), &scheme, &self);
    if (error == nullptr) {
      require_instance(self, c);
      Quantizer opened;
      opened.instance_ = Instance<mopt_quantizer>(table, self, table->destroy);
      opened.flags_ = c.entry->flags;
      return opened;
    }
    if (error->code != MOPT_UNSUPPORTED) check(error);
    error->release(error);
  }
  return std::nullopt;
}

std::optional<mopt_scheme> Quantizer::scheme(mopt_operand operand) const {
  mopt_scheme out{};
  mopt_error* error = instance_.table().scheme(instance_.self(), operand, &out);
  if (error == nullptr) return out;
  if (error->code != MOPT_UNSUPPORTED) check(error);
  error->release(error);
  return std::nullopt;
}

DeclList Quantizer::plan(const mopt_weight_view& weight) const {
  DeclList decls;
  check(instance_.table().plan(instance_.self(), &weight, collect(decls)));
  return decls;
}

std::vector<NamedTensor> Quantizer::quantize(const mopt_exec* exec,
                                             const mopt_weight_job& job) const {
  std::vector<NamedTensor> tensors;
  check(instance_.table().quantize(instance_.self(), exec, &job, collect(tensors)));
  return tensors;
}

void Quantizer::dequantize(const mopt_exec* exec, const mopt_qtensor& q, DLTensor* out) const {
  check(instance_.table().dequantize(instance_.self(), exec, &q, out));
}

float Quantizer::input_scale(mopt_operand operand, float absmax) const {
  float scale = 0;
  check(instance_.table().input_scale(instance_.self(), operand, absmax, &scale));
  return scale;
}

void Quantizer::quantize_input(const mopt_exec* exec, mopt_operand operand, const DLTensor* x,
                               const float* scale, DLTensor* out) const {
  check(instance_.table().quantize_input(instance_.self(), exec, operand, x, scale, out));
}
void Quantizer::encode_input(const mopt_exec* exec, const DLTensor* x, const float* scale,
                             DLTensor* codes, DLTensor* scales) const {
  check(instance_.table().encode_input(instance_.self(), exec, x, scale, codes, scales));
}

// ---- calibrator

Calibrator::Calibrator(const Registry& registry, const Component& c,
                       std::span<const mopt_setting> settings)
    : instance_(create_instance<mopt_calibrator>(registry, c, settings)) {}

std::vector<std::string> Calibrator::plan(const mopt_site& site) {
  std::vector<std::string> wanted;
  check(instance_.table().plan(instance_.self(), &site,
                               {&wanted, [](void* ctx, mopt_str stat) noexcept {
                                  return guard([&] {
                                    static_cast<std::vector<std::string>*>(ctx)->emplace_back(
                                        view(stat));
                                  });
                                }}));
  return wanted;
}

float Calibrator::solve(const mopt_exec* exec, const mopt_site& site,
                        std::span<const mopt_named_tensor> stats) {
  std::optional<float> range;
  check(instance_.table().solve(instance_.self(), exec, &site, stats.data(), stats.size(),
                                {&range, [](void* ctx, float absmax) noexcept {
                                   return guard(
                                       [&] { *static_cast<std::optional<float>*>(ctx) = absmax; });
                                 }}));
  if (!range) {
    throw Error(MOPT_INTERNAL, "the calibrator returned no range", std::string(view(site.name)));
  }
  return *range;
}

// ---- pruner

Pruner::Pruner(const Registry& registry, const Component& c, std::span<const mopt_setting> settings)
    : instance_(create_instance<mopt_pruner>(registry, c, settings)) {}

void Pruner::plan(const mopt_weight_view& weight) const {
  check(instance_.table().plan(instance_.self(), &weight));
}

Tensor Pruner::mask(const mopt_exec* exec, const mopt_weight_job& job) const {
  Tensor mask = allocate(kU8, shape(*job.weight));
  check(instance_.table().mask(instance_.self(), exec, &job, mask.get()));
  return mask;
}

// ---- exporter

mopt_param StoredParam::to_abi() const {
  const auto pointer = [](const std::optional<mopt_scheme>& s) { return s ? &*s : nullptr; };
  return {sizeof(mopt_param), kind,           str(name),   str(role),
          pointer(weight),    pointer(input), pointer(kv), str(fuse_group)};
}

Exporter::Exporter(const Registry& registry, const Component& c,
                   std::span<const mopt_setting> settings)
    : instance_(create_instance<mopt_exporter>(registry, c, settings)) {}

DeclList Exporter::plan(const mopt_param& param, const DeclList& by_role) const {
  std::vector<mopt_tensor_decl> decls;
  decls.reserve(by_role.size());
  for (const DeclView d : by_role)
    decls.push_back(mopt::to_abi(d));
  DeclList out;
  check(instance_.table().plan(instance_.self(), &param, decls.data(), decls.size(), collect(out)));
  return out;
}

std::vector<NamedTensor> Exporter::put(const mopt_exec* exec, const mopt_param& param,
                                       std::span<const mopt_named_tensor> by_role) const {
  std::vector<NamedTensor> out;
  check(instance_.table().put(instance_.self(), exec, &param, by_role.data(), by_role.size(),
                              collect(out)));
  return out;
}

std::map<std::string, std::string> Exporter::finish(const mopt_export& job) {
  using Files = std::map<std::string, std::string>;
  Files files;
  check(instance_.table().finish(
      instance_.self(), &job,
      {&files, [](void* ctx, mopt_str name, mopt_str text) noexcept {
         return guard([&] { (*static_cast<Files*>(ctx))[std::string(view(name))] = view(text); });
       }}));
  return files;
}

std::vector<EngineVerdict> Exporter::engines(const mopt_export& job) {
  std::vector<EngineVerdict> out;
  check(instance_.table().engines(
      instance_.self(), &job,
      {&out, [](void* ctx, mopt_str engine, mopt_str verdict, mopt_str reason) noexcept {
         return guard([&] {
           static_cast<std::vector<EngineVerdict>*>(ctx)->push_back(
               {std::string(view(engine)), std::string(view(verdict)), std::string(view(reason))});
         });
       }}));
  return out;
}

namespace {

void read_param(ReadResult& into, const mopt_param& p, int64_t rows, int64_t cols,
                std::span<const mopt_stored_role> roles) {
  const auto copy = [](const mopt_scheme* s) {
    return s == nullptr ? std::optional<mopt_scheme>() : *s;
  };
  StoredParam stored{std::string(view(p.name)),
                     std::string(view(p.role)),
                     std::string(view(p.fuse_group)),
                     copy(p.weight),
                     copy(p.input),
                     copy(p.kv),
                     rows,
                     cols,
                     {},
                     p.kind};
  for (const mopt_stored_role& r : roles)
    stored.roles.emplace(view(r.role), view(r.name));
  into.params.push_back(std::move(stored));
}

constexpr mopt_read_sink kNoReadSink{};

mopt_read_sink collect(ReadResult& into) {
  mopt_read_sink sink = kNoReadSink;
  sink.ctx = &into;
  sink.param = [](void* ctx, const mopt_param* p, int64_t rows, int64_t cols,
                  const mopt_stored_role* roles, uint64_t n) noexcept {
    return guard([&] { read_param(*static_cast<ReadResult*>(ctx), *p, rows, cols, {roles, n}); });
  };
  sink.problem = [](void* ctx, const mopt_problem* p) noexcept {
    return guard([&] {
      static_cast<ReadResult*>(ctx)->problems.push_back(
          {p->severity, std::string(view(p->code)), std::string(view(p->file)),
           std::string(view(p->tensor)), std::string(view(p->message)),
           std::string(view(p->remedy))});
    });
  };
  return sink;
}

}  // namespace

ReadResult Exporter::read(std::span<const mopt_tensor_decl> tensors,
                          const std::function<std::string_view(std::string_view)>& document) {
  const mopt_checkpoint checkpoint{
      sizeof(mopt_checkpoint),
      0,
      const_cast<void*>(static_cast<const void*>(&document)),
      [](void* ctx, mopt_str name) noexcept {
        const auto& read =
            *static_cast<const std::function<std::string_view(std::string_view)>*>(ctx);
        try {
          return str(read(view(name)));
        } catch (...) {
          return mopt_str{nullptr, 0};
        }
      },
      tensors.data(),
      tensors.size()};
  ReadResult result;
  check(instance_.table().read(instance_.self(), &checkpoint, collect(result)));
  return result;
}

Tensor Exporter::unpack(const mopt_exec* exec, const mopt_param& param, std::string_view role,
                        const DLTensor* stored) const {
  DLManagedTensorVersioned* out = nullptr;
  check(instance_.table().unpack(instance_.self(), exec, &param, str(role), stored, &out));
  if (out == nullptr) {
    throw Error(MOPT_INTERNAL, "the exporter unpacked nothing and gave no reason",
                std::string(view(param.name)));
  }
  return Tensor(out);
}

}  // namespace mopt
