#include "index.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <unordered_set>

#include "mopt/error.hpp"
#include "mopt/format.h"
#include "scanner.hpp"

namespace mopt::safetensors {
namespace {

namespace fs = std::filesystem;

// Below the directory by its name; where a symbolic link leads is the owner's business.
bool stays_inside(std::string_view name) {
  if (name.empty() || name.find('\0') != std::string_view::npos) return false;
  const fs::path path(name);
  if (path.is_absolute() || !path.has_filename()) return false;
  return std::none_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".."; });
}

class Parser {
 public:
  Parser(Index& out, const std::string& path) : out_(out), path_(path), json_(out.text, path) {}

  void run() {
    std::unordered_set<std::string> keys;
    json_.expect('{', "an object with 'weight_map'");
    if (!json_.accept('}')) {
      do {
        const std::string key(json_.string("a key"));
        if (!keys.insert(key).second)
          damaged("expected every key once, found " + in_quotes(key) + " twice");
        json_.expect(':', "':' after a key");
        if (key == "weight_map") {
          weight_map();
        } else {
          json_.skip_value();
        }
      } while (json_.accept(','));
      json_.expect('}', "',' or '}' after a value");
    }
    json_.end();
    if (!keys.contains("weight_map")) damaged("expected an object 'weight_map', found none");
    sort_files();
  }

 private:
  [[noreturn]] void damaged(const std::string& sentence) const {
    throw Error(MOPT_DATA_LOSS, path_ + ": " + sentence + "; fetch or write the index again",
                path_);
  }

  void weight_map() {
    json_.expect('{', "an object as 'weight_map'");
    if (json_.accept('}')) return;
    do {
      const std::string_view tensor = keep(json_.string("a tensor's name"));
      json_.about(tensor);
      json_.expect(':', "':' after a tensor's name");
      out_.rows.push_back({tensor, file(tensor, json_.string("a file name"))});
      json_.about({});
    } while (json_.accept(','));
    json_.expect('}', "',' or '}' after a file name");
  }

  // The scanner's view, or a copy when it points into the scanner.
  std::string_view keep(std::string_view name) {
    const std::less<const char*> before;
    const char* end = out_.text.data() + out_.text.size();
    const bool in_text = !before(name.data(), out_.text.data()) && before(name.data(), end);
    return in_text ? name : std::string_view(out_.escaped.emplace_back(name));
  }

  uint32_t file(std::string_view tensor, std::string_view name) {
    if (!out_.files.empty() && out_.files[last_] == name) return last_;
    if (const auto known = numbers_.find(name); known != numbers_.end())
      return last_ = known->second;
    if (!stays_inside(name)) {
      throw Error(MOPT_OUTSIDE,
                  path_ + ": expected tensor " + in_quotes(tensor) +
                      " in a file of this directory, found the file name " + in_quotes(name) +
                      "; put the file beside the index",
                  path_);
    }
    last_ = static_cast<uint32_t>(out_.files.size());
    out_.files.emplace_back(name);
    numbers_.emplace(name, last_);
    return last_;
  }

  // By name: the order of shards, whatever the order of the map.
  void sort_files() {
    std::vector<uint32_t> place(out_.files.size());
    uint32_t next = 0;
    for (const auto& [name, number] : numbers_) {
      place[number] = next;
      out_.files[next++] = name;
    }
    for (Index::Row& row : out_.rows)
      row.file = place[row.file];
  }

  Index& out_;
  const std::string& path_;
  Scanner json_;
  std::map<std::string, uint32_t, std::less<>> numbers_;
  uint32_t last_ = 0;
};

}  // namespace

Index parse_index(std::string text, const std::string& path) {
  Index out;
  out.text = std::move(text);
  Parser(out, path).run();
  return out;
}

}  // namespace mopt::safetensors
