#include "reader.hpp"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "description_read.hpp"
#include "module_read.hpp"

namespace mopt::hf {
namespace {

// Types that only quantized weights have.
bool is_code(DLDataType t) {
  return t.bits <= 8 && (t.code == kDLInt || t.code == kDLUInt || t.code == kDLFloat8_e4m3fn ||
                         t.code == kDLFloat8_e5m2 || t.code == kDLFloat4_e2m1fn);
}

std::string_view leaf(std::string_view module) {
  const size_t dot = module.rfind('.');
  return dot == module.npos ? module : module.substr(dot + 1);
}

// Embeddings are 2-D and need not be listed: upstream lists some classes of them and not others.
bool is_embedding(std::string_view module) {
  const std::string_view name = leaf(module);
  return name.find("embed") != name.npos || name == "wte" || name == "wpe";
}

// "model.layers.#.mlp.down_proj": the same module of every layer.
std::string family(std::string_view module) {
  std::string out;
  for (const char c : module) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit || out.empty() || out.back() != '#') out += digit ? '#' : c;
  }
  return out;
}

// The role of a KV scale beside this module; empty for other modules.
std::string_view kv_role(std::string_view module) {
  if (leaf(module) == "k_proj") return MOPT_ROLE_K_SCALE;
  return leaf(module) == "v_proj" ? MOPT_ROLE_V_SCALE : std::string_view();
}

// Modules of one algorithm that do not fit it, until it is known whether any does.
struct Fitting {
  int checked = 0, misfits = 0;
  std::vector<Problem> problems;
};

class Reader {
 public:
  Reader(const Checkpoint& checkpoint, const ReadTarget& target, Documents documents)
      : tensors_(checkpoint.tensors()), target_(target), documents_(std::move(documents)) {
    for (const mopt_tensor_decl& decl : tensors_)
      index_[view(decl.name)] = &decl;
  }

  void run() {
    for (const Problem& problem : documents_.problems)
      report(target_.sink, problem);
    if (!documents_.said) return undescribed();
    prepare();
    if (!said_->entry.is_null() && !schemes(said_->entry)) return;
    for (const mopt_tensor_decl& decl : tensors_) {
      const std::string_view name = view(decl.name);
      const std::string_view module = module_of(name);
      if (module.empty()) {
        companion(name);
      } else {
        weight(decl, module);
      }
    }
    head_without_tensor();
    layers_without_tensors();
    kv_scales();
    for (const auto& [algorithm, fitting] : fitting_)
      conclude(algorithm, fitting);
  }

 private:
  bool stored(std::string_view module, std::string_view suffix) const {
    return index_.contains(std::string(module) + std::string(suffix));
  }

  void say(Problem problem) const { report(target_.sink, problem); }

  // No description: whatever looks quantized contradicts that.
  void undescribed() const {
    for (const mopt_tensor_decl& decl : tensors_) {
      const std::string_view module = module_of(view(decl.name));
      if (module.empty() || !is_code(decl.dtype) || !stored(module, ".weight_scale")) continue;
      say({"V106", std::string(kConfigFile), std::string(view(decl.name)),
           "weights are quantized (" + std::string(module) +
               ".weight_scale exists), but neither config.json nor hf_quant_config.json says so",
           "copy both files from the original, or export the model again"});
      return;
    }
  }

  void prepare() {
    said_ = &*documents_.said;
    if (said_->layers.is_object()) {
      for (const auto& [module, entry] : said_->layers.items())
        layers_[module] = &entry;
    }
    if (said_->kv) {
      kv_ = kv_scheme_of(*said_->kv);
      if (!kv_) {
        say({"V110", said_->file, "",
             "expected the KV cache algorithm FP8 or NVFP4, found " + *said_->kv,
             "read it with the program that wrote it"});
      }
    }
    for (const mopt_tensor_decl& decl : tensors_) {
      const std::string_view name = view(decl.name);
      if (name.ends_with(".input_scale")) {
        const std::string module(name.substr(0, name.size() - 12));
        if (const Tree* entry = entry_of(module)) with_input_.insert(algorithm_of(*entry));
      } else if (name.ends_with(".pre_quant_scale")) {
        smoothed_.insert(family(name.substr(0, name.size() - 16)));
      }
    }
  }

  // What the description says of a module; null: unquantized.
  const Tree* entry_of(std::string_view module) const {
    if (said_->layers.is_object()) {
      const auto at = layers_.find(std::string(module));
      return at == layers_.end() ? nullptr : at->second;
    }
    return said_->entry.is_null() || excluded(said_->exclude, module) ? nullptr : &said_->entry;
  }

  static std::string algorithm_of(const Tree& entry) {
    const auto at = entry.is_object() ? entry.find("quant_algo") : entry.end();
    return at != entry.end() && at->is_string() ? at->get<std::string>() : "none";
  }

  // The schemes of an entry, or null after a V110.
  const Schemes* schemes(const Tree& entry) {
    const std::string key = entry.dump();
    if (const auto known = schemes_.find(key); known != schemes_.end()) {
      return known->second ? &*known->second : nullptr;
    }
    const std::string algorithm = algorithm_of(entry);
    std::optional<Schemes> found;
    std::string detail;
    try {
      const bool stored = with_input_.contains(algorithm);
      found = schemes_of(entry, stored ? InputScales::kStored : InputScales::kAbsent);
    } catch (const Tree::exception& e) {
      detail = std::string(" (") + e.what() + ")";
    }
    if (!found) {
      say({"V110", said_->file, "",
           "expected FP8, FP8_PER_CHANNEL_PER_TOKEN, fp8_pb_wo, W8A8_SQ_PER_CHANNEL, W8A16, "
           "W4A16_AWQ, NVFP4, W4A16_NVFP4, W4A8_NVFP4_FP8, mxfp4, W4A8_MXFP4_FP8 or MXFP8, found "
           "quant_algo " +
               algorithm + detail,
           "read it with the program that wrote it"});
    }
    const auto at = schemes_.emplace(key, std::move(found)).first;
    return at->second ? &*at->second : nullptr;
  }

  void weight(const mopt_tensor_decl& decl, std::string_view module) {
    const Tree* entry = entry_of(module);
    const bool scaled = stored(module, ".weight_scale");
    if (entry == nullptr) {
      unlisted(decl, module);
    } else if (is_code(decl.dtype) || scaled) {
      quantized(decl, module, *entry);
    } else if (said_->layers.is_object()) {
      say({"V106", said_->file, std::string(view(decl.name)),
           "quantized_layers says " + algorithm_of(*entry) + ", but the weight is stored as " +
               dtype_name(decl.dtype),
           "take the module out of quantized_layers, or export the model again"});
    } else if (decl.ndim == 2 && !is_embedding(module)) {
      say({"V106", said_->file, std::string(view(decl.name)),
           std::string(module) + " is not quantized and not listed in ignore/exclude_modules",
           "add it to both lists, or export the model again"});
    } else {
      kv_only(decl, module);
    }
  }

  void unlisted(const mopt_tensor_decl& decl, std::string_view module) {
    if (is_code(decl.dtype)) {
      const std::string why = said_->layers.is_object()
                                  ? " has quantized weights, but quantized_layers does not name it"
                              : said_->entry.is_null()
                                  ? " has quantized weights, but no quant_algo is named"
                                  : " is listed as unquantized, but has quantized weights";
      say({"V106", said_->file, std::string(view(decl.name)), std::string(module) + why,
           "correct the description, or export the model again"});
      return;
    }
    for (const Companion& c : companions()) {
      const bool kv = c.role == MOPT_ROLE_K_SCALE || c.role == MOPT_ROLE_V_SCALE;
      if (kv || !stored(module, c.suffix)) continue;
      say({"V102", "", std::string(module) + std::string(c.suffix),
           std::string(module) + " is not quantized, expected no such tensor beside it",
           "remove it, or export the model again"});
    }
    kv_only(decl, module);
  }

  // An unquantized projection whose output goes into a quantized KV cache.
  void kv_only(const mopt_tensor_decl& decl, std::string_view module) {
    if (!kv_ || kv_role(module).empty() || decl.ndim != 2) return;
    std::vector<mopt_stored_role> roles{{str("weight"), decl.name}};
    emit(decl, module, nullptr, {decl.shape[0], decl.shape[1]}, std::move(roles));
  }

  void quantized(const mopt_tensor_decl& decl, std::string_view module, const Tree& entry) {
    const Schemes* found = schemes(entry);
    if (found == nullptr) return;
    const std::string algorithm = algorithm_of(entry);
    const Expectation want{module, algorithm, *found, smoothed_.contains(family(module))};
    const ModuleRead read = read_module(index_, decl, want);
    Fitting& fitting = fitting_[algorithm];
    ++fitting.checked;
    fitting.misfits += read.misfit;
    for (const Problem& problem : read.problems) {
      if (read.misfit) {
        fitting.problems.push_back(problem);
      } else {
        say(problem);
      }
    }
    if (read.found_group) wrong_group(module, algorithm, found->weight, *read.found_group);
    if (read.usable()) emit(decl, module, found, {read.rows, read.cols}, read.roles);
  }

  // Said once: it is one number in the description.
  void wrong_group(std::string_view module, const std::string& algorithm, const mopt_scheme& weight,
                   int64_t found) {
    if (!groups_said_.insert(algorithm).second) return;
    say({"V106", said_->file, std::string(module) + ".weight_scale",
         "group_size " + std::to_string(weight.block_cols) +
             " does not fit the scales, which are one per " + std::to_string(found),
         "write group_size " + std::to_string(found)});
  }

  struct Extent {
    int64_t rows, cols;
  };
  void emit(const mopt_tensor_decl& decl, std::string_view module, const Schemes* schemes,
            Extent extent, std::vector<mopt_stored_role> roles) const {
    mopt_param param{};
    param.struct_size = sizeof(mopt_param);
    param.kind = is_embedding(module) ? MOPT_PARAM_EMBEDDING : MOPT_PARAM_LINEAR;
    param.name = decl.name;
    if (schemes != nullptr) {
      param.weight = &schemes->weight;
      param.input = schemes->input ? &*schemes->input : nullptr;
    }
    const std::string_view role = kv_role(module);
    if (kv_ && !role.empty()) {
      param.kv = &*kv_;
      const auto at = index_.find(std::string(module) + "." + std::string(role));
      if (at != index_.end()) roles.push_back({str(role), at->second->name});
    }
    target_.sink.param(param, extent.rows, extent.cols, roles);
    target_.seen(param, extent.rows, extent.cols);
  }

  // A tensor that is no weight: does it belong to one?
  void companion(std::string_view name) {
    for (const Companion& c : companions()) {
      if (!name.ends_with(c.suffix)) continue;
      const std::string module(name.substr(0, name.size() - c.suffix.size()));
      if (module.empty() || index_.contains(module + ".weight")) return;
      if (orphans_.insert(module).second) {
        say({"V101", "", module + ".weight",
             "expected beside " + std::string(name) + ", found no such tensor",
             "copy the missing shard, or export the model again"});
      }
      return;
    }
    if (name.find("_quantizer.") != name.npos || name.ends_with("._amax")) {
      say({"V102", "", std::string(name),
           "expected no such tensor: it is calibration state, not part of the format",
           "remove it, or export the model again", MOPT_SEVERITY_WARNING});
    } else if (name.ends_with("_weight_scale")) {
      say({"V110", "", std::string(name),
           "expected one matrix per expert, found the scale of stacked experts",
           "read it with the program that wrote it"});
    } else if (name.find(".weight_") != name.npos) {
      say({"V102", "", std::string(name), "expected no such tensor: the layout has no such name",
           "check the name, or export the model again"});
    }
  }

  // A tied head has no tensor that could be missing in the list of what is not quantized, but
  // engines make a layer of it.
  void head_without_tensor() const {
    if (!documents_.tied_head || stored("lm_head", ".weight") || entry_of("lm_head") == nullptr)
      return;
    if (said_->layers.is_object()) return;
    say({"V106", said_->file, "lm_head",
         "the head is tied to the embedding, which is not quantized, and not listed in "
         "ignore/exclude_modules",
         "add lm_head to both lists, or export the model again"});
  }

  void layers_without_tensors() const {
    if (!said_->layers.is_object()) return;
    for (const auto& [module, entry] : said_->layers.items()) {
      if (stored(module, ".weight") || orphans_.contains(module)) continue;
      say({"V101", "", module + ".weight", "quantized_layers names it, found no such tensor",
           "copy the missing shard, or export the model again"});
    }
  }

  void kv_scales() const {
    int found = 0;
    std::vector<std::string> missing;
    for (const mopt_tensor_decl& decl : tensors_) {
      const std::string_view name = view(decl.name);
      if (name.ends_with(".k_scale") || name.ends_with(".v_scale")) {
        ++found;
        if (const auto problem = check_scalar(decl)) say(*problem);
      }
      const std::string_view module = module_of(name);
      const std::string_view role = kv_role(module);
      if (!role.empty() && !stored(module, "." + std::string(role))) {
        missing.push_back(std::string(module) + "." + std::string(role));
      }
    }
    if (found == 0 && said_->kv) {
      say({"V106", said_->file, "",
           "the KV cache is declared as " + *said_->kv +
               ", but no k_scale or v_scale is stored; engines use 1.0",
           "calibrate the KV cache, or leave it as it is if 1.0 is meant", MOPT_SEVERITY_WARNING});
    } else if (found != 0 && !said_->kv) {
      say({"V106", said_->file, "",
           "k_scale or v_scale are stored, but no KV cache algorithm is declared; engines ignore "
           "them",
           "declare kv_cache_quant_algo and kv_cache_scheme", MOPT_SEVERITY_WARNING});
    } else if (found != 0) {
      for (const std::string& name : missing) {
        say({"V101", "", name, "other layers have it, found no such tensor",
             "copy the missing shard, or export the model again"});
      }
    }
  }

  void conclude(const std::string& algorithm, const Fitting& fitting) const {
    if (fitting.misfits > 1 && fitting.misfits == fitting.checked) {
      const Problem& first = fitting.problems.front();
      say({"V106", said_->file, first.tensor,
           "quant_algo is " + algorithm + ", but no quantized module fits it: " + first.message,
           "write the algorithm that the tensors were made with, or export the model again"});
      return;
    }
    for (const Problem& problem : fitting.problems)
      say(problem);
  }

  std::span<const mopt_tensor_decl> tensors_;
  const ReadTarget& target_;
  Documents documents_;
  Index index_;
  const Said* said_ = nullptr;
  std::unordered_map<std::string, const Tree*> layers_;
  std::optional<mopt_scheme> kv_;
  std::set<std::string> with_input_;  // algorithms of which some module stores an input scale
  std::set<std::string> smoothed_;    // families of which some module stores a pre_quant_scale
  std::map<std::string, std::optional<Schemes>> schemes_;
  std::map<std::string, Fitting> fitting_;
  std::set<std::string> groups_said_, orphans_;
};

}  // namespace

void read_checkpoint(const Checkpoint& checkpoint, const ReadTarget& target) {
  Reader(checkpoint, target, read_documents(checkpoint)).run();
}

}  // namespace mopt::hf
