#include "host/cli/grammar.hpp"

#include <algorithm>
#include <iterator>

namespace mopt::cli {
namespace {

constexpr OptionSpec kCommon[] = {
    {"plugin-dir", "DIR", "search this directory for plugins first (repeatable)", Arity::kList},
    {"plugin", "FILE", "load this plugin before all others (repeatable)", Arity::kList},
    {"device", "DEVICE", "cpu, cuda[:N] or auto (default): CUDA if it is usable, else the CPU",
     Arity::kValue},
    {"threads", "N", "threads to compute with; default: the cores this process may use",
     Arity::kValue},
    {"memory-limit", "SIZE",
     "bound on this process's memory, such as 8GiB; one that is too small is refused before the "
     "run",
     Arity::kValue},
    {"device-memory-limit", "SIZE",
     "bound on the memory that is taken from the device, such as 6GiB", Arity::kValue},
    {"kernel", "NAME", "run this kernel of its operation and no other (repeatable)", Arity::kList},
    {"json", "", "standard output is one JSON document; all else goes to standard error",
     Arity::kFlag},
    {"quiet", "", "only warnings and errors", Arity::kFlag},
    {"verbose", "", "every decision: kernels passed over, what was read", Arity::kFlag},
    {"color", "WHEN", "auto (default), always or never", Arity::kValue},
    {"help", "", "this text", Arity::kFlag},
};

constexpr OptionSpec kDtype = {"dtype", "TYPE",
                               "compute in bf16 or in float32; default: the model's own type. "
                               "Sums are in float32 always",
                               Arity::kValue};

constexpr OptionSpec kJob[] = {
    {"recipe", "NAME", "a file (with '/' or .toml), or a name of the recipe library such as fp8",
     Arity::kValue},
    {"model", "PATH", "Hugging Face directory, .safetensors or .gguf; overrides [model] path",
     Arity::kValue},
    {"output", "DIR", "where the result goes; overrides [export] path", Arity::kValue},
    {"set", "KEY=VALUE", "override a.b of the recipe; VALUE is TOML or a bare string (repeatable)",
     Arity::kList},
    {"check", "", "read headers only, print the plan, stop", Arity::kFlag},
    {"resume", "", "continue an interrupted run", Arity::kFlag},
    {"restart", "", "throw an unfinished run away and begin again", Arity::kFlag},
    {"overwrite", "", "replace a finished output once the new one is complete", Arity::kFlag},
    {"version", "", "print the version and stop", Arity::kFlag},
};

constexpr OptionSpec kInspect[] = {
    {"tensors", "", "list every tensor, not only the first ones", Arity::kFlag},
};

constexpr OptionSpec kVerify[] = {
    {"source", "PATH", "compare copied tensors with the model it was made from", Arity::kValue},
    {"engine", "NAME",
     "problems for this engine are errors: vllm, sglang, tensorrt-llm, transformers, llama.cpp "
     "(repeatable)",
     Arity::kList},
};

constexpr OptionSpec kEval[] = {
    {"ids", "FILE[:KEY]", "an integer [rows, tokens] tensor of a safetensors file", Arity::kValue},
    {"text", "FILE", "text, cut into windows with the model's tokenizer", Arity::kValue},
    {"window", "N", "tokens of a window (default 512)", Arity::kValue},
    {"max-tokens", "N", "stop after this many predicted tokens", Arity::kValue},
    {"reference", "PATH", "another model: also its perplexity, divergence and agreement",
     Arity::kValue},
    kDtype,
};

constexpr OptionSpec kLogits[] = {
    {"ids", "FILE[:KEY]", "an integer [rows, tokens] tensor of a safetensors file", Arity::kValue},
    {"out", "FILE", "the safetensors file to write; it holds logits, float32 [B,T,V]",
     Arity::kValue},
    kDtype,
};

constexpr OptionSpec kGenerate[] = {
    {"prompt", "TEXT", "the text to continue", Arity::kValue},
    {"prompt-ids", "IDS", "the ids to continue, such as 1,2,3", Arity::kValue},
    {"chat", "FILE.json", "messages for the model's chat template", Arity::kValue},
    {"max-new-tokens", "N", "stop after this many tokens (default 128)", Arity::kValue},
    {"temperature", "T", "0 (default) is greedy", Arity::kValue},
    {"top-p", "P", "sample from the likeliest tokens of this total probability (default 1)",
     Arity::kValue},
    {"seed", "N", "seed of the sampling (default 0)", Arity::kValue},
    kDtype,
};

constexpr OptionSpec kTokenize[] = {
    {"jsonl", "", "a JSON string per line, so that any text fits; with --decode a JSON array",
     Arity::kFlag},
    {"decode", "", "lines hold ids, separated by spaces or commas; print their text", Arity::kFlag},
    {"no-special", "", "add no special tokens when encoding, skip them when decoding",
     Arity::kFlag},
    {"chat", "FILE.json", "messages for the model's chat template instead of lines", Arity::kValue},
};

constexpr OptionSpec kConvert[] = {
    {"dtype", "TYPE", "bf16, float16, float32 or keep (default)", Arity::kValue},
};

constexpr OptionSpec kDiff[] = {
    {"max-rows", "N", "list at most this many differing tensors, the largest differences first",
     Arity::kValue},
};

constexpr CommandSpec kCommands[] = {
    {"", "", 0, "the main job: do what a recipe says",
     "Reads a pretrained checkpoint, does what a recipe says block by block in the memory of one "
     "block, and writes a checkpoint that inference engines load.",
     kJob,
     "mopt-host --recipe fp8 --model ./Qwen3-8B --output ./Qwen3-8B-fp8\n"
     "mopt-host --recipe nvfp4 --model ./Qwen3-8B --output ./out --check\n"
     "mopt-host --recipe ./mine.toml --set calibration.samples=64\n"},
    {"plugins",
     "",
     0,
     "which plugins are loaded, which are refused and why",
     "Lists every plugin with its components. With --verbose also the options of each component.",
     {},
     "mopt-host plugins\n"
     "mopt-host plugins --plugin-dir ./build/plugins --json\n"},
    {"explain",
     "NAME",
     1,
     "what a name means",
     "Explains a plugin or component and its options, an option, a role, a recipe of the library, "
     "a diagnostic code or an engine.",
     {},
     "mopt-host explain nvfp4\n"
     "mopt-host explain E301\n"
     "mopt-host explain attn.q\n"},
    {"inspect", "PATH", 1, "what a model's files hold",
     "Prints format, element types, tensors and metadata. Reads headers only. With --verbose also "
     "the graph that the model's adapter builds: blocks, operations, operands, extents.",
     kInspect,
     "mopt-host inspect ./Qwen3-8B\n"
     "mopt-host inspect model.gguf --tensors\n"
     "mopt-host inspect ./Qwen3-8B --verbose\n"},
    {"verify", "DIR", 1, "is a checkpoint whole, and do engines take it",
     "Checks tensors against the config, scales, merged layers and the index. Ends with 4 unless "
     "all is well.",
     kVerify, "mopt-host verify ./out --source ./Qwen3-8B --engine vllm\n"},
    {"eval", "PATH", 1, "perplexity, and distance from a reference",
     "Computes the perplexity of a source or of what was written, from the written bytes. With "
     "--reference also the divergence of the two.",
     kEval,
     "mopt-host eval ./out --ids data.safetensors --reference ./Qwen3-8B\n"
     "mopt-host eval ./Qwen3-8B --text wiki.txt --window 1024 --max-tokens 20000\n"},
    {"logits", "PATH", 1, "logits for given ids",
     "Writes the logits of every position into a safetensors file.", kLogits,
     "mopt-host logits ./out --ids data.safetensors --out logits.safetensors\n"},
    {"generate", "PATH", 1, "continue a text",
     "Writes the text as it comes. Without --temperature the likeliest token is taken.", kGenerate,
     "mopt-host generate ./out --prompt \"The capital of France is\"\n"
     "mopt-host generate ./out --prompt-ids 1,5,9 --max-new-tokens 6 --json\n"},
    {"tokenize", "PATH", 1, "text to ids and back",
     "Reads lines from standard input. PATH is a model or a tokenizer.json.", kTokenize,
     "echo \"Hello world\" | mopt-host tokenize ./Qwen3-8B\n"
     "echo \"9707 1879\" | mopt-host tokenize ./Qwen3-8B --decode\n"},
    {"convert", "SRC DST", 2, "into another container or element type",
     "Reads any format and writes safetensors: a directory, or one file when DST ends with "
     ".safetensors.",
     kConvert, "mopt-host convert model.gguf ./model --dtype bf16\n"},
    {"diff", "A B", 2, "compare two models tensor by tensor",
     "Quantized tensors are compared after dequantization.", kDiff,
     "mopt-host diff ./Qwen3-8B ./out --max-rows 20\n"},
};

}  // namespace

std::span<const OptionSpec> common_options() {
  return kCommon;
}

std::span<const CommandSpec> commands() {
  return kCommands;
}

const CommandSpec* find_command(std::string_view name) {
  const auto* found =
      std::ranges::find_if(kCommands, [&](const CommandSpec& c) { return c.name == name; });
  return found == std::end(kCommands) ? nullptr : found;
}

}  // namespace mopt::cli
