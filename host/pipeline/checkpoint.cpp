#include "host/pipeline/checkpoint.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <map>

#include "host/compute/cast/cast.hpp"
#include "host/compute/parallel.hpp"
#include "host/recipe/diagnostic.hpp"

namespace mopt::pipeline {
namespace {

// `about_path`: the fault is about the path that was given, not about something in it.
std::string code_of(mopt_code code, bool about_path) {
  switch (code) {
    case MOPT_NOT_FOUND:
      return about_path ? "M101" : "M103";
    case MOPT_UNSUPPORTED:
      return about_path ? "M102" : "M104";
    case MOPT_DATA_LOSS:
      return "M103";
    case MOPT_IO:
      return "M101";
    case MOPT_EXECUTABLE:
      return "M105";
    case MOPT_OUTSIDE:
      return "M106";
    default:
      return "M207";
  }
}

// What an adapter says of a configuration.
std::string adapter_code(mopt_code code) {
  switch (code) {
    case MOPT_NOT_FOUND:
      return "M201";
    case MOPT_UNSUPPORTED:
      return "M202";
    case MOPT_INVALID_ARGUMENT:
    case MOPT_DATA_LOSS:
      return "M107";
    default:
      return "M207";
  }
}

// A description beside the weights, not an index or the weights themselves.
bool is_config(const std::string& name) {
  return name.ends_with("config.json") && name.find('/') == std::string::npos;
}

// The float type with most bytes among the matrices.
DLDataType prevailing_dtype(const Container& container) {
  uint64_t bf16 = 0, f16 = 0, f32 = 0;
  for (const mopt::StoredTensor& t : container.tensors()) {
    if (t.shape.size() < 2) continue;
    if (same(t.dtype, kBf16)) bf16 += t.bytes();
    if (same(t.dtype, kF16)) f16 += t.bytes();
    if (same(t.dtype, kF32)) f32 += t.bytes();
  }
  if (f32 > bf16 && f32 > f16) return kF32;
  return f16 > bf16 ? kF16 : kBf16;
}

constexpr const char* kPreQuantScale = "pre_quant_scale";
// What a stored parameter may consist of: the weight's own tensors, and what goes with its input.
constexpr std::array kWeightRoles{MOPT_ROLE_PAYLOAD, MOPT_ROLE_SCALE, MOPT_ROLE_GLOBAL_SCALE};
constexpr std::array kOtherRoles{MOPT_ROLE_INPUT_SCALE, MOPT_ROLE_K_SCALE, MOPT_ROLE_V_SCALE,
                                 kPreQuantScale};

template <size_t N>
bool is_one_of(const std::string& role, const std::array<const char*, N>& roles) {
  return std::find(roles.begin(), roles.end(), role) != roles.end();
}

[[noreturn]] void unsupported(const std::string& tensor, std::string message, std::string remedy) {
  Diagnostic d;
  d.code = "M104";
  d.tensor = tensor;
  d.message = std::move(message);
  d.remedy = std::move(remedy);
  throw Failure(d);
}

// "fp8 (e4m3, scale f32)" or "mxfp4 (e2m1, scale e8m0 per 1 x 32)".
std::string scheme_text(const mopt_scheme& s) {
  std::string text = std::string(view(s.name)) + " (" + dtype_name(s.element);
  if ((s.flags & MOPT_SCHEME_DYNAMIC) != 0) text += ", dynamic";
  text += ", scale " + dtype_name(s.scale);
  if (s.granularity == MOPT_PER_BLOCK) {
    text += " per " + std::to_string(s.block_rows) + " x " + std::to_string(s.block_cols);
  }
  return text + ")";
}

// One E4M3 code an element, with f32 scales.
bool is_plain_e4m3(const mopt_scheme& s) {
  return same(s.element, kE4m3) && same(s.scale, kF32);
}

void require_part(const NamedTensor& part, DLDataType dtype, int64_t count,
                  const std::string& parameter) {
  const DLTensor& t = *part.tensor.get();
  if (same(t.dtype, dtype) && elements(t) == count) return;
  throw Error(MOPT_DATA_LOSS,
              "expected " + std::to_string(count) + " elements of " + dtype_name(dtype) +
                  " as its " + part.name + ", found " + dtype_name(t.dtype) + " " +
                  shape_text(shape(t)) + "; the checkpoint is damaged",
              parameter);
}

// Each column of w [rows, cols] times its factor.
void scale_columns(const Tensor& w, const std::vector<float>& factors) {
  const auto cols = static_cast<int64_t>(factors.size());
  const compute::View all = compute::view_of(w.data<char>(), w.get()->dtype, shape(*w));
  compute::by_dtype("pre_quant_scale", all, [&]<class T>(T*) {
    compute::for_each(all.rows(), 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * cols; i < end * cols; ++i) {
        T& x = all.as<T>()[i];
        put(to_float(x) * factors[static_cast<size_t>(i % cols)], x);
      }
    });
  });
}

// The file of the directory with which a sentence about a tensor begins; else the directory.
std::string file_named_by(const std::string& sentence, const std::string& directory) {
  const std::string path = sentence.substr(0, sentence.find(": "));
  return path.starts_with(directory + "/") && std::filesystem::exists(path) ? path : directory;
}

}  // namespace

Diagnostic model_fault(const std::string& file, const Error& e) {
  Diagnostic d;
  d.code = code_of(e.code(), e.where().empty() || e.where() == file);
  d.file = file;
  if (is_config(e.where())) {
    if (e.code() == MOPT_DATA_LOSS) d.code = "M107";
    if (std::filesystem::is_directory(file))
      d.file = (std::filesystem::path(file) / e.where()).string();
  } else if (e.where().find('/') != std::string::npos) {
    d.file = e.where();  // a file of the directory
  } else if (e.where() != file) {
    d.tensor = e.where();
    d.file = file_named_by(e.what(), file);
  }
  d.message = without_place(e.what(), d.file, d.tensor);
  return d;
}

void as_model_failure(const std::string& file, const std::function<void()>& fn) {
  try {
    fn();
  } catch (const Error& e) {
    throw Failure(model_fault(file, e));
  }
}

std::unique_ptr<Checkpoint> Checkpoint::open(const Registry& registry,
                                             const std::filesystem::path& path,
                                             std::string_view adapter) {
  std::unique_ptr<Checkpoint> out;
  const std::string file = path.string();
  as_model_failure(file, [&] {
    out.reset(new Checkpoint(registry, Container::open(registry, path)));
    const std::string_view config = out->container_.document("config.json");
    if (!config.empty()) out->config_.emplace(config);
    out->dtype_ = prevailing_dtype(out->container_);
    out->read_description();
  });
  if (adapter != "none") out->build_graph(adapter);
  return out;
}

void Checkpoint::build_graph(std::string_view adapter) {
  try {
    if (!config_) {
      throw Error(MOPT_DATA_LOSS,
                  "config.json is missing beside it; copy it from the model's repository");
    }
    graph_ = graph::adapt(registry_, container_, *config_, adapter);
  } catch (const Error& e) {
    throw Failure(graph_fault(adapter_code(e.code()), e));
  }
  try {
    if (!quantized()) graph::check_parameters(*graph_, container_);
  } catch (const Error& e) {
    throw Failure(graph_fault("M108", e));
  }
}

Diagnostic Checkpoint::graph_fault(std::string code, const Error& e) const {
  Diagnostic d;
  d.code = std::move(code);
  d.file = container_.path().string();
  d.tensor = e.where();
  d.message = without_place(e.what(), d.file, d.tensor);
  return d;
}

void Checkpoint::read_description() {
  const auto exporters = registry_.components(MOPT_EXPORTER_INTERFACE);
  const std::vector<mopt_tensor_decl> decls = container_.declarations();
  for (const Component& c : exporters) {
    try {
      Exporter exporter(registry_, c, {});
      description_ =
          exporter.read(decls, [&](std::string_view name) { return container_.document(name); });
      layout_ = std::move(exporter);
      break;
    } catch (const Error& e) {
      if (e.code() != MOPT_UNSUPPORTED || &c == &exporters.back()) throw;
    }
  }
  for (const StoredParam& p : description_.params)
    stored_[p.name] = &p;
  if (!stored_.empty() && !same(dtype_, kF16) && !same(dtype_, kF32)) dtype_ = kBf16;
}

const graph::Model& Checkpoint::required_graph() const {
  if (graph_) return *graph_;
  Diagnostic d;
  d.code = "M201";
  d.file = container_.path().string();
  d.message = "this needs the model's graph, but no adapter was asked for; use adapter = \"auto\"";
  throw Failure(d);
}

const StoredParam* Checkpoint::stored(std::string_view parameter) const {
  const auto found = stored_.find(std::string(parameter));
  return found == stored_.end() ? nullptr : found->second;
}

int64_t Checkpoint::parameter_count() const {
  int64_t count = 0;
  for (const mopt::StoredTensor& t : container_.tensors()) {
    if (stored(t.name) == nullptr) count += elements(t.shape);
  }
  for (const StoredParam& p : description_.params)
    count += p.rows * p.cols;
  return count;
}

uint64_t Checkpoint::bytes() const {
  uint64_t bytes = 0;
  for (const mopt::StoredTensor& t : container_.tensors())
    bytes += t.stored_bytes;
  return bytes;
}

const Quantizer& Checkpoint::quantizer_for(const mopt_scheme& scheme,
                                           const std::string& parameter) const {
  for (const auto& [known, quantizer] : quantizers_) {
    if (view(known.name) == view(scheme.name) && scheme_of(known) == scheme_of(scheme))
      return quantizer;
  }
  std::optional<Quantizer> opened = Quantizer::open(registry_, scheme);
  if (!opened) {
    unsupported(parameter, "no loaded quantizer reads its format " + scheme_text(scheme),
                "add the plugin that wrote it with --plugin-dir");
  }
  quantizers_.emplace_back(scheme, *std::move(opened));
  return quantizers_.back().second;
}

float Checkpoint::scalar(const std::string& tensor) const {
  const mopt::StoredTensor* t = container_.find(tensor);
  if (t == nullptr || elements(t->shape) != 1) {
    throw Error(MOPT_DATA_LOSS, "expected a scale of one element", tensor);
  }
  return *container_.load(*t, kF32).data<float>();
}

std::vector<float> Checkpoint::pre_scale(const StoredParam& p) const {
  const auto role = p.roles.find(kPreQuantScale);
  if (role == p.roles.end()) return {};
  const mopt::StoredTensor* t = container_.find(role->second);
  if (t == nullptr || elements(t->shape) != p.cols) {
    throw Error(MOPT_DATA_LOSS,
                "expected a factor for each of the " + std::to_string(p.cols) +
                    " input channels; the checkpoint is damaged",
                role->second);
  }
  const Tensor factors = container_.load(*t, kF32);
  return {factors.data<float>(), factors.data<float>() + p.cols};
}

// What dequantize takes, by role.
std::vector<NamedTensor> Checkpoint::weight_parts(const StoredParam& p) const {
  const mopt_exec* exec = registry_.services().cpu();
  const mopt_param abi = p.to_abi();
  std::vector<NamedTensor> parts;
  for (const auto& [role, name] : p.roles) {
    if (is_one_of(role, kOtherRoles)) continue;
    if (!is_one_of(role, kWeightRoles)) {
      unsupported(name, "its role '" + role + "' of " + p.name + " is unknown to this host",
                  "use a newer mopt-host");
    }
    const mopt::StoredTensor* t = container_.find(name);
    if (t == nullptr) throw Error(MOPT_DATA_LOSS, "the checkpoint lacks it", name);
    if (!t->plain) {
      unsupported(name,
                  "expected codes as they are stored, found encoding " + std::string(t->encoding),
                  "use the original checkpoint");
    }
    parts.push_back({role, layout_->unpack(exec, abi, role, container_.map(*t).get())});
  }
  return parts;
}

Tensor Checkpoint::dequantize(const StoredParam& p, DLDataType dtype) const {
  const std::vector<NamedTensor> parts = weight_parts(p);
  std::vector<mopt_named_tensor> named;
  for (const NamedTensor& part : parts)
    named.push_back({str(part.name), part.tensor.get()});
  const mopt_qtensor q{
      sizeof(mopt_qtensor), static_cast<uint32_t>(named.size()), str(p.name), p.rows, p.cols,
      named.data()};
  Tensor out = allocate(dtype, {p.rows, p.cols});
  quantizer_for(*p.weight, p.name).dequantize(registry_.services().cpu(), q, out.get());
  return out;
}

std::optional<CodeScales> Checkpoint::code_scales(const std::string& parameter) const {
  const StoredParam* p = stored(parameter);
  if (p == nullptr || !p->weight || !is_plain_e4m3(*p->weight)) return std::nullopt;
  if (p->weight->granularity == MOPT_PER_TENSOR) return CodeScales::kOne;
  if (p->weight->granularity == MOPT_PER_CHANNEL) return CodeScales::kRows;
  return std::nullopt;
}

WeightCodes Checkpoint::codes(const std::string& parameter) const {
  const StoredParam& p = *stored(parameter);
  const int64_t count = *code_scales(parameter) == CodeScales::kOne ? 1 : p.rows;
  WeightCodes out;
  for (NamedTensor& part : weight_parts(p)) {
    if (part.name == MOPT_ROLE_PAYLOAD) {
      require_part(part, kE4m3, p.rows * p.cols, p.name);
      out.codes = std::move(part.tensor);
    } else {
      require_part(part, kF32, count, p.name);
      out.scales.assign(part.tensor.data<float>(), part.tensor.data<float>() + count);
    }
  }
  return out;
}

ParamData Checkpoint::load(const std::string& parameter, DLDataType dtype, PreScale where) const {
  ParamData data;
  const StoredParam* quantized = stored(parameter);
  if (quantized != nullptr && quantized->weight) {
    data.owned = dequantize(*quantized, dtype);
    if (where == PreScale::kFolded) {
      if (const auto factors = pre_scale(*quantized); !factors.empty())
        scale_columns(data.owned, factors);
    }
    data.view = compute::view_of(data.owned.data<char>(), dtype, shape(*data.owned));
    return data;
  }
  const mopt::StoredTensor* t = container_.find(parameter);
  if (t == nullptr) throw Error(MOPT_DATA_LOSS, "the checkpoint lacks it", parameter);
  if (t->plain && same(t->dtype, dtype)) {
    data.view = compute::view_of(t->data, dtype, t->shape);
    return data;
  }
  if (same(dtype, t->dtype) || same(dtype, kF32)) {
    data.owned = container_.load(*t, dtype);
  } else {
    const Tensor wide = container_.load(*t, kF32);
    data.owned = allocate(dtype, t->shape);
    compute::cast(compute::view_of(wide.data<float>(), kF32, t->shape),
                  compute::view_of(data.owned.data<char>(), dtype, t->shape));
  }
  data.view = compute::view_of(data.owned.data<char>(), dtype, t->shape);
  return data;
}

void Checkpoint::release(const std::string& parameter) const {
  if (const mopt::StoredTensor* t = container_.find(parameter)) container_.release(*t);
}

void Checkpoint::prefetch(const std::string& parameter) const {
  if (const mopt::StoredTensor* t = container_.find(parameter)) container_.prefetch(*t);
}

std::optional<InputFormat> Checkpoint::input_format(const std::string& weight) const {
  const StoredParam* p = stored(weight);
  if (p == nullptr) return std::nullopt;
  InputFormat format{nullptr, MOPT_OPERAND_INPUT, std::nullopt, pre_scale(*p), std::nullopt};
  if (!p->input && format.pre_scale.empty()) return std::nullopt;
  if (!p->input) return format;
  format.quantizer = &quantizer_for(*p->input, p->name);
  if (format.quantizer->encodes_inputs() && is_plain_e4m3(*p->input)) {
    const bool token = p->input->granularity == MOPT_PER_TOKEN;
    format.codes = token ? CodeScales::kRows : CodeScales::kOne;
  }
  const auto scale = p->roles.find(MOPT_ROLE_INPUT_SCALE);
  if (scale != p->roles.end()) format.scale = scalar(scale->second);
  return format;
}

std::optional<InputFormat> Checkpoint::kv_format(const std::string& weight) const {
  const StoredParam* p = stored(weight);
  if (p == nullptr || !p->kv) return std::nullopt;
  InputFormat format{
      &quantizer_for(*p->kv, p->name), MOPT_OPERAND_KV, std::nullopt, {}, std::nullopt};
  for (const char* role : {MOPT_ROLE_K_SCALE, MOPT_ROLE_V_SCALE}) {
    const auto scale = p->roles.find(role);
    if (scale != p->roles.end()) format.scale = scalar(scale->second);
  }
  return format;
}

const text::Tokenizer& Checkpoint::tokenizer() const {
  if (tokenizer_) return *tokenizer_;
  Diagnostic d;
  d.file = container_.path().string();
  try {
    const std::string_view json = container_.document("tokenizer.json");
    if (!json.empty()) return tokenizer_.emplace(text::Tokenizer::from_json(json));
    d.code = "D106";
    d.message = "the model has no tokenizer.json";
    d.remedy = "copy it from the model's repository, or give ids";
  } catch (const Error& e) {
    d.code = "M109";
    d.message = e.what();
  }
  throw Failure(d);
}

std::vector<int64_t> Checkpoint::eos_ids() const {
  if (const std::string_view json = container_.document("generation_config.json"); !json.empty()) {
    const auto ids = graph::ModelConfig(json, "generation_config.json").integers("eos_token_id");
    if (!ids.empty()) return ids;
  }
  return config_ ? config_->integers("eos_token_id") : std::vector<int64_t>{};
}

std::optional<int64_t> Checkpoint::bos_id() const {
  return config_ ? config_->integer("bos_token_id") : std::nullopt;
}

}  // namespace mopt::pipeline
