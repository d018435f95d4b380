// mopt::Error, and the two crossings of the ABI: exceptions become mopt_error*, and back.
#pragma once

#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "mopt/base.h"

namespace mopt {

inline std::string_view view(mopt_str s) {
  return {s.ptr, static_cast<size_t>(s.len)};
}
inline mopt_str str(std::string_view s) {
  return {s.data(), s.size()};
}

// A fault with a sentence (expected, found, remedy) and the thing it is about (tensor, file,
// option).
class Error : public std::runtime_error {
 public:
  Error(mopt_code code, const std::string& message, std::string where = {})
      : std::runtime_error(message), code_(code), where_(std::move(where)) {}
  mopt_code code() const { return code_; }
  const std::string& where() const { return where_; }

 private:
  mopt_code code_;
  std::string where_;
};

// What to do about a file that ends too early or contradicts itself: the end of a sentence.
inline constexpr std::string_view kDamaged = "the file is damaged or incomplete, fetch it again";

// A name from a file, for a sentence: in quotes, control characters escaped, cut after 200 bytes.
inline std::string in_quotes(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "'";
  for (const char c : text.substr(0, 200)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7F) {
      out += c;
    } else {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out + (text.size() > 200 ? "...'" : "'");
}

namespace detail {

struct OwnedError {
  mopt_error head;
  std::string message, where;
};

inline mopt_error* make_error(mopt_code code, std::string message, std::string where) noexcept {
  static mopt_error out_of_memory = {
      sizeof(mopt_error),         MOPT_OUT_OF_MEMORY, {"out of memory", 13}, {nullptr, 0}, nullptr,
      [](mopt_error*) noexcept {}};
  try {
    auto* error = new OwnedError{{}, std::move(message), std::move(where)};
    error->head = {sizeof(mopt_error),
                   code,
                   str(error->message),
                   str(error->where),
                   nullptr,
                   [](mopt_error* e) noexcept { delete reinterpret_cast<OwnedError*>(e); }};
    return &error->head;
  } catch (...) {
    return &out_of_memory;
  }
}

}  // namespace detail

// Runs fn; whatever it throws becomes a mopt_error. The body of every thunk.
template <class Fn>
mopt_error* guard(Fn&& fn) noexcept {
  try {
    std::forward<Fn>(fn)();
    return nullptr;
  } catch (const Error& e) {
    return detail::make_error(e.code(), e.what(), e.where());
  } catch (const std::bad_alloc&) {
    return detail::make_error(MOPT_OUT_OF_MEMORY, "out of memory", {});
  } catch (const std::exception& e) {
    return detail::make_error(MOPT_INTERNAL, e.what(), {});
  } catch (...) {
    return detail::make_error(MOPT_INTERNAL, "an exception of unknown type", {});
  }
}

// Throws what the other side reported, and releases it.
inline void check(mopt_error* error) {
  if (error == nullptr) return;
  Error thrown(error->code, std::string(view(error->message)), std::string(view(error->where)));
  error->release(error);
  throw thrown;
}

}  // namespace mopt
