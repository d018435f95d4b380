#include "host/loader/container.hpp"

#include <array>
#include <fstream>

namespace mopt {
namespace {

namespace fs = std::filesystem;

constexpr size_t kHeadBytes = 64;

std::vector<uint8_t> read_head(const fs::path& path) {
  std::vector<uint8_t> head(kHeadBytes);
  std::ifstream in(path, std::ios::binary);
  in.read(reinterpret_cast<char*>(head.data()), kHeadBytes);
  head.resize(static_cast<size_t>(in.gcount()));
  return head;
}

Component choose_format(const Registry& registry, const fs::path& path) {
  std::error_code failed;
  if (!fs::exists(path, failed)) {
    throw Error(MOPT_NOT_FOUND, "there is no such file or directory; check the path",
                path.string());
  }
  const std::vector<uint8_t> head =
      fs::is_directory(path) ? std::vector<uint8_t>{} : read_head(path);
  Component best;
  int32_t best_score = 0;
  std::string names;
  for (const Component& c : registry.components(MOPT_FORMAT_INTERFACE)) {
    const int32_t score =
        table_of<mopt_format>(c)->probe(str(path.native()), head.data(), head.size());
    if (score > best_score) best = c, best_score = score;
    names += (names.empty() ? "" : ", ") + std::string(c.name());
  }
  if (best.entry == nullptr) {
    throw Error(MOPT_UNSUPPORTED,
                "no loaded format plugin reads it (there are: " + (names.empty() ? "none" : names) +
                    "); expected a Hugging Face directory, a .safetensors or a .gguf file",
                path.string());
  }
  return best;
}

std::vector<mopt_tensor_decl> abi_decls(const std::vector<TensorDecl>& tensors) {
  std::vector<mopt_tensor_decl> decls;
  decls.reserve(tensors.size());
  for (const TensorDecl& d : tensors)
    decls.push_back(to_abi(d));
  return decls;
}

mopt_write_plan abi_plan(const ContainerWriter::Plan& plan,
                         const std::vector<mopt_tensor_decl>& decls, WriteMode mode) {
  return {sizeof(mopt_write_plan),
          mode == WriteMode::kResume ? mopt_write_flags{MOPT_WRITE_RESUME} : mopt_write_flags{0},
          str(plan.directory.native()),
          decls.data(),
          decls.size(),
          plan.shard_bytes};
}

const mopt_format* writing_table(const Registry& registry, std::string_view format) {
  const auto* table = table_of<mopt_format>(registry.find(MOPT_FORMAT_INTERFACE, format));
  if (table->create == nullptr) {
    throw Error(MOPT_UNSUPPORTED, "format '" + std::string(format) + "' only reads");
  }
  return table;
}

}  // namespace

Container Container::open(const Registry& registry, const fs::path& path) {
  const Component component = choose_format(registry, path);
  const auto* table = table_of<mopt_format>(component);
  mopt_instance* self = nullptr;
  check(table->open(registry.services().host(), str(path.native()), &self));
  require_instance(self, component);
  Container c;
  c.path_ = path;
  c.format_ = component.name();
  c.exec_ = registry.services().cpu();
  c.instance_ = Instance<mopt_format>(table, self, table->close);
  const uint64_t count = table->count(self);
  c.tensors_.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    mopt_stored_tensor t{};
    check(table->tensor(self, i, &t));
    c.tensors_.push_back({view(t.name),
                          view(t.encoding),
                          t.dtype,
                          {t.shape, static_cast<size_t>(t.ndim)},
                          i,
                          t.file,
                          t.offset,
                          t.nbytes,
                          static_cast<const std::byte*>(t.data),
                          t.plain != 0});
  }
  return c;
}

const StoredTensor* Container::find(std::string_view name) const {
  std::call_once(by_name_->once, [this] {
    NameTable& names = by_name_->names.emplace(tensors_.size());
    for (const StoredTensor& t : tensors_) {
      if (t.index + NameTable::kAhead < tensors_.size())
        names.prefetch(tensors_[t.index + NameTable::kAhead].name);
      if (!names.add(t.name)) continue;
      throw Error(MOPT_DATA_LOSS,
                  "format '" + format_ +
                      "' presents two tensors under this name; report it to the "
                      "plugin's author",
                  std::string(t.name));
    }
  });
  const auto found = by_name_->names->find(name);
  return found ? &tensors_[*found] : nullptr;
}

std::vector<mopt_tensor_decl> Container::declarations() const {
  std::vector<mopt_tensor_decl> decls;
  decls.reserve(tensors_.size());
  for (const StoredTensor& t : tensors_) {
    decls.push_back({sizeof(mopt_tensor_decl), t.dtype, str(t.name), t.shape.data(),
                     static_cast<int32_t>(t.shape.size()), 0});
  }
  return decls;
}

std::vector<std::string> Container::files() const {
  std::vector<std::string> files;
  for (uint64_t i = 0; i < instance_.table().n_files(instance_.self()); ++i) {
    files.emplace_back(view(instance_.table().file(instance_.self(), i)));
  }
  return files;
}

std::string_view Container::document(std::string_view name) const {
  return view(instance_.table().document(instance_.self(), str(name)));
}

std::string_view Container::metadata() const {
  return view(instance_.table().metadata(instance_.self()));
}

void Container::read(const StoredTensor& t, int64_t begin, int64_t end, DLTensor* out) const {
  check(instance_.table().read(instance_.self(), exec_, t.index, begin, end, out));
}

TensorRef Container::map(const StoredTensor& t) const {
  return {t.data, t.dtype, t.shape};
}

Tensor Container::load(const StoredTensor& t, DLDataType dtype) const {
  Tensor out = allocate(dtype, t.shape);
  read(t, 0, t.shape.empty() ? 1 : t.shape[0], out.get());
  return out;
}

void Container::prefetch(const StoredTensor& t) const {
  instance_.table().prefetch(instance_.self(), t.index);
}

void Container::release(const StoredTensor& t) const {
  instance_.table().release(instance_.self(), t.index);
}

ContainerWriter::ContainerWriter(const Registry& registry, std::string_view format,
                                 const Plan& plan, WriteMode mode) {
  const mopt_format* table = writing_table(registry, format);
  const auto decls = abi_decls(plan.tensors);
  const mopt_write_plan abi = abi_plan(plan, decls, mode);
  mopt_instance* self = nullptr;
  check(table->create(registry.services().host(), &abi, &self));
  require_instance(self, registry.find(MOPT_FORMAT_INTERFACE, format));
  instance_ = Instance<mopt_format>(table, self, table->discard);
}

uint64_t ContainerWriter::predict(const Registry& registry, std::string_view format,
                                  const Plan& plan) {
  return predict(registry, format, abi_decls(plan.tensors), plan.shard_bytes);
}

uint64_t ContainerWriter::predict(const Registry& registry, std::string_view format,
                                  std::span<const mopt_tensor_decl> tensors, uint64_t shard_bytes) {
  const mopt_write_plan abi{sizeof(mopt_write_plan), 0,          str(""), tensors.data(),
                            tensors.size(),          shard_bytes};
  uint64_t bytes = 0;
  check(writing_table(registry, format)->predict(&abi, &bytes));
  return bytes;
}

void ContainerWriter::write(std::string_view name, uint64_t offset,
                            std::span<const std::byte> data) {
  check(instance_.table().write(instance_.self(), str(name), offset, data.data(), data.size()));
}

void ContainerWriter::sync() {
  check(instance_.table().sync(instance_.self()));
}

void ContainerWriter::commit() {
  check(instance_.table().commit(instance_.self()));
}

}  // namespace mopt
