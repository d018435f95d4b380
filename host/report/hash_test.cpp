#include "host/report/hash.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace mopt;

TEST_CASE("sha256: the examples of FIPS 180-2 come out") {
  CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256_hex(std::string(1000000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("xxh128: the published values of the empty text come out") {
  CHECK(xxh128_hex("") == "99aa06d3014798d86001c324468d497f");
  CHECK(Xxh128().hex() == "99aa06d3014798d86001c324468d497f");
}

TEST_CASE("hashes do not depend on how the bytes are cut into updates") {
  std::string bytes(100000, 0);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<char>(i * 31 + i / 251);
  for (const size_t step : {1ul, 63ul, 64ul, 4097ul}) {
    Sha256 sha;
    Xxh128 xxh;
    for (size_t at = 0; at < bytes.size(); at += step) {
      sha.update(std::string_view(bytes).substr(at, step));
      xxh.update(std::string_view(bytes).substr(at, step));
    }
    CAPTURE(step);
    CHECK(sha.hex() == sha256_hex(bytes));
    CHECK(xxh.hex() == xxh128_hex(bytes));
  }
}

TEST_CASE("xxh128: the value so far may be asked for at any time") {
  Xxh128 hash;
  hash.update("ab");
  CHECK(hash.hex() == xxh128_hex("ab"));
  hash.update("c");
  CHECK(hash.hex() == xxh128_hex("abc"));
}
