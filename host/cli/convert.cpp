// `mopt-host convert`: any container to safetensors, with or without another element type.
#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "host/cli/arguments.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/layout.hpp"
#include "host/cli/models.hpp"
#include "host/cli/side_files.hpp"
#include "host/compute/cast/cast.hpp"
#include "host/report/json.hpp"

namespace mopt::cli {
namespace {

namespace fs = std::filesystem;
using pipeline::Checkpoint;

constexpr uint64_t kChunkBytes = uint64_t{16} << 20;
constexpr uint64_t kShardBytes = 5'000'000'000;
constexpr std::string_view kFormat = "safetensors";

[[noreturn]] void fail(const char* code, const fs::path& file, std::string message,
                       std::string remedy) {
  Diagnostic d;
  d.code = code;
  d.file = file.string();
  d.message = std::move(message);
  d.remedy = std::move(remedy);
  throw Failure(std::move(d));
}

enum class TargetKind { kDirectory, kFile };

TargetKind kind_of(const fs::path& target) {
  const std::string extension = target.extension().string();
  if (extension == ".safetensors") return TargetKind::kFile;
  for (const char* other : {".gguf", ".onnx", ".bin", ".pt", ".pth"}) {
    if (extension != other) continue;
    usage_error("'" + target.string() + "': files of this kind are not written",
                "name a directory, or a file that ends with .safetensors");
  }
  return TargetKind::kDirectory;
}

bool is_float(DLDataType t) {
  return same(t, kBf16) || same(t, kF16) || same(t, kF32) || same(t, kF64);
}

DLDataType wanted_type(TargetType type, DLDataType stored) {
  if (!is_float(stored)) return stored;
  switch (type) {
    case TargetType::kBf16:
      return kBf16;
    case TargetType::kFloat16:
      return kF16;
    case TargetType::kFloat32:
      return kF32;
    case TargetType::kKeep:
      break;
  }
  return stored;
}

// What is written: stored tensors, and quantized parameters that become plain ones.
struct Work {
  std::vector<TensorDecl> decls;
  std::vector<const StoredTensor*> stored;  // by index of decls; null: dequantized
};

Work plan_work(const Checkpoint& source, TargetType type) {
  Work work;
  std::set<std::string, std::less<>> parts;  // of parameters that are dequantized
  const bool plain = type != TargetType::kKeep;
  for (const StoredParam& p : source.description().params) {
    if (!plain || !p.weight) continue;
    for (const auto& [role, tensor] : p.roles)
      parts.insert(tensor);
    work.decls.push_back({p.name, wanted_type(type, kBf16), {p.rows, p.cols}});
    work.stored.push_back(nullptr);
  }
  for (const StoredTensor& t : source.container().tensors()) {
    if (parts.contains(t.name)) continue;
    work.decls.push_back(
        {std::string(t.name), wanted_type(type, t.dtype), {t.shape.begin(), t.shape.end()}});
    work.stored.push_back(&t);
  }
  return work;
}

// float16 has no room above 65504, and infinity in a weight is nothing to be silent about.
void check_range(const Tensor& narrow, const float* wide, const std::string& name) {
  const auto* half = narrow.data<uint16_t>();
  for (int64_t i = 0; i < elements(*narrow); ++i) {
    if ((half[i] & 0x7FFF) != 0x7C00 || !std::isfinite(wide[i])) continue;
    Diagnostic d;
    d.code = "M204";
    d.tensor = name;
    d.message = "float16 ends at 65504, found " + measure_text(wide[i]);
    d.remedy = "use --dtype bf16";
    throw Failure(std::move(d));
  }
}

// f32 -> the target's type.
Tensor narrowed(const Tensor& wide, DLDataType to, const std::string& name) {
  Tensor out = allocate(to, shape(*wide));
  const std::array<int64_t, 1> flat = {elements(*wide)};
  compute::cast(compute::view_of(wide.data<float>(), kF32, flat),
                compute::view_of(out.data<std::byte>(), to, flat));
  if (same(to, kF16)) check_range(out, wide.data<float>(), name);
  return out;
}

std::span<const std::byte> bytes_of(const Tensor& t) {
  return {t.data<std::byte>(), nbytes(*t)};
}

void write_dequantized(const Checkpoint& source, const TensorDecl& decl, ContainerWriter& writer) {
  const pipeline::ParamData data = source.load(decl.name, kF32);
  if (same(decl.dtype, kF32)) {
    writer.write(decl.name, 0, bytes_of(data.owned));
  } else {
    writer.write(decl.name, 0, bytes_of(narrowed(data.owned, decl.dtype, decl.name)));
  }
}

// Some rows of a stored tensor, in the target's type.
Tensor read_rows(const Container& container, const StoredTensor& t, int64_t begin, int64_t end,
                 DLDataType to) {
  std::vector<int64_t> part(t.shape.begin(), t.shape.end());
  if (!part.empty()) part[0] = end - begin;
  const bool change = !same(t.dtype, to);
  Tensor out = allocate(change ? kF32 : t.dtype, part);
  container.read(t, begin, end, out.get());
  if (!change || same(to, kF32)) return out;
  return narrowed(out, to, std::string(t.name));
}

void write_stored(const Container& container, const StoredTensor& t, const TensorDecl& decl,
                  ContainerWriter& writer) {
  if (t.plain && same(t.dtype, decl.dtype)) {
    writer.write(decl.name, 0, {t.data, t.bytes()});
    container.release(t);
    return;
  }
  const int64_t rows = t.shape.empty() ? 1 : t.shape[0];
  const uint64_t row_bytes = std::max<uint64_t>(1, decl.bytes() / std::max<int64_t>(rows, 1));
  const auto step = static_cast<int64_t>(std::max<uint64_t>(1, kChunkBytes / row_bytes));
  for (int64_t begin = 0; begin < rows; begin += step) {
    const int64_t end = std::min(begin + step, rows);
    const Tensor chunk = read_rows(container, t, begin, end, decl.dtype);
    writer.write(decl.name, static_cast<uint64_t>(begin) * row_bytes, bytes_of(chunk));
  }
  if (rows == 0) writer.write(decl.name, 0, {});
  container.release(t);
}

// Where it is written until it is whole.
fs::path unfinished(const fs::path& target) {
  fs::path partial = target;
  if (!partial.has_filename()) partial = partial.parent_path();
  partial += ".partial";
  return partial;
}

void check_target(const fs::path& source, const fs::path& target) {
  std::error_code failed;
  const fs::path partial = unfinished(target);
  for (const fs::path& path : {target, partial}) {
    if (!fs::exists(path, failed)) continue;
    fail("R105", path, "it exists already",
         path == target ? "choose another name, or remove it first"
                        : "an earlier conversion was not finished: remove it");
  }
  const fs::path from = fs::weakly_canonical(source, failed), to = fs::weakly_canonical(target);
  if (fs::is_directory(from, failed) &&
      std::mismatch(from.begin(), from.end(), to.begin(), to.end()).first == from.end()) {
    fail("R108", target, "it lies inside of the source", "choose a place elsewhere");
  }
}

void finish(const fs::path& partial, const fs::path& target, TargetKind kind) {
  if (kind == TargetKind::kDirectory) {
    fs::rename(partial, target.has_filename() ? target : target.parent_path());
    return;
  }
  fs::rename(partial / "model.safetensors", target);
  fs::remove_all(partial);
}

// Removes what was begun, unless it was finished.
class Cleanup {
 public:
  explicit Cleanup(fs::path path) : path_(std::move(path)) {}
  ~Cleanup() {
    std::error_code failed;
    fs::remove_all(path_, failed);
  }

 private:
  fs::path path_;
};

uint64_t write_all(App& app, const Checkpoint& source, const Work& work, TargetType type,
                   const fs::path& target) {
  const TargetKind kind = kind_of(target);
  const fs::path partial = unfinished(target);
  fs::create_directories(partial);
  const Cleanup cleanup(partial);
  const ContainerWriter::Plan plan{partial, work.decls,
                                   kind == TargetKind::kFile ? 0 : kShardBytes};
  ContainerWriter writer(app.registry(), kFormat, plan, WriteMode::kFresh);
  for (size_t i = 0; i < work.decls.size(); ++i) {
    if (work.stored[i] == nullptr) {
      write_dequantized(source, work.decls[i], writer);
    } else {
      write_stored(source.container(), *work.stored[i], work.decls[i], writer);
    }
  }
  writer.sync();
  writer.commit();
  if (kind == TargetKind::kDirectory) {
    write_side_files(source, type == TargetType::kKeep ? Weights::kAsStored : Weights::kPlain,
                     work.decls, partial);
  }
  finish(partial, target, kind);
  return ContainerWriter::predict(app.registry(), kFormat, plan);
}

}  // namespace

Exit run_convert(App& app, const ConvertOptions& options) {
  kind_of(options.target);
  check_target(options.source, options.target);
  const auto source = open_tensors(app, options.source);
  const Work work = plan_work(*source, options.type);
  uint64_t bytes = 0;
  try {
    bytes = write_all(app, *source, work, options.type, options.target);
  } catch (const fs::filesystem_error& e) {
    fail("R106", e.path1(), e.code().message(), "check permissions and free space");
  } catch (const Error& e) {
    if (e.code() != MOPT_IO) throw;
    fail("R106", options.target, e.what(), "");
  }
  if (app.json()) {
    app.console().document(json_page({{"tensors", work.decls.size()}, {"bytes", bytes}}));
  } else {
    app.console().text(printable(options.target.string()) + ": " + grouped(work.decls.size()) +
                       " tensors, " + bytes_text(static_cast<double>(bytes)) + "\n");
  }
  return Exit::kDone;
}

}  // namespace mopt::cli
