// Tensor declarations in one block of memory: a plan for half a million tensors has over a million
// of them, and a string and a vector for each would cost more than all the rest of it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mopt/tensor.hpp"

namespace mopt {

// A tensor that will exist.
struct TensorDecl {
  std::string name;  // a role, or a checkpoint name
  DLDataType dtype{};
  std::vector<int64_t> shape;
  uint64_t bytes() const { return mopt_nbytes(static_cast<uint64_t>(elements(shape)), dtype); }
  bool operator==(const TensorDecl& o) const {
    return name == o.name && same(dtype, o.dtype) && shape == o.shape;
  }
};
mopt_tensor_decl to_abi(const TensorDecl&);  // borrows from its argument

// A member of a DeclList, which it borrows from.
struct DeclView {
  std::string_view name;
  DLDataType dtype{};
  std::span<const int64_t> shape;
  uint64_t bytes() const { return mopt_nbytes(static_cast<uint64_t>(elements(shape)), dtype); }
  operator TensorDecl() const { return {std::string(name), dtype, {shape.begin(), shape.end()}}; }
};
mopt_tensor_decl to_abi(const DeclView&);  // borrows from the list

// Grows to exactly what it holds, so append is for few declarations.
class DeclList {
 public:
  class Iterator {
   public:
    explicit Iterator(const uint64_t* at) : at_(at) {}
    DeclView operator*() const;
    Iterator& operator++();
    bool operator==(const Iterator&) const = default;

   private:
    const uint64_t* at_;
  };

  DeclList() = default;
  DeclList(const DeclList&);
  DeclList& operator=(const DeclList&);
  DeclList(DeclList&&) = default;
  DeclList& operator=(DeclList&&) = default;
  void append(const mopt_tensor_decl&);  // copied
  bool operator==(const DeclList&) const;

  size_t size() const { return words_ == nullptr ? 0 : words_[1]; }
  bool empty() const { return size() == 0; }
  Iterator begin() const { return Iterator(words_ == nullptr ? nullptr : words_.get() + 2); }
  Iterator end() const { return Iterator(words_ == nullptr ? nullptr : words_.get() + words_[0]); }
  DeclView operator[](size_t) const;  // walks
  TensorDecl at(size_t) const;        // throws std::out_of_range

 private:
  // NULL: empty. Else the number of words in all, the number of declarations, and for each: its
  // type and rank in a word, the size of its name in a word, its shape, its name padded with zeros.
  std::unique_ptr<uint64_t[]> words_;
};

}  // namespace mopt
