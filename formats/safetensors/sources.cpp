#include "sources.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "mopt/error.hpp"
#include "text.hpp"

namespace mopt::safetensors {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void damaged(const fs::path& file, const std::string& sentence) {
  throw Error(MOPT_DATA_LOSS, file.string() + ": " + sentence + "; fetch or write the index again",
              file.string());
}

bool is_pickle(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt" ||
         extension == ".pkl";
}

[[noreturn]] void refuse_pickle(const fs::path& file) {
  throw Error(MOPT_UNSUPPORTED,
              file.string() +
                  ": expected safetensors, found a pickle, which can execute code when it is "
                  "opened; convert it where it is trusted: load it with torch.load(FILE, "
                  "weights_only=True) and save it with safetensors.torch.save_file",
              file.string());
}

// Receives the events of model.safetensors.index.json and keeps its "weight_map". Half a million
// entries as a document tree would cost ten times the file.
class IndexHandler {
 public:
  explicit IndexHandler(const fs::path& file) : file_(file) {}
  using number_integer_t = int64_t;
  using number_unsigned_t = uint64_t;
  using number_float_t = double;
  using string_t = std::string;
  using binary_t = nlohmann::json::binary_t;

  bool null() { return other(); }
  bool boolean(bool) { return other(); }
  bool number_integer(int64_t) { return other(); }
  bool number_unsigned(uint64_t) { return other(); }
  bool number_float(double, const std::string&) { return other(); }
  bool binary(binary_t&) { return other(); }
  bool string(std::string& value) {
    if (!in_map_) return other();
    entries.emplace_back(name_, value);
    return true;
  }
  bool start_object(size_t) {
    if (in_map_) return other();
    if (depth_ == 1 && key_ == "weight_map") {
      if (seen_) damaged(file_, "expected one 'weight_map', found a second");
      in_map_ = seen_ = true;
    }
    ++depth_;
    return true;
  }
  bool end_object() {
    --depth_;
    in_map_ = false;
    return true;
  }
  bool start_array(size_t) {
    other();
    ++depth_;
    return true;
  }
  bool end_array() {
    --depth_;
    return true;
  }
  bool key(std::string& key) {
    if (depth_ == 1) key_ = key;
    if (!in_map_) return true;
    name_ = key;
    if (!names_.insert(key).second) {
      damaged(file_, "expected every tensor once, found " + in_quotes(key) + " twice");
    }
    return true;
  }
  bool parse_error(size_t at, const std::string&, const nlohmann::json::exception&) {
    damaged(file_, "expected JSON, found something else at byte " + std::to_string(at));
  }
  bool complete() const { return seen_; }

  std::vector<std::pair<std::string, std::string>> entries;  // tensor, file name

 private:
  bool other() const {
    if (depth_ == 0) damaged(file_, "expected an object with 'weight_map', found another value");
    if (in_map_)
      damaged(file_,
              "expected a file name for tensor " + in_quotes(name_) + ", found another value");
    if (depth_ == 1 && key_ == "weight_map") {
      damaged(file_, "expected an object as 'weight_map', found another value");
    }
    return true;
  }

  const fs::path& file_;
  std::string key_, name_;
  std::unordered_set<std::string> names_;
  int depth_ = 0;
  bool in_map_ = false, seen_ = false;
};

// Below the directory by its name; where a symbolic link leads is the owner's business.
bool stays_inside(const std::string& name) {
  if (name.empty() || name.find('\0') != std::string::npos) return false;
  const fs::path path(name);
  if (path.is_absolute() || !path.has_filename()) return false;
  return std::none_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".."; });
}

Sources from_index(const fs::path& directory) {
  const fs::path path = directory / kIndexName;
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    throw Error(MOPT_IO, path.string() + ": expected a readable file; check its permissions",
                path.string());
  }
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  IndexHandler handler(path);
  nlohmann::json::sax_parse(text, &handler);
  if (!handler.complete()) damaged(path, "expected an object 'weight_map', found none");

  std::map<std::string, uint32_t> numbers;
  for (const auto& [tensor, file] : handler.entries) {
    if (!stays_inside(file)) {
      damaged(path, "expected tensor " + in_quotes(tensor) +
                        " in a file of this directory, found the file name " + in_quotes(file));
    }
    numbers.emplace(file, 0);
  }
  Sources out{directory, {}, {}};
  for (auto& [file, number] : numbers) {
    number = static_cast<uint32_t>(out.files.size());
    out.files.push_back((directory / file).string());
  }
  out.index.reserve(handler.entries.size());
  for (auto& [tensor, file] : handler.entries) {
    out.index.push_back({std::move(tensor), numbers.find(file)->second});
  }
  return out;
}

Sources from_directory(const fs::path& directory) {
  if (fs::exists(directory / kIndexName)) return from_index(directory);
  if (fs::exists(directory / "model.safetensors")) {
    return {directory, {(directory / "model.safetensors").string()}, {}};
  }
  std::vector<std::string> found;
  fs::path pickle;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".safetensors") found.push_back(entry.path().string());
    if (is_pickle(entry.path())) pickle = entry.path();
  }
  if (found.size() == 1) return {directory, found, {}};
  if (found.empty() && !pickle.empty()) refuse_pickle(pickle);
  throw Error(found.empty() ? MOPT_NOT_FOUND : MOPT_DATA_LOSS,
              directory.string() +
                  ": expected model.safetensors, or model.safetensors.index.json with its files, "
                  "found " +
                  (found.empty() ? "no .safetensors file; name the directory that holds the weights"
                                 : std::to_string(found.size()) +
                                       " .safetensors files without an index; fetch the index, or "
                                       "name one file"),
              directory.string());
}

}  // namespace

Sources find_sources(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    throw Error(MOPT_NOT_FOUND,
                path +
                    ": expected a .safetensors file or a directory, found nothing there; check "
                    "the path",
                path);
  }
  if (fs::is_directory(status)) return from_directory(path);
  if (is_pickle(path)) refuse_pickle(path);
  const fs::path parent = fs::path(path).parent_path();
  return {parent.empty() ? fs::path(".") : parent, {path}, {}};
}

int probe(const fs::path& path, std::string_view head) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    if (fs::exists(path / kIndexName, error)) return 100;
    for (const fs::directory_entry& entry : fs::directory_iterator(path, error)) {
      if (entry.path().extension() == ".safetensors") return 100;
    }
    return 1;
  }
  if (path.extension() == ".safetensors") return 100;
  if (is_pickle(path)) return 1;
  return head.size() > 8 && head.substr(4, 5) == std::string_view("\0\0\0\0{", 5) ? 50 : 0;
}

}  // namespace mopt::safetensors
