// `mopt-host inspect`.
#include <algorithm>
#include <map>
#include <optional>
#include <sstream>

#include "host/cli/commands.hpp"
#include "host/cli/layout.hpp"
#include "host/cli/stored_scheme.hpp"
#include "host/pipeline/checkpoint.hpp"
#include "host/report/json.hpp"

namespace mopt::cli {
namespace {

constexpr size_t kFirstTensors = 20;
constexpr size_t kLongestMetadata = 200;  // characters of a value in the text

struct Totals {
  size_t tensors = 0;
  uint64_t elements = 0, bytes = 0;
  void add(const StoredTensor& t) {
    ++tensors;
    elements += static_cast<uint64_t>(mopt::elements(t.shape));
    bytes += t.stored_bytes;
  }
};

struct Contents {
  const Container& container;
  std::unordered_map<std::string, std::string> schemes;
  std::map<std::string, size_t> parameters;  // quantized ones by scheme
  Totals all;
  std::map<std::string, Totals, std::less<>> by_encoding;

  std::string scheme(const StoredTensor& t) const {
    const auto found = schemes.find(std::string(t.name));
    return found == schemes.end() ? "" : found->second;
  }
};

Contents take_stock(const Container& container, const StoredLayout& layout) {
  Contents c{container, scheme_names(layout), {}, {}, {}};
  for (const StoredParam& p : layout.read.params) {
    const auto payload = p.roles.find(MOPT_ROLE_PAYLOAD);
    if (payload != p.roles.end()) ++c.parameters[c.schemes.at(payload->second)];
  }
  for (const StoredTensor& t : container.tensors()) {
    c.all.add(t);
    c.by_encoding[std::string(t.encoding)].add(t);
  }
  return c;
}

Json metadata_of(const Container& container) {
  const Json json = Json::parse(container.metadata(), nullptr, false);
  return json.is_object() ? json : Json::object();
}

std::string document(const Contents& c) {
  JsonPage page;
  page.member("format", c.container.format());
  page.open_rows("tensors");
  for (const StoredTensor& t : c.container.tensors()) {
    page.open_row();
    page.text("name", t.name);
    page.text("dtype", t.encoding);
    page.numbers("shape", t.shape);
    page.number("bytes", t.stored_bytes);
    page.text_or_null("scheme", c.scheme(t));
    page.close_row();
  }
  page.close_rows();
  page.member("metadata", metadata_of(c.container));
  page.member("total_bytes", c.all.bytes);
  return page.finish();
}

std::string summary(const Contents& c, int width) {
  std::string out = printable(c.container.path().string()) + ": " +
                    std::string(c.container.format()) + ", " + grouped(c.all.tensors) +
                    " tensors, " + grouped(c.all.elements) + " elements, " +
                    bytes_text(static_cast<double>(c.all.bytes)) + "\n\n";
  Table table({{"type", Align::kLeft, Shrink::kNever},
               {"tensors", Align::kRight, Shrink::kNever},
               {"elements", Align::kRight, Shrink::kNever},
               {"bytes", Align::kRight, Shrink::kNever}});
  for (const auto& [encoding, totals] : c.by_encoding) {
    table.add({encoding, grouped(totals.tensors), grouped(totals.elements),
               bytes_text(static_cast<double>(totals.bytes))});
  }
  out += table.text(width);
  for (const auto& [scheme, count] : c.parameters)
    out += "\nquantized: " + grouped(count) + " parameters as " + printable(scheme) + "\n";
  return out;
}

std::string tensor_table(const Contents& c, TensorList which, int width) {
  const bool quantized = !c.schemes.empty();
  std::vector<Column> columns = {{"name", Align::kLeft, Shrink::kStart},
                                 {"type", Align::kLeft, Shrink::kNever},
                                 {"shape", Align::kLeft, Shrink::kNever},
                                 {"bytes", Align::kRight, Shrink::kNever}};
  if (quantized) columns.push_back({"scheme", Align::kLeft, Shrink::kEnd});
  Table table(columns);
  const auto& tensors = c.container.tensors();
  const size_t n =
      which == TensorList::kAll ? tensors.size() : std::min(tensors.size(), kFirstTensors);
  for (const StoredTensor& t : std::span(tensors).first(n)) {
    std::vector<std::string> row = {std::string(t.name), std::string(t.encoding),
                                    shape_text(t.shape),
                                    bytes_text(static_cast<double>(t.stored_bytes))};
    if (quantized) row.push_back(c.scheme(t));
    table.add(std::move(row));
  }
  std::string out = table.text(width);
  if (n < tensors.size()) {
    out += "... and " + grouped(tensors.size() - n) + " more; --tensors lists all\n";
  }
  return out;
}

// printable, but for the ends of lines.
std::string printable_lines(const std::string& text) {
  std::string out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    out += printable(line) + "\n";
  return out;
}

std::string metadata_text(const Container& container, int width) {
  std::vector<Entry> list;
  const Json metadata = metadata_of(container);
  for (const auto& [key, value] : metadata.items()) {
    const std::string text = value.is_string() ? value.get<std::string>() : json_text(value);
    list.push_back({printable(key), text.size() > kLongestMetadata
                                        ? grouped(text.size()) + " characters"
                                        : printable(text)});
  }
  return list.empty() ? "" : "\nmetadata:\n" + entries(list, width);
}

// The graph of an adapter that knows the model; else why there is none.
std::string graph_text(App& app, const Container& container) {
  std::string why = "it has no config.json";
  try {
    const std::string_view config = container.document("config.json");
    if (!config.empty()) {
      return "\n" + printable_lines(graph::print(graph::adapt(app.registry(), container,
                                                              graph::ModelConfig(config), "auto")));
    }
  } catch (const Error& e) {
    why = e.what();
  }
  return "\nno graph: " + printable(why) + "\n";
}

}  // namespace

Exit run_inspect(App& app, const InspectOptions& options) {
  const Registry& registry = app.registry();
  std::optional<Container> opened;
  pipeline::as_model_failure(options.path.string(),
                             [&] { opened.emplace(Container::open(registry, options.path)); });
  const Container& container = *opened;
  const StoredLayout layout = read_layout(registry, container);
  Console& console = app.console();
  for (const CheckpointProblem& p : layout.read.problems) {
    Diagnostic d{p.code, p.file, 0, 0, p.tensor, p.message, p.remedy, Severity::kWarning};
    console.report(d);
  }
  const Contents contents = take_stock(container, layout);
  if (app.json()) {
    console.document(document(contents));
  } else {
    const int width = console.width();
    console.text(summary(contents, width) + "\n" + tensor_table(contents, options.tensors, width) +
                 metadata_text(container, width));
    if (app.options().verbosity == Verbosity::kVerbose) console.text(graph_text(app, container));
  }
  return Exit::kDone;
}

}  // namespace mopt::cli
