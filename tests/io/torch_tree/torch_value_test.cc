#include "winnow/io/torch_value.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "support/torch_image.h"
#include "winnow/io/torch_archive.h"
#include "winnow/io/torch_archive_writer.h"

namespace winnow {
namespace {

using ::testing::ElementsAre;
using Build = std::function<TorchNode(TorchTree&)>;

TorchTree tree_of(const Build& build) {
  TorchTree tree;
  tree.set_root(build(tree));
  return tree;
}

StatusCode check_code(const Build& build, const std::vector<TorchStorage>& storages = {}) {
  return tree_of(build).check(storages).code();
}

TorchNode dict_of(TorchTree& tree, const std::vector<TorchNode>& keys) {
  const TorchNode dict = tree.add_dict();
  for (const TorchNode key : keys) tree.set_item(dict, key, tree.add_none());
  return dict;
}

TEST(TorchTree, IsNoneAtFirst) {
  EXPECT_TRUE(TorchTree().root().is_none());
  EXPECT_TRUE(TorchTree().check({}).ok());
}

TEST(TorchValue, AnswersForItsOwnKindOnly) {
  TorchTree tree;
  const auto value = [&tree](TorchNode node) { return TorchValue(tree, node); };
  EXPECT_EQ(value(tree.add_bool(true)).as_bool(), true);
  EXPECT_EQ(value(tree.add_bool(true)).as_int(), std::nullopt);
  EXPECT_EQ(value(tree.add_int(1)).as_bool(), std::nullopt);
  EXPECT_EQ(value(tree.add_int(-5)).as_int(), -5);
  EXPECT_EQ(value(tree.add_int(1)).as_float(), std::nullopt);
  EXPECT_EQ(value(tree.add_float(-0.5)).as_float(), -0.5);
  EXPECT_EQ(value(tree.add_string("x")).as_string(), "x");
  EXPECT_EQ(value(tree.add_none()).as_string(), std::nullopt);
  EXPECT_EQ(value(tree.add_none()).as_tensor(), nullptr);
  EXPECT_EQ(value(tree.add_none()).as_sparse(), nullptr);
  EXPECT_EQ(value(tree.add_none()).size(), 0u);
  EXPECT_FALSE(value(tree.add_list()).find("x").has_value());
}

TEST(TorchValue, FindsKeysByTheirKind) {
  const TorchTree tree = tree_of([](TorchTree& t) {
    const TorchNode dict = t.add_dict({.ordered = true});
    t.set_item(dict, t.add_string("1"), t.add_int(10));
    t.set_item(dict, t.add_int(1), t.add_int(20));
    return dict;
  });
  EXPECT_TRUE(tree.root().is_ordered());
  EXPECT_EQ(tree.root().size(), 2u);
  EXPECT_EQ(tree.root().find("1")->as_int(), 10);
  EXPECT_EQ(tree.root().find(1)->as_int(), 20);
  EXPECT_FALSE(tree.root().find("2").has_value());
  EXPECT_EQ(tree.root().key(1).as_int(), 1);
}

TEST(TorchTree, CopiesAreIndependent) {
  TorchTree tree;
  const TorchNode list = tree.add_list();
  tree.set_root(list);
  TorchTree copy = tree;
  tree.append(list, tree.add_int(1));
  EXPECT_EQ(tree.root().size(), 1u);
  EXPECT_EQ(copy.root().size(), 0u);
  copy = tree;
  EXPECT_EQ(copy.root()[0].as_int(), 1);
}

TEST(TorchTree, OfAnyDepthIsCopiedAndDestroyedWithoutRecursion) {
  TorchTree tree;
  TorchNode node = tree.add_none();
  for (int i = 0; i < 1'000'000; ++i) node = tree.add_tuple(std::vector<TorchNode>{node});
  tree.set_root(node);
  const TorchTree copy = tree;
  EXPECT_EQ(copy.check({}).code(), PickleError::kPickleTooDeep);
}

TEST(TorchTreeCheck, CountsSharedNodesAtEachUse) {
  const auto doubled = [](int times) {
    return check_code([times](TorchTree& t) {
      TorchNode node = t.add_none();
      for (int i = 0; i < times; ++i) node = t.add_tuple(std::vector<TorchNode>{node, node});
      return node;
    });
  };
  EXPECT_EQ(doubled(23), ErrorCode::kOk);  // 2^24 - 1 nodes
  EXPECT_EQ(doubled(24), PickleError::kPickleTooLarge);
  EXPECT_EQ(doubled(400), PickleError::kPickleTooLarge);
}

TEST(TorchTreeCheck, MeasuresTheLongestPath) {
  // The long path leads through a node that the short one has visited already, or will.
  const auto code = [](int depth, bool long_first) {
    return check_code([=](TorchTree& t) {
      const TorchNode shared = t.add_list();
      TorchNode node = shared;
      for (int i = 0; i < depth - 2; ++i) node = t.add_list(std::vector<TorchNode>{node});
      return t.add_list(long_first ? std::vector<TorchNode>{node, shared}
                                   : std::vector<TorchNode>{shared, node});
    });
  };
  for (const bool long_first : {false, true}) {
    EXPECT_EQ(code(500, long_first), ErrorCode::kOk);
    EXPECT_EQ(code(501, long_first), PickleError::kPickleTooDeep);
  }
}

TEST(TorchTreeCheck, FindsCycles) {
  EXPECT_EQ(check_code([](TorchTree& t) {
              const TorchNode outer = t.add_list(), inner = t.add_list();
              t.append(outer, inner);
              t.append(inner, outer);
              return outer;
            }),
            PickleError::kPickleCycle);
  EXPECT_EQ(check_code([](TorchTree& t) {
              const TorchNode dict = t.add_dict({.ordered = true}), state = t.add_dict();
              t.set_item(state, t.add_string("self"), dict);
              t.set_attributes(dict, state);
              return dict;
            }),
            PickleError::kPickleCycle);
}

TEST(TorchTreeCheck, ComparesKeysAsPythonDoes) {
  const auto code = [](const std::function<std::vector<TorchNode>(TorchTree&)>& keys) {
    return check_code([&](TorchTree& t) { return dict_of(t, keys(t)); });
  };
  using Keys = std::vector<TorchNode>;
  EXPECT_EQ(code([](auto& t) { return Keys{t.add_int(1), t.add_string("1")}; }), ErrorCode::kOk);
  EXPECT_EQ(code([](auto& t) { return Keys{t.add_none(), t.add_int(0)}; }), ErrorCode::kOk);
  EXPECT_EQ(code([](auto& t) { return Keys{t.add_float(1.5), t.add_int(1)}; }), ErrorCode::kOk);
  EXPECT_EQ(code([](auto& t) {
              return Keys{t.add_float(9.3e18), t.add_int(INT64_MAX)};
            }),
            ErrorCode::kOk);
  EXPECT_EQ(code([](auto& t) {
              return Keys{t.add_float(-0.0), t.add_int(0)};
            }),
            PickleError::kPickleDuplicateKey);
  EXPECT_EQ(code([](auto& t) {
              return Keys{t.add_bool(false), t.add_float(0)};
            }),
            PickleError::kPickleDuplicateKey);
  EXPECT_EQ(code([](auto& t) {
              return Keys{t.add_float(-std::ldexp(1, 63)), t.add_int(INT64_MIN)};
            }),
            PickleError::kPickleDuplicateKey);
  EXPECT_EQ(code([](auto& t) {
              return Keys{t.add_string("k"), t.add_string("k")};
            }),
            PickleError::kPickleDuplicateKey);
  EXPECT_EQ(code([](auto& t) { return Keys{t.add_list()}; }), PickleError::kPickleKey);
}

TEST(TorchTreeCheck, WantsText) {
  EXPECT_EQ(check_code([](TorchTree& t) { return t.add_string("\xff"); }),
            PickleError::kPickleText);
}

TEST(TorchTreeCheck, IgnoresWhatIsNotReachable) {
  TorchTree tree;
  (void)tree.add_string("\xff");
  EXPECT_TRUE(tree.check({}).ok());
}

TEST(TorchStorage, IsTheOneThatTorchUsesForAType) {
  EXPECT_EQ(TorchStorage::for_dtype(DType::kBF16, 3), (TorchStorage{DType::kBF16, 3, false}));
  EXPECT_EQ(TorchStorage::for_dtype(DType::kU32, 3), (TorchStorage{DType::kU8, 12, true}));
  EXPECT_EQ(TorchStorage::for_dtype(DType::kF8E4M3, 3), (TorchStorage{DType::kU8, 3, true}));
}

std::string pickle_of(const Build& build, const std::vector<TorchStorage>& storages = {}) {
  const Result<std::string> pickle = torch_pickle(tree_of(build), storages);
  EXPECT_TRUE(pickle.ok()) << pickle.status().message();
  return pickle.ok() ? *pickle : "";
}

std::string program(const std::string& body) { return testing::pkl::program(body); }

TEST(TorchPickle, WritesIntegersInTheShortestForm) {
  const auto integer = [](int64_t value) {
    return pickle_of([value](TorchTree& t) { return t.add_int(value); });
  };
  EXPECT_EQ(integer(255), program("K\xff"));
  EXPECT_EQ(integer(256), program(std::string("M\0\1", 3)));
  EXPECT_EQ(integer(65536), program(std::string("J\0\0\1\0", 5)));
  EXPECT_EQ(integer(-1), program("J\xff\xff\xff\xff"));
  EXPECT_EQ(integer(int64_t{1} << 31), program(std::string("\x8a\5\0\0\0\x80\0", 7)));
  EXPECT_EQ(integer(-(int64_t{1} << 39)), program(std::string("\x8a\5\0\0\0\0\x80", 7)));
  EXPECT_EQ(integer(int64_t{1} << 39), program(std::string("\x8a\6\0\0\0\0\x80\0", 8)));
  EXPECT_EQ(integer(INT64_MIN), program("\x8a\x08" + std::string(7, '\0') + "\x80"));
}

TEST(TorchPickle, WritesMemosOnlyForWhatIsUsedAgain) {
  EXPECT_EQ(pickle_of([](TorchTree& t) {
              const TorchNode text = t.add_string("x");
              return t.add_tuple(std::vector<TorchNode>{text, t.add_string("y"), text});
            }),
            program(testing::pkl::text("x") + std::string("q\0", 2) + testing::pkl::text("y") +
                    std::string("h\0", 2) + "\x87"));
}

TEST(TorchPickle, WritesOrderedDictsWithTheirAttributes) {
  EXPECT_EQ(pickle_of([](TorchTree& t) {
              const TorchNode dict = t.add_dict({.ordered = true});
              t.set_attributes(dict, dict_of(t, {t.add_string("a")}));
              return dict;
            }),
            program(std::string("ccollections\nOrderedDict\nq\0)R", 29) + "}(" +
                    testing::pkl::text("a") + "Nub"));
}

TEST(TorchPickle, WritesBatchesOfAThousandItems) {
  const std::string pickle = pickle_of(
      [](TorchTree& t) { return t.add_list(std::vector<TorchNode>(2001, t.add_none())); });
  const std::string batch = "(" + std::string(1000, 'N') + "e";
  EXPECT_EQ(pickle, program("]" + batch + batch + "(Ne"));
}

}  // namespace
}  // namespace winnow
