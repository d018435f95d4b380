#include "module_read.hpp"

#include <algorithm>

namespace mopt::hf {
namespace {

constexpr std::string_view kAgain = "export the model again";

Problem about(std::string_view code, std::string_view tensor, std::string message) {
  return {std::string(code), "", std::string(tensor), std::move(message), std::string(kAgain)};
}

std::string tag(DLDataType type) {
  if (same(type, kE4m3)) return "F8_E4M3";
  if (same(type, kE5m2)) return "F8_E5M2";
  if (same(type, kE8m0)) return "F8_E8M0";
  std::string name = dtype_name(type);
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::toupper(c); });
  return name;
}

DLDataType stored_type(DLDataType logical) {
  return same(logical, kE2m1) || same(logical, kI4) || same(logical, kE8m0) ? kU8 : logical;
}

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Shape of the scale under its role.
std::vector<int64_t> scale_shape(const mopt_scheme& s, int64_t rows, int64_t cols) {
  if (s.granularity == MOPT_PER_CHANNEL) return {rows};
  if (s.granularity != MOPT_PER_BLOCK) return {};
  std::vector<int64_t> tiles{ceil_div(rows, s.block_rows), ceil_div(cols, s.block_cols)};
  return kind_of(&s) == Kind::kFp8Tile && tiles[0] == 1 && tiles[1] == 1 ? std::vector<int64_t>{}
                                                                         : tiles;
}

// Stored as expected, or in a spelling that unpack understands: one value as [1], tiles as [R, C].
bool fits(std::span<const int64_t> found, std::span<const int64_t> logical,
          std::span<const int64_t> stored) {
  if (std::ranges::equal(found, stored) || std::ranges::equal(found, logical)) return true;
  return logical.empty() && elements(found) == 1;
}

class Module {
 public:
  Module(const Index& index, const mopt_tensor_decl& weight, const Expectation& want)
      : index_(index), weight_(weight), want_(want), scheme_(want.schemes.weight) {
    param_.struct_size = sizeof(mopt_param);
    param_.name = weight.name;
    param_.weight = &scheme_;
  }

  ModuleRead read() {
    if (!payload() || !scale()) {
      out_.misfit = true;
      return std::move(out_);
    }
    scalar(MOPT_ROLE_GLOBAL_SCALE, (scheme_.flags & MOPT_SCHEME_GLOBAL_SCALE) != 0);
    scalar(MOPT_ROLE_INPUT_SCALE, want_.schemes.static_input);
    pre_quant_scale();
    return std::move(out_);
  }

 private:
  const mopt_tensor_decl* find(std::string_view role) const {
    for (const Companion& c : companions()) {
      if (c.role != role) continue;
      const auto at = index_.find(std::string(want_.module) + std::string(c.suffix));
      return at == index_.end() ? nullptr : at->second;
    }
    return nullptr;
  }
  void add(std::string_view role, const mopt_tensor_decl& decl) {
    out_.roles.push_back({str(role), decl.name});
  }
  void missing(std::string_view role) {
    for (const Companion& c : companions()) {
      if (c.role != role) continue;
      const std::string name = std::string(want_.module) + std::string(c.suffix);
      out_.problems.push_back(about("V101", name,
                                    "expected beside " + std::string(view(weight_.name)) + " for " +
                                        want_.algorithm + ", found no such tensor"));
    }
  }
  void unexpected(const mopt_tensor_decl& decl, mopt_severity severity) {
    Problem p = about("V102", view(decl.name), want_.algorithm + " has no such tensor");
    p.severity = severity;
    out_.problems.push_back(p);
  }
  bool type_fits(const mopt_tensor_decl& decl, DLDataType expected) {
    if (same(decl.dtype, expected)) return true;
    out_.problems.push_back(about(
        "V104", view(decl.name),
        "expected " + tag(expected) + " for " + want_.algorithm + ", found " + tag(decl.dtype)));
    return false;
  }

  bool payload() {
    const std::span<const int64_t> shape = extents(weight_);
    if (!type_fits(weight_, stored_type(scheme_.element))) return false;
    if (shape.size() != 2) {
      out_.problems.push_back(
          about("V103", view(weight_.name), "expected a matrix, found " + shape_text(shape)));
      return false;
    }
    out_.rows = same(scheme_.element, kI4) ? 2 * shape[0] : shape[0];
    out_.cols = same(scheme_.element, kE2m1) ? 2 * shape[1] : shape[1];
    add(MOPT_ROLE_PAYLOAD, weight_);
    return true;
  }

  // False when the stored scale belongs to another algorithm; a missing one is a defect of its own.
  bool scale() {
    const mopt_tensor_decl* decl = find(MOPT_ROLE_SCALE);
    if (decl == nullptr) {
      missing(MOPT_ROLE_SCALE);
      return true;
    }
    add(MOPT_ROLE_SCALE, *decl);
    if (!type_fits(*decl, stored_type(scheme_.scale))) return false;
    const std::vector<int64_t> logical = scale_shape(scheme_, out_.rows, out_.cols);
    const Stored expected = stored(param_, MOPT_ROLE_SCALE, scheme_.scale, logical);
    if (!fits(extents(*decl), logical, expected.shape)) return wrong_shape(*decl, expected.shape);
    if (scheme_.block_rows == 1 && out_.cols % scheme_.block_cols != 0) {
      out_.problems.push_back(about("V103", view(weight_.name),
                                    "K = " + std::to_string(out_.cols) +
                                        " is not a multiple of the block size " +
                                        std::to_string(scheme_.block_cols)));
    }
    return true;
  }

  bool wrong_shape(const mopt_tensor_decl& decl, const std::vector<int64_t>& expected) {
    const std::span<const int64_t> found = extents(decl);
    if (expected.size() == 2 && found.size() == 2 && found[0] == out_.rows && found[1] > 0 &&
        out_.cols % found[1] == 0) {
      out_.found_group = out_.cols / found[1];
      return true;
    }
    std::string message = expected.empty()
                              ? "expected one value, found " + shape_text(found)
                              : "expected " + shape_text(expected) + " beside " +
                                    shape_text(extents(weight_)) + ", found " + shape_text(found);
    if (expected.size() > 1 && found.size() == expected.size() &&
        std::ranges::is_permutation(found, expected)) {
      message += " (transposed)";
    }
    out_.problems.push_back(about("V103", view(decl.name), message));
    return false;
  }

  void scalar(std::string_view role, bool required) {
    const mopt_tensor_decl* decl = find(role);
    if (decl == nullptr) {
      if (required) missing(role);
      return;
    }
    if (!required) {
      // An input scale that nobody asks for changes nothing; a second weight scale would.
      const bool input = role == MOPT_ROLE_INPUT_SCALE;
      unexpected(*decl, input ? MOPT_SEVERITY_WARNING : MOPT_SEVERITY_ERROR);
      return;
    }
    if (const auto problem = check_scalar(*decl)) out_.problems.push_back(*problem);
    add(role, *decl);
  }

  void pre_quant_scale() {
    const mopt_tensor_decl* decl = find("pre_quant_scale");
    if (decl == nullptr) {
      if (want_.pre_quant_scale) missing("pre_quant_scale");
      return;
    }
    const Kind kind = kind_of(&scheme_);
    const bool smoothed =
        kind == Kind::kInt4Block || (kind == Kind::kInt8Channel && want_.schemes.input.has_value());
    if (!smoothed) {
      unexpected(*decl, MOPT_SEVERITY_ERROR);
    } else if (const std::span<const int64_t> shape = extents(*decl);
               shape.size() != 1 || shape[0] != out_.cols) {
      out_.problems.push_back(
          about("V103", view(decl->name),
                "expected [" + std::to_string(out_.cols) + "], found " + shape_text(shape)));
    } else {
      add("pre_quant_scale", *decl);
    }
  }

  const Index& index_;
  const mopt_tensor_decl& weight_;
  const Expectation& want_;
  const mopt_scheme& scheme_;
  mopt_param param_{};
  ModuleRead out_;
};

}  // namespace

bool ModuleRead::usable() const {
  return !found_group && std::ranges::none_of(problems, [](const Problem& p) {
    return p.severity == MOPT_SEVERITY_ERROR;
  });
}

ModuleRead read_module(const Index& index, const mopt_tensor_decl& weight,
                       const Expectation& want) {
  return Module(index, weight, want).read();
}

std::optional<Problem> check_scalar(const mopt_tensor_decl& decl) {
  if (elements(extents(decl)) != 1 || decl.ndim > 1) {
    return about("V103", view(decl.name), "expected one value, found " + shape_text(extents(decl)));
  }
  if (same(decl.dtype, kF32)) return std::nullopt;
  return about("V104", view(decl.name), "expected F32, found " + tag(decl.dtype));
}

}  // namespace mopt::hf
