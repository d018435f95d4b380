#include "host/loader/decl_list.hpp"

#include <doctest/doctest.h>

#include <random>

using namespace mopt;

namespace {

TensorDecl random_decl(std::mt19937& random) {
  constexpr DLDataType kTypes[] = {kU8, kBf16, kF32, kE2m1};
  TensorDecl d{std::string(random() % 20, static_cast<char>('a' + random() % 26)),
               kTypes[random() % 4], std::vector<int64_t>(random() % 5)};
  for (int64_t& extent : d.shape)
    extent = static_cast<int64_t>(random());
  return d;
}

void check_holds(const DeclList& list, const std::vector<TensorDecl>& wanted) {
  REQUIRE(list.size() == wanted.size());
  CHECK(list.empty() == wanted.empty());
  size_t i = 0;
  for (const DeclView d : list) {
    CHECK(TensorDecl(d) == wanted[i]);
    CHECK(TensorDecl(list[i]) == wanted[i]);
    CHECK(list.at(i) == wanted[i]);
    CHECK(d.bytes() == wanted[i].bytes());
    ++i;
  }
  CHECK(i == wanted.size());
  CHECK_THROWS_AS(list.at(i), std::out_of_range);
}

}  // namespace

TEST_CASE("a list of declarations gives back what was appended, copies and moves do too") {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    DeclList list;
    std::vector<TensorDecl> wanted;
    check_holds(list, wanted);
    for (unsigned i = 0; i < random() % 8; ++i) {
      wanted.push_back(random_decl(random));
      list.append(to_abi(wanted.back()));
      check_holds(list, wanted);
    }
    DeclList copy;
    copy.append(to_abi(TensorDecl{"other", kF32, {}}));
    copy = list;
    const std::vector<TensorDecl> before = wanted;
    wanted.push_back({"more", kI64, {7}});
    list.append(to_abi(wanted.back()));
    check_holds(list, wanted);
    check_holds(copy, before);
    CHECK(copy == DeclList(copy));
    CHECK_FALSE(copy == list);
    const DeclList moved = std::move(list);
    check_holds(moved, wanted);
  }
}

TEST_CASE("lists of declarations are equal when each name, type and shape is") {
  const auto one = [](const TensorDecl& d) {
    DeclList list;
    list.append(to_abi(d));
    return list;
  };
  const TensorDecl base{"scale", kF32, {3, 4}};
  CHECK(one(base) == one(base));
  CHECK(DeclList() == DeclList());
  for (const TensorDecl& other :
       {TensorDecl{"scalf", kF32, {3, 4}}, TensorDecl{"scal", kF32, {3, 4}},
        TensorDecl{"scale", kU8, {3, 4}}, TensorDecl{"scale", kF32, {3, 5}},
        TensorDecl{"scale", kF32, {3}}, TensorDecl{"", kF32, {3, 4}}}) {
    CAPTURE(other.name);
    CHECK_FALSE(one(base) == one(other));
    CHECK(one(other) == one(other));
  }
  CHECK_FALSE(one(base) == DeclList());
}
