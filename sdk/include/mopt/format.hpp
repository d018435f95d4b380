// FormatComponent<T>: the vtable of "mopt.format/1" from a reader class and an optional writer
// class.
#pragma once

#include "mopt/format.h"
#include "mopt/plugin.hpp"

namespace mopt {

// Reader has: name, summary, and
//   static int probe(std::string_view path, std::span<const uint8_t> head)
//   Reader(const Host&, std::string path)
//   size_t count() const; mopt_stored_tensor tensor(size_t) const
//   size_t n_files() const; std::string_view file(size_t) const
//   std::string_view document(std::string_view name) const; std::string_view metadata() const
//   void read(const Exec&, size_t index, int64_t begin, int64_t end, DLTensor& out) const
//   void prefetch(size_t) const; void release(size_t) const
// Writer has:
//   Writer(const Host&, const mopt_write_plan&); static uint64_t predict(const mopt_write_plan&)
//   void write(std::string_view name, uint64_t offset, std::span<const std::byte>)
//   void sync(); void commit()
struct NoWriter {};

template <class Reader, class Writer = NoWriter>
struct FormatComponent {
  static constexpr bool kWrites = !std::is_same_v<Writer, NoWriter>;

  static constexpr mopt_format make() {
    mopt_format f{};
    f.struct_size = sizeof(mopt_format);
    f.probe = [](mopt_str path, const uint8_t* head, uint64_t n) noexcept {
      return static_cast<int32_t>(Reader::probe(view(path), std::span(head, n)));
    };
    f.open = [](const mopt_host* host, mopt_str path, mopt_instance** out) noexcept {
      return guard([&] {
        *out = reinterpret_cast<mopt_instance*>(new Reader(Host(host), std::string(view(path))));
      });
    };
    f.close = detail::destroy<Reader>;
    f.count = [](mopt_instance* s) noexcept -> uint64_t { return reader(s).count(); };
    f.tensor = [](mopt_instance* s, uint64_t i, mopt_stored_tensor* out) noexcept {
      return guard([&] { *out = reader(s).tensor(i); });
    };
    f.n_files = [](mopt_instance* s) noexcept -> uint64_t { return reader(s).n_files(); };
    f.file = [](mopt_instance* s, uint64_t i) noexcept { return str(reader(s).file(i)); };
    f.document = [](mopt_instance* s, mopt_str name) noexcept {
      return str(reader(s).document(view(name)));
    };
    f.metadata = [](mopt_instance* s) noexcept { return str(reader(s).metadata()); };
    f.read = [](mopt_instance* s, const mopt_exec* exec, uint64_t i, int64_t begin, int64_t end,
                DLTensor* out) noexcept {
      return guard([&] { reader(s).read(Exec(exec), i, begin, end, *out); });
    };
    f.prefetch = [](mopt_instance* s, uint64_t i) noexcept { reader(s).prefetch(i); };
    f.release = [](mopt_instance* s, uint64_t i) noexcept { reader(s).release(i); };
    if constexpr (kWrites) {
      f.create = [](const mopt_host* host, const mopt_write_plan* plan,
                    mopt_instance** out) noexcept {
        return guard(
            [&] { *out = reinterpret_cast<mopt_instance*>(new Writer(Host(host), *plan)); });
      };
      f.predict = [](const mopt_write_plan* plan, uint64_t* bytes) noexcept {
        return guard([&] { *bytes = Writer::predict(*plan); });
      };
      f.write = [](mopt_instance* s, mopt_str name, uint64_t offset, const void* data,
                   uint64_t nbytes) noexcept {
        return guard([&] {
          writer(s).write(view(name), offset, {static_cast<const std::byte*>(data), nbytes});
        });
      };
      f.sync = [](mopt_instance* s) noexcept { return guard([&] { writer(s).sync(); }); };
      f.commit = [](mopt_instance* s) noexcept { return guard([&] { writer(s).commit(); }); };
      f.discard = detail::destroy<Writer>;
    }
    return f;
  }
  static constexpr mopt_format vtable = make();
  static constexpr mopt_component value = detail::component<Reader>(MOPT_FORMAT_INTERFACE, &vtable);

 private:
  static Reader& reader(mopt_instance* s) { return detail::self<Reader>(s); }
  static Writer& writer(mopt_instance* s) { return detail::self<Writer>(s); }
};

}  // namespace mopt
