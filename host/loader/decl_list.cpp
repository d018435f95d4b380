#include "host/loader/decl_list.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace mopt {
namespace {

struct Head {
  DLDataType dtype;
  int32_t ndim;
  uint64_t name_size;
};
constexpr size_t kHeadWords = sizeof(Head) / 8;
static_assert(sizeof(Head) == 16);

Head head_at(const uint64_t* at) {
  Head head;
  std::memcpy(&head, at, sizeof(head));
  return head;
}

size_t words_of(const Head& head) {
  return kHeadWords + static_cast<size_t>(head.ndim) + (head.name_size + 7) / 8;
}

}  // namespace

mopt_tensor_decl to_abi(const DeclView& d) {
  return {sizeof(mopt_tensor_decl),
          d.dtype,
          str(d.name),
          d.shape.data(),
          static_cast<int32_t>(d.shape.size()),
          0};
}

mopt_tensor_decl to_abi(const TensorDecl& d) {
  return to_abi(DeclView{d.name, d.dtype, d.shape});
}

DeclView DeclList::Iterator::operator*() const {
  const Head head = head_at(at_);
  const auto* shape = reinterpret_cast<const int64_t*>(at_ + kHeadWords);
  const char* name = reinterpret_cast<const char*>(shape + head.ndim);
  return {{name, head.name_size}, head.dtype, {shape, static_cast<size_t>(head.ndim)}};
}

DeclList::Iterator& DeclList::Iterator::operator++() {
  at_ += words_of(head_at(at_));
  return *this;
}

DeclList::DeclList(const DeclList& other) {
  *this = other;
}

DeclList& DeclList::operator=(const DeclList& other) {
  if (this == &other) return *this;
  words_.reset();
  if (other.words_ == nullptr) return *this;
  words_ = std::make_unique_for_overwrite<uint64_t[]>(other.words_[0]);
  std::copy_n(other.words_.get(), other.words_[0], words_.get());
  return *this;
}

void DeclList::append(const mopt_tensor_decl& d) {
  const Head head{d.dtype, d.ndim, d.name.len};
  const size_t before = words_ == nullptr ? 2 : words_[0], all = before + words_of(head);
  auto grown = std::make_unique_for_overwrite<uint64_t[]>(all);
  if (words_ != nullptr) std::copy_n(words_.get(), before, grown.get());
  grown[0] = all;
  grown[1] = size() + 1;
  grown[all - 1] = 0;  // the end of the name; before the rest, for the name may be empty
  uint64_t* at = grown.get() + before;
  std::memcpy(at, &head, sizeof(head));
  std::copy_n(d.shape, d.ndim, reinterpret_cast<int64_t*>(at + kHeadWords));
  std::copy_n(d.name.ptr, d.name.len, reinterpret_cast<char*>(at + kHeadWords + d.ndim));
  words_ = std::move(grown);
}

bool DeclList::operator==(const DeclList& other) const {
  if (words_ == nullptr || other.words_ == nullptr) return words_ == other.words_;
  return words_[0] == other.words_[0] &&
         std::equal(words_.get(), words_.get() + words_[0], other.words_.get());
}

TensorDecl DeclList::at(size_t i) const {
  if (i >= size()) throw std::out_of_range("DeclList::at");
  return (*this)[i];
}

DeclView DeclList::operator[](size_t i) const {
  Iterator at = begin();
  while (i-- > 0)
    ++at;
  return *at;
}

}  // namespace mopt
