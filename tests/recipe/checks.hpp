// What a recipe test may claim about files and JSON. Each check throws std::runtime_error with what
// was expected and what was found.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace mopt::test {

// `line` in which <*> stands for any text.
bool line_matches(std::string_view pattern, std::string_view line);

// Every line of `patterns` is a line of `text`, in this order, others between them allowed.
void check_lines(const std::vector<std::string>& patterns, const std::string& text,
                 std::string_view stream);

// POINTER OPERATOR VALUE on a JSON text. A pointer is /key/0/key; [key=value] picks the element of
// a list, [*] any element. Operators: == != < <= > >= ~ (contains) size exists absent.
void check_json(const std::string& text, const std::vector<std::string>& words);

// The first value that the pointer reaches, as text.
std::string json_text(const std::string& text, const std::string& pointer);

// Two files, or two directories with everything in them, byte for byte.
void check_same(const std::filesystem::path& a, const std::filesystem::path& b);

// A tensor of a safetensors file has this type and shape: "BF16" "[64,128]".
void check_tensor(const std::filesystem::path& file, const std::string& name,
                  const std::string& dtype, const std::string& shape);

// Where in the file the tensor's data begins.
size_t tensor_offset(const std::filesystem::path& file, const std::string& name);

// FILE:KEY FILE:KEY TOLERANCE: max |a-b| <= tolerance * max |b|.
void check_close(const std::string& a, const std::string& b, double tolerance);

// Does a golden export hold every tensor, or some of them?
enum class Coverage { kAll, kPart };

// Our output against a golden export: every tensor byte for byte, scales of activations within
// 2^-6, both quantization configs equal apart from the producer.
void check_export(const std::filesystem::path& ours, const std::filesystem::path& golden,
                  Coverage coverage);

}  // namespace mopt::test
