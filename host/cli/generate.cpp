// `mopt-host generate`.
#include "host/pipeline/generate.hpp"

#include "host/cli/arguments.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/models.hpp"
#include "host/pipeline/calibrate.hpp"
#include "host/report/json.hpp"

namespace mopt::cli {
namespace {

using pipeline::Checkpoint;

std::vector<int32_t> ids_of(const std::vector<int64_t>& given, const Checkpoint& checkpoint) {
  const int64_t vocabulary = vocabulary_of(checkpoint);
  std::vector<int32_t> ids;
  for (const int64_t id : given) {
    if (id >= vocabulary) {
      usage_error("--prompt-ids: expected ids below " + std::to_string(vocabulary) + ", found " +
                      std::to_string(id),
                  "make them with this model's tokenizer");
    }
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

std::vector<int32_t> prompt_of(const Checkpoint& checkpoint, const GenerateOptions& options) {
  if (options.prompt_ids) return ids_of(*options.prompt_ids, checkpoint);
  if (options.chat) refuse_chat();
  std::vector<int32_t> ids =
      checkpoint.tokenizer().encode(*options.prompt, text::SpecialTokens::kAdd);
  if (ids.empty()) usage_error("--prompt: the text has no tokens", "give at least one word");
  return ids;
}

// Shows tokens as they come: text, or ids where the model has no tokenizer.
class Writer {
 public:
  Writer(Console& console, const text::Tokenizer* tokenizer) : console_(console) {
    if (tokenizer != nullptr) decoder_.emplace(*tokenizer);
  }
  void push(int32_t id) {
    show(decoder_ ? decoder_->push(id) : (first_ ? "" : " ") + std::to_string(id));
    first_ = false;
  }
  void finish() {
    if (decoder_) show(decoder_->finish());
    show("\n");
  }
  const std::string& text() const { return text_; }

 private:
  void show(const std::string& piece) {
    text_ += piece;
    if (console_.output() == OutputKind::kText && !piece.empty()) console_.text(piece);
  }
  Console& console_;
  std::optional<text::StreamDecoder> decoder_;
  std::string text_;
  bool first_ = true;
};

bool has_tokenizer(const Checkpoint& checkpoint) {
  return !checkpoint.container().document("tokenizer.json").empty();
}

std::string document(const pipeline::Generation& g, const Json& text) {
  const double seconds = g.seconds > 0 ? g.seconds : 1;
  return json_page(
      {{"text", text},
       {"ids", g.ids},
       {"finish_reason", g.finish_reason},
       {"tokens_per_second", json_number(static_cast<double>(g.ids.size()) / seconds)}});
}

}  // namespace

Exit run_generate(App& app, const GenerateOptions& options) {
  app.console().note("device " + app.device_text());
  const auto checkpoint = open_model(app, options.path);
  const std::vector<int32_t> prompt = prompt_of(*checkpoint, options);
  // With ids for a prompt the tokenizer is only needed to show the text.
  const bool spoken = !options.prompt_ids || has_tokenizer(*checkpoint);
  const text::Tokenizer* tokenizer = spoken ? &checkpoint->tokenizer() : nullptr;
  Console& console = app.console();
  Writer writer(console, tokenizer);
  pipeline::ForwardOptions forward = forward_options(app, *checkpoint, options.precision);
  std::optional<pipeline::OnDevice> on_device;
  if (compute::Device* device = app.device(); device != nullptr) {
    app.expect_forward();
    on_device.emplace(device->make_queue("generate"), app.services());
    forward.on_device = &*on_device;
    forward.kernels.queue = &on_device->queue();
  }
  const pipeline::Generation g =
      pipeline::generate(*checkpoint, forward, prompt, options.max_new_tokens,
                         {options.temperature, options.top_p, options.seed}, [&](int32_t id) {
                           writer.push(id);
                           return !console.reader_gone();
                         });
  if (app.json()) {
    const Json text =
        spoken ? Json(tokenizer->decode(g.ids, text::ShowSpecial::kSkip)) : Json(nullptr);
    console.document(document(g, text));
    return Exit::kDone;
  }
  writer.finish();
  return Exit::kDone;
}

}  // namespace mopt::cli
