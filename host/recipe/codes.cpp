// The one table of diagnostic codes: exit code, title, and what `mopt-host explain CODE` says.
// E recipe, P plugins, M models, D data, R resources, J journal, V verification, A accuracy gate,
// I interrupt, U usage, X our bugs, W warnings. A code keeps its meaning for ever.
#include <algorithm>
#include <iterator>

#include "host/recipe/diagnostic.hpp"

namespace mopt {
namespace {

constexpr CodeEntry kCodes[] = {
    // ---- E0xx, E1xx: the text of a recipe
    // --------------------------------------------------------
    {"E001", Exit::kRecipe, "the recipe is not valid TOML",
     "The file could not be parsed as TOML 1.0, so nothing else was checked. Typical causes are a "
     "missing quote, a key that is defined twice, or a table that is opened again. The place is "
     "where "
     "the parser stopped; the fault is there or on the line above."},
    {"E101", Exit::kRecipe, "unknown key",
     "A recipe may hold only keys that mean something; none is accepted and ignored. Usually it is "
     "a "
     "typing mistake (the nearest known key is suggested) or a key that belongs into another "
     "table. "
     "Correct it or delete the line."},
    {"E102", Exit::kRecipe, "wrong type of value",
     "The key is known, but its value has another type than it takes, such as a string where a "
     "number "
     "stands. An integer is accepted where a float is declared, nothing else is converted. Write "
     "the "
     "value as the message says; strings need quotes in TOML."},
    {"E103", Exit::kRecipe, "unknown option of a component",
     "A component (quantizer, calibrator, pruner, exporter, evaluator) takes only the options that "
     "it "
     "declares. `mopt-host explain NAME` lists them with their ranges. The nearest name is "
     "suggested "
     "when it looks like a typing mistake."},
    {"E104", Exit::kRecipe, "value out of range",
     "The value has the right type but lies outside of its range, or is not among the choices of "
     "the "
     "key. The message names the range or the choices. `mopt-host explain NAME` shows them for the "
     "options of a component."},
    {"E105", Exit::kRecipe, "duplicate id",
     "Two elements of the same array of tables ([[quantize.rule]], [[sparsify.rule]], [[eval]]) "
     "have "
     "the same id in one file. Ids name elements in messages and let a recipe that extends this "
     "one "
     "replace them, so they must differ. Rename one of them."},
    {"E106", Exit::kRecipe, "required key missing",
     "A table lacks a key that it cannot do without, such as `schema = 1` at the top, `use` in a "
     "[format.ID], or `id` in a rule. The place is the table. Add the key; when the recipe extends "
     "another one, the base may give it."},
    {"E107", Exit::kRecipe, "table not yet available",
     "The tables [prune], [draft], [train], [distill], [search], [[step]], [launch] and [parallel] "
     "are "
     "reserved: this version does not do what they ask for, and refuses instead of ignoring them. "
     "Remove the table, or use a version of mopt whose changelog names it."},
    {"E108", Exit::kRecipe, "bad --set",
     "The argument of --set must have the form a.b=value, where the value is TOML or a bare "
     "string. "
     "Elements of an array of tables are named by their id, as in "
     "--set quantize.rule.linears.weight=fp8. Quote the whole argument for the shell when it holds "
     "spaces, brackets or quotes."},
    {"E109", Exit::kRecipe, "schema version not supported",
     "`schema` says which version of the recipe language a file is written in; this program reads "
     "version 1. A higher number comes from a newer program. Use that one, or write the recipe for "
     "schema 1."},
    // ---- E2xx: references
    // ------------------------------------------------------------------------
    {"E201", Exit::kRecipe, "base recipe not found",
     "An entry of `extends` names a recipe that is not there. A name such as \"general/base\" is "
     "looked up in the recipe library, a name with ./ or ../ relative to the file that holds it; "
     "the "
     "two are never mixed. The message says which file was looked for."},
    {"E202", Exit::kRecipe, "recipes extend each other in a circle",
     "Following `extends` leads back to a file that is being read already. The message lists the "
     "circle. Remove one of its links, or move what both need into a third recipe."},
    {"E203", Exit::kRecipe, "unknown component or format",
     "The recipe names a format or a component that neither the recipe nor a loaded plugin "
     "defines. "
     "`mopt-host plugins` lists what is there and which plugins were refused, with the reason. "
     "Correct the name, define [format.NAME], or add the plugin with --plugin or --plugin-dir."},
    {"E204", Exit::kRecipe, "component of the wrong kind",
     "The name exists, but not as what this key needs: `weight` takes a quantizer, `algorithm` a "
     "calibrator, `sparsify.use` a pruner, `layout` an exporter, `kind` an evaluator. "
     "`mopt-host plugins` shows the interface of every component."},
    {"E205", Exit::kRecipe, "recipe not found",
     "A bare name is looked up in the recipe library, first under models/<model_type>, then under "
     "general; anything with a slash or .toml is a path to a file. The message says where it was "
     "looked for and which names come near. `--recipe ./name.toml` reads a file of this folder."},
    {"E206", Exit::kRecipe, "bad layer range",
     "`layers` is a list of layer numbers and ranges such as \"0-3,-1\", counted from 0; negative "
     "numbers count from the end, so -1 is the last layer. A range must not run backwards, and a "
     "number must lie inside the model. Correct the range for this model's number of layers."},
    {"E207", Exit::kRecipe, "unknown role or bad pattern",
     "A role is one of a fixed vocabulary (attn.q, mlp.down, moe.expert.up, lm_head, ...), exact "
     "or "
     "with a trailing .* for all below it; `mopt-host explain roles` lists them. A name pattern is "
     "a "
     "dotted path whose segments may hold *, and ** for any number of segments; none may be "
     "empty."},
    // ---- E3xx: rules against the model
    // -----------------------------------------------------------
    {"E301", Exit::kRecipe, "rule matches nothing",
     "No tensor of this model is covered by the rule, so the recipe does not do what it says. "
     "Usually "
     "a name pattern has another prefix than the model, or the model has no such role; the plan "
     "(--check) lists names and roles. Correct the rule, or say optional = true when it is meant "
     "for "
     "some models only."},
    {"E302", Exit::kRecipe, "rule matches another number of tensors than expected",
     "`expect` states how many tensors the rule must cover; \"all\" means every tensor that has "
     "its "
     "role. The model has another number: another variant of the family, or a pattern that is too "
     "wide "
     "or too narrow. The message names the first tensors that differ."},
    {"E303", Exit::kRecipe, "options contradict each other",
     "Two values of the recipe cannot hold together, or a component refused the combination of its "
     "options. The message names both. Change one of them."},
    {"E304", Exit::kRecipe, "calibration data needed",
     "A rule stores a range of activations or of the KV cache, which can only be measured on data, "
     "but "
     "the recipe has no [calibration]. Add it (data = \"self\" needs no file), or use formats "
     "whose "
     "scales are computed at run time, or input = \"none\"."},
    {"E305", Exit::kRecipe, "rules split a group that engines merge",
     "Engines merge q/k/v and gate/up of a layer into one product, and then need one format for "
     "all of "
     "them. The rules give them different formats. Let one rule cover the whole group."},
    {"E306", Exit::kRecipe, "operand that a format does not serve",
     "A format was asked to hold something that it is not made for, such as a weight-only format "
     "as "
     "`input`, or an activation format for the KV cache. `mopt-host explain NAME` says what it "
     "serves. "
     "Choose another format for this operand, or \"none\"."},
    // ---- P1xx: plugins
    // ---------------------------------------------------------------------------
    {"P101", Exit::kRecipe, "not a shared library",
     "The file is not a 64-bit ELF shared library, or it is damaged or cut short. Usually a "
     "download or "
     "a copy was not complete, or another kind of file stands in the plugin directory. Replace or "
     "remove it."},
    {"P102", Exit::kRecipe, "no plugin entry",
     "The library does not export mopt_plugin_entry_v0, so it is no plugin of this program. It was "
     "probably built without mopt_add_plugin, or with hidden visibility and without MOPT_EXPORT. "
     "Nothing of it was run."},
    {"P103", Exit::kRecipe, "built for another ABI",
     "Plugin and host must speak the same version of the ABI; version 0 demands an exact match. "
     "The "
     "plugin was built against another SDK. Rebuild it against the SDK of this host, which is "
     "installed "
     "beside it."},
    {"P104", Exit::kRecipe, "built for another machine",
     "The library is for another processor architecture, byte order or operating system than this "
     "process. Build it on, or for, this kind of machine."},
    {"P105", Exit::kRecipe, "malformed plugin descriptor",
     "The plugin's description of itself breaks the rules of the ABI: a struct too short, a "
     "missing "
     "name, an option with a default outside its range, an unknown interface. It is a fault of the "
     "plugin; mopt-plugin-check finds it at build time. Tell its author."},
    {"P106", Exit::kRecipe, "name taken",
     "Two plugins have the same id, or two components of one interface have the same name, so a "
     "recipe "
     "could not tell them apart. The one found first is kept. Remove one of the files, or choose "
     "with "
     "--plugin-dir, which is searched first."},
    {"P107", Exit::kRecipe, "the library could not be loaded",
     "The dynamic linker refused the file; the message holds its reason. Usually a library that "
     "the "
     "plugin needs is not installed, or a symbol is missing because it was built against a newer "
     "system. `ldd FILE` shows what is missing."},
    {"P108", Exit::kRecipe, "the plugin failed to start",
     "The plugin's init function reported an error, which is part of the message: often a missing "
     "device, file or service of the host. The plugin is left out; other plugins work."},
    // ---- M1xx: model files
    // -----------------------------------------------------------------------
    {"M101", Exit::kModel, "model not found",
     "The path does not exist or cannot be read. A model is a Hugging Face directory, one "
     ".safetensors "
     "or one .gguf file. Names of models on a hub are not downloaded: fetch the files first and "
     "give "
     "their directory."},
    {"M102", Exit::kModel, "unknown container",
     "No loaded format recognises the file by its name or first bytes. Supported are .safetensors "
     "and .gguf, and directories that hold such files. `mopt-host plugins` lists the formats that "
     "are loaded and those that were refused."},
    {"M103", Exit::kModel, "damaged container",
     "A file's header contradicts itself or the file's length, or a file that an index names is "
     "missing: a tensor lies outside, two overlap, or the header is cut off. Usually a download "
     "was not complete, or is a pointer of Git LFS. Compare size and checksum with the source and "
     "fetch it again."},
    {"M104", Exit::kModel, "type inside a container not supported",
     "A tensor is stored in an element type or block format that this version does not read. The "
     "message names tensor and type. Use another variant of the model, such as the BF16 original."},
    {"M105", Exit::kModel, "pickle refused",
     "Files such as pytorch_model.bin or .pt are pickles, and loading one runs code from it; mopt "
     "never "
     "does. Convert the model to safetensors with the library that wrote it, on a machine you can "
     "afford to lose, or take the safetensors variant that most models offer."},
    {"M106", Exit::kModel, "path leaves the model's directory",
     "An index names a file by an absolute path or through .., so that it leads out of the "
     "directory. Such a file is not opened. (Symbolic links are followed: download caches consist "
     "of them.) Put the file beside the index and name it plainly."},
    {"M107", Exit::kModel, "config missing or invalid",
     "config.json, or another description beside the weights, is missing, is not valid JSON, or "
     "lacks a value that the model's adapter needs or has it in another type; the message names "
     "the key. NaN and Infinity are read as Python writes them. Fetch the file again from the "
     "model's source; it belongs beside the weights."},
    {"M108", Exit::kModel, "tensor missing or of another shape",
     "The checkpoint does not hold a tensor that the model's graph needs, or holds it with another "
     "shape than the config implies. Usually config and weights come from different models, or a "
     "shard "
     "is missing."},
    {"M109", Exit::kModel, "tokenizer damaged",
     "tokenizer.json cannot be read, or uses a step that this version does not know; the message "
     "names "
     "it. Text cannot be turned into ids without it. Fetch it again, or give data as ids."},
    {"M110", Exit::kModel, "model is already quantized",
     "The source is quantized in a way that this job cannot start from. Quantizing twice loses "
     "quality "
     "twice. Use the original BF16 or FP16 model; `mopt-host convert` writes a dequantized one."},
    // ---- M2xx: binding the model
    // -----------------------------------------------------------------
    {"M201", Exit::kModel, "no adapter for this architecture",
     "No loaded adapter knows the model's architecture, so its graph and the roles of its tensors "
     "are "
     "unknown. With [model] adapter = \"none\" tensors can still be quantized by name without "
     "data. "
     "`mopt-host plugins` lists the adapters."},
    {"M202", Exit::kModel, "adapter refuses the config",
     "The adapter knows the architecture but not this variant: a value of the config (an "
     "activation, a "
     "kind of position encoding) is not one it implements. It refuses instead of computing "
     "something "
     "else. The message names the key and what is supported."},
    {"M203", Exit::kModel, "NaN or infinity in a weight",
     "A weight that is quantized, or copied and computed with (a norm, the embedding), holds NaN "
     "or infinity; tensor and element are named. No scale can make such a weight useful, and "
     "engines would spread it through the whole output. The checkpoint is damaged or its training "
     "diverged: mend it. Tensors that the adapter does not know, such as masks, may hold them "
     "(W116)."},
    {"M204", Exit::kModel, "format cannot hold a tensor",
     "A rule covers a tensor whose shape or type its format cannot store, most often because the "
     "block "
     "size does not divide the number of columns. Nothing is skipped silently: choose a block size "
     "that "
     "fits, another format for this tensor, or leave it out with a later rule."},
    {"M205", Exit::kModel, "scale is not finite or not above zero",
     "A scale came out as NaN, infinity, zero or negative; the tensor is named. Engines turn such "
     "a "
     "scale into garbage, so the run stops. The cause is an extreme weight or activation; leave "
     "the "
     "tensor out with a rule, or report it with the tensor's name."},
    {"M206", Exit::kModel, "no statistic for an activation",
     "Calibration never reached a place whose range is needed, such as an expert to which the "
     "router "
     "sent no token, and there is nothing to fall back on. Use more or more varied calibration "
     "data, or "
     "leave the tensor out with a rule."},
    {"M207", Exit::kModel, "graph is invalid or not computable",
     "The graph that the adapter built breaks the rules of its operations, or holds an operation "
     "for "
     "which there is no kernel on this device. The message names operation and label. It is a "
     "fault of "
     "the adapter or a limit of this version, not of your recipe."},
    // ---- D1xx: data
    // ------------------------------------------------------------------------------
    {"D101", Exit::kModel, "data not found",
     "A data file named by the recipe or the command line does not exist or cannot be read. "
     "Relative "
     "paths are relative to the working directory. A hub's dataset name is not downloaded; give a "
     "file."},
    {"D102", Exit::kModel, "unknown kind of data",
     "Data is .txt, .jsonl with {\"text\"} or {\"messages\"} per line, or an id file (a "
     "safetensors "
     "file with an integer [rows, tokens] tensor, optionally FILE:KEY). The file is none of these. "
     "Convert it, or give it the ending of what it is."},
    {"D103", Exit::kModel, "bad row of data",
     "A row cannot be used: a line is not JSON, lacks \"text\" and \"messages\", or is not UTF-8. "
     "The "
     "place names file and line. Correct or remove the row; none is skipped silently."},
    {"D104", Exit::kModel, "ids outside the vocabulary",
     "An id file holds a token id that the model's embedding does not have. The ids come from "
     "another "
     "tokenizer, or the wrong tensor was chosen. Make the ids with this model's tokenizer "
     "(`mopt-host tokenize`), or name the tensor with FILE:KEY."},
    {"D105", Exit::kModel, "no rows of data",
     "The data holds nothing to compute with: the file is empty, or every row is shorter than two "
     "tokens. Give a file with text, or a smaller window."},
    {"D106", Exit::kModel, "no tokenizer",
     "Text or messages need the model's tokenizer.json (and for messages its chat template), which "
     "the "
     "model's directory does not hold. Put it there, or give the data as an id file."},
    {"D107", Exit::kModel, "tensor of an id file missing",
     "The id file has no tensor of this name, or several and none called input_ids. Name one with "
     "FILE:KEY; a * in KEY joins all that match. The message lists what the file holds."},
    // ---- R1xx: resources
    // -------------------------------------------------------------------------
    {"R101", Exit::kResources, "memory limit too small",
     "The run needs more memory than --memory-limit or the machine allows; the smallest limit that "
     "works is named. Memory is one block with its activations plus fixed buffers: fewer samples, "
     "a "
     "shorter seq_len or a recipe without calibration need less. Data = \"self\" needs the whole "
     "model "
     "in memory; give a file instead. On a device it is the device's memory, which "
     "--device-memory-limit and other processes on it bound: batches are made smaller first; then "
     "use fewer samples, stop the other process, or use --device cpu, and continue with --resume."},
    {"R102", Exit::kResources, "not enough disk space",
     "The file system of the output has less room than the plan needs, or became full during the "
     "run. "
     "Free some space or choose another --output; an unfinished run continues with --resume."},
    {"R103", Exit::kResources, "device not usable",
     "The device asked for with --device is not there, is older than what this build has code for, "
     "has no driver, is held by another process alone, or failed during the run; the message says "
     "which. A run that it interrupted is continued by the printed command with --resume, from the "
     "blocks that are finished: on the device when nvidia-smi shows it well, "
     "or on the CPU. One that fails at the same block again points at a plugin's kernel: with "
     "CUDA_LAUNCH_BLOCKING=1 in the environment the message names the tensor. --device cpu works "
     "everywhere, --device auto chooses what is usable."},
    {"R104", Exit::kResources, "another process writes this output",
     "A second mopt-host holds the lock of the same output; its process id is named. Wait for it, "
     "stop "
     "it, or choose another --output. The lock goes with the process, so a crash leaves none "
     "behind."},
    {"R105", Exit::kResources, "output exists",
     "The output directory exists and a finished checkpoint is never written into. Choose another "
     "--output, or replace it with --overwrite: the old one is removed only after the new one is "
     "complete."},
    {"R106", Exit::kResources, "cannot create or write",
     "A file or directory of the output could not be created or written; the system's reason is "
     "part "
     "of the message. Usually the directory belongs to somebody else or the file system is "
     "read-only."},
    {"R107", Exit::kResources, "unfinished run exists",
     "DIR.partial holds an unfinished run of this output. Continue it with --resume, or throw it "
     "away "
     "with --restart. It is never mixed with a new run by accident."},
    {"R108", Exit::kResources, "output lies in the source",
     "The output is the model's own directory, or one of the two contains the other. The source "
     "must "
     "stay as it is. Choose an --output elsewhere."},
    {"R109", Exit::kResources, "cannot read a file during the run",
     "A file that was readable before failed during the run: removed, changed, or an error of the "
     "disk "
     "or network. The system's reason is part of the message. Continue with --resume once it is "
     "readable again."},
    // ---- J1xx: journal
    // ---------------------------------------------------------------------------
    {"J101", Exit::kRecipe, "cannot resume: something changed",
     "The recipe, the model, the data, a plugin or the program differs from the one that began the "
     "run, "
     "so blocks of two kinds would be mixed. The message names what changed. Put it back, or begin "
     "again with --restart."},
    {"J102", Exit::kResources, "damaged journal",
     "The journal of the unfinished run cannot be trusted: its records do not fit their checksums "
     "or "
     "the files they speak of. A record that was cut off at the end is normal and repaired; this "
     "is "
     "more. Begin again with --restart."},
    // ---- V1xx: verification
    // ----------------------------------------------------------------------
    {"V101", Exit::kVerify, "tensor missing",
     "The checkpoint lacks a tensor that its config or its scheme implies, such as the scale of a "
     "quantized weight. Engines refuse it or read zeros. Write the checkpoint again."},
    {"V102", Exit::kVerify, "unexpected tensor",
     "The checkpoint holds a tensor that nothing accounts for: neither the source nor the scheme "
     "of a "
     "quantized weight. Engines refuse unknown names or ignore them. Remove it, or write the "
     "checkpoint again."},
    {"V103", Exit::kVerify, "wrong shape",
     "A tensor has another shape than its scheme implies, for instance scales that do not fit the "
     "number of blocks. The message says what was expected and found. Write the checkpoint again."},
    {"V104", Exit::kVerify, "wrong type",
     "A tensor has another element type than its scheme implies, or one that its container does "
     "not have; engines read its bytes as something else. The message says what was expected and "
     "found. Write the checkpoint again."},
    {"V105", Exit::kVerify, "unusable scale",
     "A scale is NaN, infinite, zero or negative, which makes every weight or activation under it "
     "useless. ModelOpt writes zero scales for experts that calibration never reached. Quantize "
     "again "
     "with data that reaches the layer."},
    {"V106", Exit::kVerify, "config contradicts the tensors",
     "config.json or quantization_config cannot be read, or says one thing about the model and the "
     "stored tensors another: a layer listed as ignored but quantized, a tokenizer with more ids "
     "than the embedding has rows. Engines trust the config and load garbage or fail. Write the "
     "checkpoint again; mopt derives the config from what was written."},
    {"V107", Exit::kVerify, "merged layers disagree",
     "Layers that engines merge (q/k/v, gate/up) have different schemes or scales that must be "
     "equal. "
     "The engine would use one of them for all. Quantize the group with one rule."},
    {"V108", Exit::kVerify, "damaged container",
     "A weight file's header contradicts itself or the file's length, or the file is something "
     "else, such as a pickle (which is not opened) or a pointer of Git LFS. Copying was not "
     "complete, or the file was changed afterwards. Copy or write it again."},
    {"V109", Exit::kVerify, "file missing",
     "A file that the checkpoint needs is not there: a shard that the index names, config.json, or "
     "a "
     "side file of the source. Copy the whole directory, or write the checkpoint again."},
    {"V110", Exit::kVerify, "unknown quantization algorithm",
     "quant_algo or quant_method of the config is none that this version knows, so the tensors "
     "cannot "
     "be judged. Engines refuse unknown names too. Look for a typing mistake, or a newer version."},
    {"V111", Exit::kVerify, "wrong index",
     "model.safetensors.index.json cannot be read or does not agree with the shards: a tensor "
     "stands in another file than it says, is not listed or listed twice, a file lies outside of "
     "the directory, or the total size is wrong. Write the checkpoint again."},
    {"V112", Exit::kVerify, "an engine would refuse this checkpoint",
     "One of the engines asked for in [verify] engines or --engine cannot load what was written; "
     "the "
     "message says which, and why. Choose a recipe that the engine serves, or leave the engine "
     "out: "
     "problems of others are warnings."},
    {"V113", Exit::kVerify, "a tensor differs from the source",
     "A tensor that should have been copied bit for bit has other bytes than in the source, or a "
     "quantized one stands for other weights: its error is several times what its format makes of "
     "the source. The file was changed, or --source names another model. Compare the two with "
     "`mopt-host diff`."},
    {"V114", Exit::kVerify, "bytes changed after the run",
     "mopt/ledger.jsonl holds a hash of every tensor that the run wrote, and this tensor's bytes "
     "have another one: a copy that went wrong, a bad disk, or a program that changed the file. "
     "Copy the checkpoint again, or write it again."},
    {"V115", Exit::kVerify, "the ledger does not fit the checkpoint",
     "mopt/ledger.jsonl holds a line that cannot be read, names a tensor that is not there, or "
     "does not name one that is. Ledger and weights come from different runs, or one of them was "
     "changed. Copy the whole directory again, or write the checkpoint again."},
    {"V116", Exit::kVerify, "config.json differs from the source's",
     "config.json may differ from the source's in quantization_config, and in tie_word_embeddings "
     "where a recipe untied the head; here another setting differs, and the key is named. The file "
     "was changed, or --source names another model. Write the checkpoint again."},
    // ---- the rest
    // --------------------------------------------------------------------------------
    {"A101", Exit::kAccuracy, "accuracy gate missed",
     "An [[eval]] of the recipe came out worse than its limit; measured value and limit are named. "
     "The "
     "output stays where it is, and the report says so. Try what the recipe's comments name next, "
     "or "
     "raise the limit if the loss is acceptable."},
    {"I101", Exit::kInterrupted, "interrupted",
     "The run was stopped by Ctrl-C or SIGTERM after the block in work was written. Nothing is "
     "lost: "
     "the printed command continues it with --resume, to the same bytes as without the "
     "interruption."},
    {"U101", Exit::kRecipe, "wrong usage",
     "The command line is not understood: an unknown command or option, a missing argument, or two "
     "options that exclude each other. `mopt-host --help` and `mopt-host COMMAND --help` list what "
     "there is."},
    {"U102", Exit::kRecipe, "nothing of this name to explain",
     "`mopt-host explain` knows plugins, components, options, roles, recipes, diagnostic codes and "
     "engines; the name is none of them. The nearest names are suggested. `mopt-host plugins` "
     "lists the "
     "components."},
    {"X101", Exit::kBug, "internal error",
     "Something happened that the program holds impossible: it is a bug of ours, not of your "
     "input. "
     "Please report it with the message, the command and the output of `mopt-host --version`."},
    // ---- W1xx: warnings
    // --------------------------------------------------------------------------
    {"W102", Exit::kDone, "all values are zero",
     "A tensor or an activation holds only zeros, so no scale follows from it; 1.0 is stored, with "
     "zero "
     "codes. That is exact. A whole layer of zeros may be a sign of a damaged checkpoint."},
    {"W103", Exit::kDone, "fewer rows of data than asked for",
     "The data has fewer rows than `samples`; all of them are used. Ranges from few rows are less "
     "certain. Add data, or lower `samples` to silence this."},
    {"W104", Exit::kDone, "tied embedding becomes two tensors",
     "A rule quantizes lm_head, which this model shares with the embedding. The embedding stays as "
     "it "
     "is and a quantized lm_head is stored beside it; tie_word_embeddings becomes false. The "
     "checkpoint "
     "grows by that tensor."},
    {"W106", Exit::kDone, "plugin refused",
     "A file of the plugin directories could not be used and is left out; the run does not need "
     "it, or "
     "will say so. `mopt-host plugins` shows the reason."},
    {"W107", Exit::kDone, "deprecated option",
     "The option still works, but a later version will drop it. The message or "
     "`mopt-host explain NAME` says what to use instead."},
    {"W108", Exit::kDone, "tensor that the adapter does not know",
     "The checkpoint holds a tensor that the model's graph does not use; it is copied bit for bit. "
     "Expected for extra heads (MTP) and buffers; unexpected names may mean another variant of the "
     "model."},
    {"W110", Exit::kDone, "large KV cache scale",
     "A scale of the FP8 KV cache is above 0.5, which leaves few values near zero. Usually a few "
     "channels of K are extreme. Compare with a recipe without kv_cache when quality matters."},
    {"W112", Exit::kDone, "file of the source not copied",
     "A file of the source's directory is left out of the output, such as a pickle or weights in a "
     "second format. Engines do not need it beside the new weights."},
    {"W113", Exit::kDone, "optional rule matches nothing",
     "A rule with optional = true covers no tensor of this model. That is allowed; it is said "
     "because a "
     "wrong name looks the same."},
    {"W114", Exit::kDone, "verification limited",
     "A part of the verification could not be done, for instance because no source was given to "
     "compare "
     "with. What was checked is in order. The message says what was left out."},
    {"W115", Exit::kDone, "warning of a plugin",
     "A plugin reports something that is no error; the place is its name and the message is its "
     "own. "
     "The plugin's README says more."},
    {"W116", Exit::kDone, "a copied tensor is not finite",
     "A tensor that is copied bit for bit, and that the model's adapter does not compute with, "
     "holds NaN or infinity. Masks may; weights should not: look at the source."},
    {"W117", Exit::kDone, "slow forward on the device",
     "A library is missing, or is not the one of this build, so the device computes a part of the "
     "forward with kernels that are slower. The results are as good. The message names "
     "what and why; calibration, eval and generate take longer until the library is there."},
};

}  // namespace

std::span<const CodeEntry> all_codes() {
  return kCodes;
}

const CodeEntry* find_code(std::string_view code) {
  const auto* entry =
      std::ranges::find_if(kCodes, [&](const CodeEntry& e) { return e.code == code; });
  return entry == std::end(kCodes) ? nullptr : entry;
}

}  // namespace mopt
