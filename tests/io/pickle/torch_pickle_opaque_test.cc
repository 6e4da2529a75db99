// What a pickle may hold with TorchOpenOptions::keep_unknown: each case is an error without it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "io/torch_reject.h"
#include "support/torch_image.h"
#include "winnow/io/torch_archive_writer.h"

namespace winnow {
namespace {

using namespace testing;  // NOLINT: the builders of torch_image.h
using ::testing::HasSubstr;

const std::string kSix(24, '\1');  // six floats
const std::string kFloats = pkl::storage("FloatStorage", 6);
const std::string kTensor = pkl::tensor(kFloats, {2, 3}, {3, 1});
const std::string kNamespace = pkl::global("argparse", "Namespace");

// argparse.Namespace(x=value), as Python writes it.
std::string name_space(const std::string& value) {
  return kNamespace + ")\x81}" + pkl::text("x") + value + "sb";
}

std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string out = "}";
  for (const auto& [key, value] : items) out += pkl::text(key) + value + "s";
  return out;
}

Result<TorchArchive> open_unknown(const std::string& image) {
  return TorchArchive::open(std::make_unique<MemoryFile>(image), "image", {.keep_unknown = true});
}

std::string image_of(const std::string& body, const std::vector<std::string>& payloads = {kSix}) {
  return archive_image(pkl::program(body), payloads).build();
}

// The class of the value at "x", which has to be opaque. Without the option, the file is refused.
std::string class_of(const std::string& value, const std::vector<std::string>& payloads = {kSix}) {
  const std::string image = image_of(dict({{"w", kTensor}, {"x", value}}), payloads);
  EXPECT_FALSE(open_image(image).ok());
  const Result<TorchArchive> archive = open_unknown(image);
  EXPECT_TRUE(archive.ok()) << archive.status().message();
  if (!archive.ok()) return "";
  EXPECT_NE(archive->root().find("w")->as_tensor(), nullptr);
  EXPECT_TRUE(archive->tree().check(archive->storages()).ok());
  const auto found = archive->root().find("x")->as_opaque();
  EXPECT_TRUE(found.has_value());
  return std::string(found.value_or(""));
}

TEST(OpaqueValues, AreNamedByTheirClass) {
  EXPECT_EQ(class_of(kNamespace), "argparse.Namespace");
  EXPECT_EQ(class_of(name_space("N")), "argparse.Namespace");
  EXPECT_EQ(class_of(pkl::call(pkl::global("a.b", "f"), {"N"})), "a.b.f");
  EXPECT_EQ(class_of(pkl::call(pkl::call(pkl::global("builtins", "getattr"), {"N"}), {})),
            "builtins.getattr");
}

TEST(OpaqueValues, OfAHelperAreNamedByTheClassThatItGets) {
  const std::string type = pkl::global("torchao", "Int8Tensor");
  EXPECT_EQ(class_of(pkl::call(pkl::global("torch._tensor", "_rebuild_from_type_v2"),
                               {pkl::global("torch._utils", "_rebuild_tensor_v2"), type, "N"})),
            "torchao.Int8Tensor");
  EXPECT_EQ(class_of(pkl::call(pkl::global("copyreg", "_reconstructor"), {"N"})),
            "copyreg._reconstructor");
}

TEST(OpaqueValues, TakeItemsAsListsAndDictsDo) {
  const std::string made = pkl::call(pkl::global("collections", "defaultdict"), {});
  EXPECT_EQ(class_of(made + pkl::text("k") + "Ns"), "collections.defaultdict");
  EXPECT_EQ(class_of(pkl::call(pkl::global("collections", "deque"), {}) + "Na"),
            "collections.deque");
}

TEST(OpaqueValues, AreWhatKnownNamesMakeOfOtherArguments) {
  EXPECT_EQ(class_of(pkl::call(pkl::global("torch", "Size"), {"N"})), "torch.Size");
  EXPECT_EQ(class_of(pkl::call(pkl::rebuild("_rebuild_tensor_v2"), {"N"})),
            "torch._utils._rebuild_tensor_v2");
}

TEST(OpaqueValues, AreDictsAndSetsOfWhatHasNoName) {
  EXPECT_EQ(class_of("})Ns"), "dict");
  EXPECT_EQ(class_of(pkl::call(pkl::global("__builtin__", "set"), {"])a"})), "set");
}

TEST(OpaqueValues, AreLongIntegersAndNamesAmongData) {
  EXPECT_EQ(class_of("\x8a\x09" + std::string(9, '\1')), "int");
  const std::string image =
      image_of("]" + pkl::global("collections", "OrderedDict") + "a" +
               pkl::global("torch", "FloatStorage") + "a" + kTensor + "a" + kFloats + "a");
  const Result<TorchArchive> archive = open_unknown(image);
  ASSERT_TRUE(archive.ok()) << archive.status().message();
  EXPECT_EQ(archive->root()[0].as_opaque(), "collections.OrderedDict");
  EXPECT_EQ(archive->root()[1].as_opaque(), "torch.FloatStorage");
  EXPECT_NE(archive->root()[2].as_tensor(), nullptr);
  EXPECT_EQ(archive->root()[3].as_opaque(), "torch.storage.TypedStorage");
  EXPECT_TRUE(archive->root()[3].refers_to_storages());
  EXPECT_TRUE(archive->opaque_uses(0));
}

TEST(OpaqueValues, OfStoragesOfOtherTypesCarryTheirRecords) {
  const std::string storage = pkl::storage("QInt8Storage", 3, "1");
  const std::string value = pkl::call(pkl::rebuild("_rebuild_qtensor"), {storage});
  EXPECT_EQ(class_of(value, {kSix, "abc"}), "torch.QInt8Storage");
  const std::string body = dict({{"w", kTensor}, {"x", value}});
  EXPECT_EQ(open_unknown(image_of(body)).status().code(), TorchArchiveError::kMissingRecord);
  EXPECT_EQ(open_unknown(image_of(body, {kSix, "abc"}))->storages().size(), 1u);
  // The same number as a storage of a known type, in either order.
  const std::string both = pkl::storage("QInt8Storage", 3, "0");
  for (const std::string& list : {kFloats + "a" + both + "a", both + "a" + kFloats + "a"}) {
    EXPECT_EQ(open_unknown(image_of("]" + list)).status().code(), PickleError::kStorageMismatch);
  }
}

TEST(OpaqueValues, TellWhichStoragesTheyUse) {
  const std::string bytes = pkl::tensor(pkl::storage("ByteStorage", 3, "1"), {3}, {1});
  for (const bool inside : {false, true}) {
    const std::string hidden = name_space(inside ? "](" + kTensor + "e" : "N");
    const Result<TorchArchive> archive =
        open_unknown(image_of(dict({{"w", kTensor}, {"b", bytes}, {"x", hidden}}), {kSix, "abc"}));
    ASSERT_TRUE(archive.ok()) << archive.status().message();
    EXPECT_EQ(archive->opaque_uses(0), inside);
    EXPECT_FALSE(archive->opaque_uses(1));
    EXPECT_EQ(archive->root().find("x")->refers_to_storages(), inside);
  }
  // Of a storage that only they use.
  const Result<TorchArchive> archive = open_unknown(image_of(name_space(kTensor)));
  ASSERT_TRUE(archive.ok()) << archive.status().message();
  EXPECT_TRUE(archive->opaque_uses(0));
}

TEST(OpaqueValues, MayHoldThemselves) {
  const std::string self = kNamespace + ")\x81q\1}" + pkl::text("me") + "h\1sb";
  EXPECT_EQ(class_of(self), "argparse.Namespace");
}

TEST(OpaqueValues, DoNotMakeMalformedPicklesGood) {
  const auto code = [](const std::string& body) {
    return std::string(open_unknown(image_of(body)).status().code().name);
  };
  EXPECT_EQ(code(pkl::tensor(kFloats, {3, 3}, {3, 1})), "TensorBounds");
  EXPECT_EQ(code(kNamespace + "N\x81"), "PickleCall");
  EXPECT_EQ(code("N)R"), "PickleCall");
  EXPECT_EQ(code("]q\1h\1a"), "PickleCycle");
  EXPECT_EQ(code("}K\1NsK\1Ns"), "PickleDuplicateKey");
  EXPECT_EQ(code(pkl::global("a", "\xff")), "PickleGlobal");
  EXPECT_EQ(code(pkl::global("a", std::string(300, 'x'))), "PickleGlobal");
  EXPECT_EQ(code(dict({{"x", "N"}})), "UnreferencedRecord");
}

TEST(OpaqueValues, TakeNoMoreMemoryThanOthers) {
  // Each call makes a value with a name of 256 bytes.
  std::string body = "](" + pkl::global("m", std::string(254, 'n')) + "q\1";
  for (int i = 0; i < 1'000'000; ++i) body += "h\1)R";
  const Status status = open_unknown(image_of(body + "e", {})).status();
  EXPECT_EQ(status.code(), PickleError::kPickleTooLarge) << status.message();
}

TEST(OpaqueValues, CannotBeWritten) {
  const Result<TorchArchive> archive = open_unknown(image_of(kNamespace, {}));
  ASSERT_TRUE(archive.ok());
  const Status status = torch_pickle(archive->tree(), archive->storages()).status();
  EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("argparse.Namespace"));
}

}  // namespace
}  // namespace winnow
