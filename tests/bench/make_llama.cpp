// Writes a Llama checkpoint with random BF16 weights as Hugging Face does (shards, index,
// config.json), and token ids for calibration. `make_llama --help` lists the options.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "llama_weights.hpp"

namespace {

namespace fs = std::filesystem;
using mopt::bench::LlamaShape;
using mopt::bench::LlamaTensor;
using mopt::bench::LlamaWeights;
using nlohmann::json;

constexpr int64_t kChunkBytes = int64_t{8} << 20;  // generated, then written, by one thread

constexpr const char* kUsage =
    "usage: make_llama DIRECTORY [options], or make_llama FILE.synthetic [options]\n"
    "  --preset 8b|70b      Llama 3's shape (8b)\n"
    "  --shape H,F,N,K,V    hidden, feed-forward, heads, kv heads, vocabulary\n"
    "  --layers N           another number of layers\n"
    "  --seed N             other weights and ids (1)\n"
    "  --shard-gb X         no file holds more (5)\n"
    "  --threads N          the cores that this process may use\n"
    "  --ids FILE           also writes ids [rows, tokens] as input_ids\n"
    "  --rows N --tokens N  of the ids (512, 512)\n"
    "A FILE.synthetic describes the same model for the test format plugin, which makes its "
    "weights\n"
    "when they are read.\n";

struct Options {
  fs::path target;
  LlamaShape shape;
  double shard_gb = 5;
  int64_t threads = std::max(1u, std::thread::hardware_concurrency());
  std::optional<fs::path> ids;
  int64_t rows = 512, tokens = 512;
};

template <class T>
T number(const std::string& text) {
  T value{};
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc() || end != text.data() + text.size() || value < T(0))
    throw std::invalid_argument("expected a number, found '" + text + "'");
  return value;
}

void take_shape(const std::string& text, LlamaShape& shape) {
  int64_t* const fields[] = {&shape.hidden, &shape.feed_forward, &shape.heads, &shape.kv_heads,
                             &shape.vocabulary};
  size_t at = 0;
  for (int64_t* field : fields) {
    const size_t end = std::min(text.find(',', at), text.size());
    *field = number<int64_t>(text.substr(std::min(at, text.size()), end - std::min(at, end)));
    at = end + 1;
  }
  if (at <= text.size()) throw std::invalid_argument("expected five sizes in --shape " + text);
}

Options parse(std::span<char* const> arguments) {
  Options o;
  const std::pair<std::string, std::function<void(const std::string&)>> known[] = {
      {"--preset", [](const auto&) {}},  // taken first, wherever it stands
      {"--shape", [&](const auto& v) { take_shape(v, o.shape); }},
      {"--layers", [&](const auto& v) { o.shape.layers = number<int64_t>(v); }},
      {"--seed", [&](const auto& v) { o.shape.seed = number<uint64_t>(v); }},
      {"--shard-gb", [&](const auto& v) { o.shard_gb = number<double>(v); }},
      {"--threads", [&](const auto& v) { o.threads = number<int64_t>(v); }},
      {"--ids", [&](const auto& v) { o.ids = v; }},
      {"--rows", [&](const auto& v) { o.rows = number<int64_t>(v); }},
      {"--tokens", [&](const auto& v) { o.tokens = number<int64_t>(v); }}};
  for (size_t i = 0; i + 1 < arguments.size(); ++i) {
    if (std::string_view(arguments[i]) == "--preset")
      o.shape = mopt::bench::preset(arguments[i + 1]);
  }
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string name = arguments[i];
    if (!name.starts_with("--") && o.target.empty()) {
      o.target = name;
      continue;
    }
    const auto* option =
        std::find_if(std::begin(known), std::end(known), [&](auto& k) { return k.first == name; });
    if (option == std::end(known)) throw std::invalid_argument("unknown argument " + name);
    if (++i == arguments.size()) throw std::invalid_argument(name + " needs a value");
    option->second(arguments[i]);
  }
  if (o.target.empty()) throw std::invalid_argument("name a directory or a FILE.synthetic");
  if (o.threads < 1) throw std::invalid_argument("--threads needs a number from 1");
  mopt::bench::check_shape(o.shape);
  return o;
}

[[noreturn]] void fail(const std::string& file) {
  throw std::system_error(errno, std::generic_category(), file);
}

class File {
 public:
  explicit File(const fs::path& path)
      : path_(path), fd_(open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644)) {
    if (fd_ < 0) fail(path_);
  }
  File(const File&) = delete;
  ~File() { close(fd_); }
  void write(const void* data, uint64_t bytes, uint64_t offset) const {
    const char* from = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t n = pwrite(fd_, from, bytes, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail(path_);
      from += n, offset += static_cast<uint64_t>(n), bytes -= static_cast<uint64_t>(n);
    }
  }
  // The disk is to begin at once, so that sync finds little left.
  void begin_writing(uint64_t offset, uint64_t bytes) const {
    sync_file_range(fd_, static_cast<off_t>(offset), static_cast<off_t>(bytes),
                    SYNC_FILE_RANGE_WRITE);
  }
  void sync() const {
    if (fsync(fd_) != 0) fail(path_);
  }

 private:
  fs::path path_;
  int fd_;
};

// A safetensors header for tensors that stand back to back, with its length before it.
std::string header(std::span<const LlamaTensor> tensors) {
  json entries;
  uint64_t offset = 0;
  for (const LlamaTensor& t : tensors) {
    entries[t.name] = {
        {"dtype", "BF16"}, {"shape", t.shape}, {"data_offsets", {offset, offset + t.bytes()}}};
    offset += t.bytes();
  }
  entries["__metadata__"] = {{"format", "pt"}};
  std::string text = entries.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + text;
}

struct Chunk {
  const LlamaTensor* tensor;
  int64_t begin, end;  // rows
  const File* file;
  uint64_t offset;  // in the file
};

void append_chunks(std::span<const LlamaTensor> tensors, const File& file, uint64_t offset,
                   std::vector<Chunk>& chunks) {
  for (const LlamaTensor& t : tensors) {
    const int64_t step = std::max<int64_t>(1, kChunkBytes / (2 * t.cols()));
    for (int64_t row = 0; row < t.rows(); row += step) {
      const int64_t end = std::min(row + step, t.rows());
      chunks.push_back({&t, row, end, &file, offset});
      offset += 2 * static_cast<uint64_t>((end - row) * t.cols());
    }
  }
}

// Every thread takes the next chunk; the first error ends all.
void write_all(const std::vector<Chunk>& chunks, const LlamaWeights& weights, int64_t threads) {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  const auto work = [&] {
    std::vector<uint16_t> buffer;
    try {
      for (size_t i = next++; i < chunks.size(); i = next++) {
        const Chunk& c = chunks[i];
        buffer.resize(static_cast<size_t>((c.end - c.begin) * c.tensor->cols()));
        weights.fill(*c.tensor, c.begin, c.end, buffer.data());
        c.file->write(buffer.data(), 2 * buffer.size(), c.offset);
        c.file->begin_writing(c.offset, 2 * buffer.size());
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      next = chunks.size();
    }
  };
  {
    std::vector<std::jthread> pool;
    for (int64_t i = 0; i < threads; ++i)
      pool.emplace_back(work);
  }
  if (error) std::rethrow_exception(error);
}

// The tensors of each shard; a shard is full when the next one would exceed the limit.
std::vector<std::span<const LlamaTensor>> shards(const std::vector<LlamaTensor>& tensors,
                                                 double gigabytes) {
  std::vector<std::span<const LlamaTensor>> out;
  const auto limit = static_cast<uint64_t>(gigabytes * 1e9);
  size_t begin = 0;
  uint64_t bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (bytes > 0 && bytes + tensors[i].bytes() > limit) {
      out.push_back(std::span(tensors).subspan(begin, i - begin));
      begin = i, bytes = 0;
    }
    bytes += tensors[i].bytes();
  }
  out.push_back(std::span(tensors).subspan(begin));
  return out;
}

std::string shard_name(size_t i, size_t n) {
  if (n == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", i + 1, n);
  return name;
}

void write_text(const fs::path& path, const std::string& text) {
  if (!(std::ofstream(path, std::ios::binary) << text).flush()) fail(path);
}

// Bytes of all weights. config.json comes last: a directory without it is not finished.
uint64_t write_checkpoint(const Options& o) {
  fs::create_directories(o.target);
  const std::vector<LlamaTensor> tensors = mopt::bench::llama_tensors(o.shape);
  const auto parts = shards(tensors, o.shard_gb);
  std::vector<std::unique_ptr<File>> files;
  std::vector<Chunk> chunks;
  json map;
  uint64_t total = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string name = shard_name(i, parts.size());
    files.push_back(std::make_unique<File>(o.target / name));
    const std::string head = header(parts[i]);
    files.back()->write(head.data(), head.size(), 0);
    append_chunks(parts[i], *files.back(), head.size(), chunks);
    for (const LlamaTensor& t : parts[i])
      map[t.name] = name, total += t.bytes();
  }
  write_all(chunks, LlamaWeights(o.shape.seed), o.threads);
  for (const auto& file : files)
    file->sync();
  if (parts.size() > 1) {
    write_text(o.target / "model.safetensors.index.json",
               json{{"metadata", {{"total_size", total}}}, {"weight_map", map}}.dump(1));
  }
  write_text(o.target / "config.json", mopt::bench::llama_config(o.shape));
  return total;
}

void write_description(const Options& o) {
  const LlamaShape& s = o.shape;
  const json description{{"hidden", s.hidden},     {"feed_forward", s.feed_forward},
                         {"layers", s.layers},     {"heads", s.heads},
                         {"kv_heads", s.kv_heads}, {"vocabulary", s.vocabulary},
                         {"seed", s.seed}};
  write_text(o.target, description.dump(1) + "\n");
}

void write_ids(const Options& o) {
  const std::vector<int64_t> ids = mopt::bench::llama_ids(o.shape, o.rows * o.tokens);
  const uint64_t bytes = ids.size() * sizeof(ids[0]);
  const json entry{{"dtype", "I64"}, {"shape", {o.rows, o.tokens}}, {"data_offsets", {0, bytes}}};
  std::string text = json{{"input_ids", entry}}.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  const File file(*o.ids);
  file.write(&length, sizeof(length), 0);
  file.write(text.data(), length, sizeof(length));
  file.write(ids.data(), bytes, sizeof(length) + length);
}

}  // namespace

int main(int argc, char** argv) {
  const std::span<char* const> arguments(argv + 1, static_cast<size_t>(argc) - 1);
  if (!arguments.empty() && std::strcmp(arguments[0], "--help") == 0) {
    std::cout << kUsage;
    return 0;
  }
  try {
    const auto begin = std::chrono::steady_clock::now();
    const Options o = parse(arguments);
    if (o.ids) write_ids(o);
    if (o.target.extension() == ".synthetic") {
      write_description(o);
      return 0;
    }
    const uint64_t bytes = write_checkpoint(o);
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - begin;
    std::printf("%s: %.3f GB in %.1f s, synced: %.2f GB/s\n", o.target.c_str(),
                static_cast<double>(bytes) / 1e9, wall.count(),
                static_cast<double>(bytes) / 1e9 / wall.count());
    return 0;
  } catch (const std::invalid_argument& e) {
    std::cerr << "make_llama: " << e.what() << "\n" << kUsage;
    return 2;
  } catch (const std::exception& e) {
    std::cerr << "make_llama: " << e.what() << "\n";
    return 1;
  }
}
