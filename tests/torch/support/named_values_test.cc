#include "winnow/torch/named_values.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include "winnow/torch/error.h"

namespace winnow {
namespace {

std::vector<std::string> names_of(const NamedValues& values) {
  std::vector<std::string> names;
  for (const auto& entry : values) names.push_back(entry.name);
  return names;
}

TEST(NamedValues, KeepTheOrderOfInsertionAndThePlaceOfWhatIsReplaced) {
  NamedValues values{{"b", 1.5}, {"a", 2}, {"b", 3.5}};
  values.set("c", true);
  values.set("a", 7);
  EXPECT_THAT(names_of(values), ::testing::ElementsAre("b", "a", "c"));
  EXPECT_EQ(values.get<double>("b"), 3.5);
  EXPECT_EQ(values.get<int64_t>("a"), 7);
  EXPECT_TRUE(values.erase("b"));
  EXPECT_FALSE(values.erase("b"));
  EXPECT_THAT(names_of(values), ::testing::ElementsAre("a", "c"));
}

TEST(NamedValues, NameWhatIsMissingAndWhatHasTheWrongType) {
  const NamedValues values{{"level", 0.5}, {"count", 3}, {"name", "x"}, {"flag", true}};
  EXPECT_THROW(values.at("levle"), KeyError);
  EXPECT_EQ(values.find("levle"), nullptr);
  EXPECT_EQ(values.get<double>("count"), 3.0);
  EXPECT_EQ(values.get<std::string>("name"), "x");
  EXPECT_TRUE(values.get<bool>("flag"));
  EXPECT_THROW(values.get<int64_t>("level"), c10::TypeError);
  EXPECT_THROW(values.get<double>("flag"), c10::TypeError);
  EXPECT_THROW(values.get<std::string>("level"), c10::TypeError);
  EXPECT_THROW(values.get<bool>("count"), c10::TypeError);
  EXPECT_THROW(values.get<at::Tensor>("count"), c10::TypeError);
  try {
    values.get<int64_t>("level");
  } catch (const c10::TypeError& error) {
    EXPECT_THAT(error.what_without_backtrace(),
                ::testing::HasSubstr("level: expected an integer, found"));
  }
}

TEST(NamedValues, DeepCopySharesNoTensorAndNoList) {
  const at::Tensor tensor = torch::ones({2});
  const NamedValues values{{"tensor", tensor}, {"list", std::vector<int64_t>{1, 2}}};
  const NamedValues copy = values.deep_copy();
  tensor.fill_(5);
  values.at("list").toIntList().push_back(3);
  EXPECT_TRUE(copy.get<at::Tensor>("tensor").equal(torch::ones({2})));
  EXPECT_EQ(copy.at("list").toIntVector(), (std::vector<int64_t>{1, 2}));
}

TEST(NamedValues, TextIsThatOfPython) {
  EXPECT_EQ(to_text(0.5), "0.5");
  EXPECT_EQ(to_text(0.1), "0.1");
  EXPECT_EQ(to_text(3.0), "3.0");
  EXPECT_EQ(to_text(1e16), "1e+16");
  EXPECT_EQ(to_text(0.0001), "0.0001");
  EXPECT_EQ(to_text(0.00001), "1e-05");
  EXPECT_EQ(to_text(4), "4");
  EXPECT_EQ(to_text(true), "True");
  EXPECT_EQ(to_text(c10::IValue()), "None");
  EXPECT_EQ(to_text("plain"), "plain");
  EXPECT_EQ(to_text((NamedValues{{"block", {1, 4}}}.at("block"))), "(1, 4)");
  EXPECT_EQ(to_text((NamedValues{{"block", {4}}}.at("block"))), "(4,)");
  EXPECT_EQ(to_text(std::vector<std::string>{"a", "b"}), "['a', 'b']");
  EXPECT_EQ(to_text(torch::ones({2, 3})), "tensor([2, 3], Float)");
}

}  // namespace
}  // namespace winnow
