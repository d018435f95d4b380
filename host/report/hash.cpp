#include "host/report/hash.hpp"

#include <openssl/evp.h>
#include <xxhash.h>

#include <array>
#include <new>

#include "mopt/error.hpp"

namespace mopt {
namespace {

std::string to_hex(std::span<const unsigned char> bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const unsigned char byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

EVP_MD_CTX* evp(void* state) {
  return static_cast<EVP_MD_CTX*>(state);
}

XXH3_state_t* xxh(void* state) {
  return static_cast<XXH3_state_t*>(state);
}

std::string to_hex(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  return to_hex(canonical.digest);
}

void need(bool done) {
  if (!done) throw Error(MOPT_INTERNAL, "OpenSSL computes no SHA-256 here; check its installation");
}

}  // namespace

Sha256::Sha256() : state_(EVP_MD_CTX_new()) {
  if (state_ == nullptr) throw std::bad_alloc();
  need(EVP_DigestInit_ex(evp(state_.get()), EVP_sha256(), nullptr) == 1);
}

void Sha256::Free::operator()(void* state) const {
  EVP_MD_CTX_free(evp(state));
}

void Sha256::update(std::span<const std::byte> bytes) {
  need(EVP_DigestUpdate(evp(state_.get()), bytes.data(), bytes.size()) == 1);
}

std::string Sha256::hex() {
  std::array<unsigned char, 32> digest{};
  unsigned size = 0;
  need(EVP_DigestFinal_ex(evp(state_.get()), digest.data(), &size) == 1);
  return to_hex(digest);
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

std::string sha256_hex(std::string_view text) {
  return sha256_hex(std::as_bytes(std::span(text)));
}

Xxh128::Xxh128() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(xxh(state_.get()));
}

void Xxh128::Free::operator()(void* state) const {
  XXH3_freeState(xxh(state));
}

void Xxh128::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(xxh(state_.get()), bytes.data(), bytes.size());
}

std::string Xxh128::hex() const {
  return to_hex(XXH3_128bits_digest(xxh(state_.get())));
}

std::string xxh128_hex(std::span<const std::byte> bytes) {
  return to_hex(XXH3_128bits(bytes.data(), bytes.size()));
}

std::string xxh128_hex(std::string_view text) {
  return xxh128_hex(std::as_bytes(std::span(text)));
}

}  // namespace mopt
