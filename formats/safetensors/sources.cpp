#include "sources.hpp"

#include <algorithm>
#include <fstream>

#include "mopt/error.hpp"
#include "mopt/format.h"

namespace mopt::safetensors {
namespace {

namespace fs = std::filesystem;

bool is_pickle(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt" ||
         extension == ".pkl";
}

// A header's length below 2^32 and its first byte.
bool is_header(std::string_view head) {
  return head.size() > 8 && head.substr(4, 5) == std::string_view("\0\0\0\0{", 5);
}

// By its first bytes: protocol 2 or later, or the zip file around one that torch writes. The length
// of a header may begin with the same bytes.
bool is_pickle(std::string_view head) {
  if (is_header(head)) return false;
  return head.starts_with("PK\x03\x04") ||
         (head.size() > 1 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5);
}

std::string head_of(const fs::path& file) {
  std::string head(9, '\0');
  std::ifstream in(file, std::ios::binary);
  in.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<size_t>(in.gcount()));
  return head;
}

[[noreturn]] void refuse_pickle(const fs::path& file) {
  throw Error(MOPT_EXECUTABLE,
              file.string() +
                  ": expected safetensors, found a pickle, which can execute code when it is "
                  "opened; convert it where it is trusted: load it with torch.load(FILE, "
                  "weights_only=True) and save it with safetensors.torch.save_file",
              file.string());
}

std::string read_text(const fs::path& path) {
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  std::ifstream in(path, std::ios::binary);
  std::string text(error ? 0 : size, '\0');
  if (error || !in.read(text.data(), static_cast<std::streamsize>(size))) {
    throw Error(MOPT_IO, path.string() + ": expected a readable file; check its permissions",
                path.string());
  }
  return text;
}

Sources from_index(const fs::path& directory) {
  const fs::path path = directory / kIndexName;
  Sources out{directory, {}, parse_index(read_text(path), path.string())};
  for (const std::string& file : out.index->files)
    out.files.push_back((directory / file).string());
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
    if (is_pickle(entry.path()) && (pickle.empty() || entry.path() < pickle)) pickle = entry.path();
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

namespace {

Sources look_for(const std::string& path) {
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
  if (is_pickle(fs::path(path))) refuse_pickle(path);
  const fs::path parent = fs::path(path).parent_path();
  return {parent.empty() ? fs::path(".") : parent, {path}, {}};
}

}  // namespace

Sources find_sources(const std::string& path) {
  Sources sources = look_for(path);
  for (const std::string& file : sources.files) {
    if (is_pickle(std::string_view(head_of(file)))) refuse_pickle(file);
  }
  return sources;
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
  if (is_pickle(path) || is_pickle(head)) return 1;
  return is_header(head) ? 50 : 0;
}

}  // namespace mopt::safetensors
