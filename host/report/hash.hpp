// Digests of bytes: SHA-256 for people and other tools, XXH3-128 for the journal. Hexadecimal,
// lower case.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace mopt {

// update any number of times, then hex once.
class Sha256 {
 public:
  Sha256();
  void update(std::span<const std::byte>);
  void update(std::string_view text) { update(std::as_bytes(std::span(text))); }
  std::string hex();  // ends it; 64 digits

 private:
  struct Free {
    void operator()(void*) const;
  };
  std::unique_ptr<void, Free> state_;
};

std::string sha256_hex(std::span<const std::byte>);
std::string sha256_hex(std::string_view text);

// update and hex in any order: hex is of everything so far. 32 digits, the canonical (big-endian)
// form.
class Xxh128 {
 public:
  Xxh128();
  void update(std::span<const std::byte>);
  void update(std::string_view text) { update(std::as_bytes(std::span(text))); }
  std::string hex() const;

 private:
  struct Free {
    void operator()(void*) const;
  };
  std::unique_ptr<void, Free> state_;
};

std::string xxh128_hex(std::span<const std::byte>);
std::string xxh128_hex(std::string_view text);

}  // namespace mopt
