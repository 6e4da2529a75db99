// Every way in which an archive's pickle, and the tensors it describes, can be malformed, with the
// one code it gives (docs/torch_archive.md has the same list).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "io/torch_reject.h"
#include "support/torch_image.h"

namespace winnow {
namespace {

using namespace testing;  // NOLINT: the builders of torch_image.h

// An archive with that pickle, in which storage 0 has the given payload.
std::string raw(const std::string& pickle, const std::string& payload = "") {
  return archive_image(pickle, payload.empty() ? std::vector<std::string>()
                                               : std::vector<std::string>{payload})
      .build();
}

std::string body(const std::string& text, const std::string& payload = "") {
  return raw(pkl::program(text), payload);
}

std::string repeat(const std::string& text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

const std::string kSix(24, '\1');  // six floats
const std::string kFloats = pkl::storage("FloatStorage", 6);
const std::string kTensor = pkl::tensor(kFloats, {2, 3}, {3, 1});
const std::string kHooks = pkl::ordered_dict();
const std::string kTrue = "\x88", kFalse = "\x89";

std::string tensor(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides,
                   int64_t offset = 0) {
  return body(pkl::tensor(kFloats, shape, strides, offset), kSix);
}

std::string rebuild(const std::string& name, const std::vector<std::string>& args) {
  return body(pkl::call(pkl::rebuild(name), args), kSix);
}

std::string v2(const std::string& storage, const std::string& offset, const std::string& shape,
               const std::string& strides, const std::string& grad, const std::string& hooks) {
  return rebuild("_rebuild_tensor_v2", {storage, offset, shape, strides, grad, hooks});
}

// A name and elements, as a persistent id has them.
std::string id(const std::vector<std::string>& items) { return body(pkl::tuple(items) + "Q"); }

std::string sized(const std::string& dtype_storage, int64_t numel, const std::string& payload) {
  return body(pkl::tensor(pkl::storage(dtype_storage, numel), {}, {}), payload);
}

const RejectCase kProgramCases[] = {
    {"Empty", PickleError::kPickleProtocol, raw("")},
    {"NoProtocol", PickleError::kPickleProtocol, raw("}.")},
    {"Protocol3", PickleError::kPickleProtocol, raw("\x80\x03}.")},
    {"Protocol4", PickleError::kPickleProtocol, raw("\x80\x04\x95.")},
    {"ProtocolTwice", PickleError::kPickleProtocol, body("\x80\x02}")},
    {"NoStop", PickleError::kPickleTruncated, raw("\x80\x02}")},
    {"BytesBehindStop", PickleError::kPickleTrailing, raw("\x80\x02}..")},
    {"ArgumentMissing", PickleError::kPickleTruncated, raw("\x80\x02J\1\2")},
    {"FloatCutShort", PickleError::kPickleTruncated, raw("\x80\x02G\1\2")},
    {"LongCutShort", PickleError::kPickleTruncated, raw("\x80\x02\x8a\x08\1\2")},
    {"LengthMissing", PickleError::kPickleTruncated, raw("\x80\x02X\1")},
    {"StringOf4GiB", PickleError::kPickleTruncated, body("X\xff\xff\xff\xffx")},
    {"ShortStringCutShort", PickleError::kPickleTruncated, body("U\x09x")},
    {"NameWithoutEnd", PickleError::kPickleTruncated, body("ctorch\nSize")},
    {"MemoArgumentMissing", PickleError::kPickleTruncated, raw("\x80\x02}q")},
    {"TwoValues", PickleError::kPickleStack, body("}}")},
    {"NoValue", PickleError::kPickleStack, body("")},
    {"MarkLeft", PickleError::kPickleStack, body("(}")},
    {"NoMark", PickleError::kPickleStack, body("}t")},
    {"TupleUnderflow", PickleError::kPickleStack, body("N\x86")},
    {"TupleAcrossMark", PickleError::kPickleStack, body("N(N\x86")},
    {"AppendAcrossMark", PickleError::kPickleStack, body("](Nae")},
    {"PutOfNothing", PickleError::kPickleStack, body(std::string("q\0", 2))},
    {"AppendUnderflow", PickleError::kPickleStack, body("]a")},
    {"AppendsToNothing", PickleError::kPickleStack, body("(Ne")},
    {"SetItemUnderflow", PickleError::kPickleStack, body("}Ns")},
    {"SetItemsToNothing", PickleError::kPickleStack, body("(NNu")},
    {"KeyWithoutValue", PickleError::kPickleStack, body("}(NNNu")},
    {"ReduceUnderflow", PickleError::kPickleStack, body(")R")},
    {"NewObjUnderflow", PickleError::kPickleStack, body(")\x81")},
    {"BuildUnderflow", PickleError::kPickleStack, body("}b")},
    {"PersistentIdUnderflow", PickleError::kPickleStack, body("Q")},
    {"GetOfNothing", PickleError::kPickleMemo, body("h\x01")},
    {"LongGetOfNothing", PickleError::kPickleMemo, body("j\xff\xff\xff\xff")},
    {"GetOfASkippedMemo", PickleError::kPickleMemo, body("]q\x02h\x01")},
    {"PutTwice", PickleError::kPickleMemo, body("]q\x01q\x01")},
    {"PutPastThePicklesLength", PickleError::kPickleMemo, body("]r\xff\xff\xff\x7f")},
    {"IntegerOf9Bytes", PickleError::kPickleInt, body("\x8a\x09" + std::string(9, '\1'))},
    {"StringNotUtf8", PickleError::kPickleText, body(pkl::text("\xff"))},
    {"StringWithSurrogate", PickleError::kPickleText, body(pkl::text("\xed\xa0\x80"))},
    {"ShortStringNotUtf8", PickleError::kPickleText, body("U\x01\xff")},
    {"ListInList200000Deep", PickleError::kPickleTooDeep,
     body(repeat("]", 200'000) + repeat("a", 199'999))},
    {"TupleInTuple200000Deep", PickleError::kPickleTooDeep, body("N" + repeat("\x85", 200'000))},
    {"DictInDict501Deep", PickleError::kPickleTooDeep,
     body(repeat("}N", 500) + "}" + repeat("s", 500))},
    {"Marks200000Deep", PickleError::kPickleStack, body(repeat("(", 200'000))},
    {"BillionLaughs", PickleError::kPickleTooLarge,
     body("]" +
          [] {
            std::string out;
            for (char i = 0; i < 26; ++i) out += std::string("q") + i + "h" + i + "\x86";
            return out;
          }())},
    {"TooManyNodes", PickleError::kPickleTooLarge, body(repeat("]", (1 << 21) + 1))},
    {"TooManyMarks", PickleError::kPickleTooLarge, body(repeat("(", (1 << 21) + 1))},
    {"TooManyOnTheStack", PickleError::kPickleTooLarge, body(repeat("N", (1 << 21) + 1))},
    {"TooManyItems", PickleError::kPickleTooLarge,
     body("]" + repeat("(" + std::string(1'000'000, 'N') + "e", 17))},
    {"TooManyDimensions", PickleError::kPickleTooLarge,
     body(pkl::rebuild("_rebuild_tensor_v2") + "q\x01" +
              pkl::tuple({kFloats, "K" + std::string(1, '\0'),
                          repeat("K\1", 0) + "(" + repeat("K\1", 64) + "t",
                          "(" + repeat("K\1", 64) + "t", kFalse, kHooks}) +
              "q\x02R" + repeat("h\1h\2R", 70'000),
          kSix)},
};

// Every opcode of protocols 0 to 5 that is not on the list.
std::vector<RejectCase> other_opcodes() {
  const std::string known = "().GJKMNQRUX]abcehjqrstu}\x80\x81\x85\x86\x87\x88\x89\x8a\x8f";
  std::vector<RejectCase> out;
  for (int opcode = 0; opcode < 256; ++opcode) {
    const char c = static_cast<char>(opcode);
    if (known.find(c) != known.npos) continue;
    out.push_back({"Opcode" + std::to_string(opcode), PickleError::kPickleOpcode,
                   body("}" + std::string(1, c) + std::string(8, '\0'))});
  }
  return out;
}

const RejectCase kValueCases[] = {
    {"UnknownName", PickleError::kPickleGlobal, body(pkl::global("os", "system"))},
    {"UnknownModule", PickleError::kPickleGlobal, body(pkl::global("torchx", "Size"))},
    {"DefaultDict", PickleError::kPickleGlobal, body(pkl::global("collections", "defaultdict"))},
    {"QuantizedTensor", PickleError::kPickleGlobal, body(pkl::rebuild("_rebuild_qtensor"))},
    {"NameNotUtf8", PickleError::kPickleGlobal, body(pkl::global("torch", "\xff\n"))},
    {"ComplexDouble", TorchArchiveError::kStorageDtype,
     body(pkl::global("torch", "ComplexDoubleStorage"))},
    {"Complex128", TorchArchiveError::kStorageDtype, body(pkl::global("torch", "complex128"))},
    {"CallOfAList", PickleError::kPickleCall, body("])R")},
    {"CallOfAStorageClass", PickleError::kPickleCall,
     body(pkl::global("torch", "FloatStorage") + ")R")},
    {"ArgumentsInAList", PickleError::kPickleCall, body(pkl::global("torch", "Size") + "]R")},
    {"OrderedDictOfPairs", PickleError::kPickleCall,
     body(pkl::call(pkl::global("collections", "OrderedDict"), {"]"}))},
    {"SizeOfAList", PickleError::kPickleCall, body(pkl::call(pkl::global("torch", "Size"), {"]"}))},
    {"SizeOfStrings", PickleError::kPickleCall,
     body(pkl::call(pkl::global("torch", "Size"), {pkl::tuple({pkl::text("1")})}))},
    {"SetOfATuple", PickleError::kPickleCall,
     body(pkl::call(pkl::global("__builtin__", "set"), {")"}))},
    {"NewSet", PickleError::kPickleCall, body(pkl::global("__builtin__", "set") + "]\x85\x81")},
    {"LayoutOfAnInt", PickleError::kPickleCall,
     body(pkl::call(pkl::global("torch.serialization", "_get_layout"), {"K\1"}))},
    {"AppendToATuple", PickleError::kPickleTarget, body(")Na")},
    {"AppendsToADict", PickleError::kPickleTarget, body("}(Ne")},
    {"SetItemOfAList", PickleError::kPickleTarget, body("]NNs")},
    {"SetItemsOfATensor", PickleError::kPickleTarget, body(kTensor + "(NNu", kSix)},
    {"StateOfADict", PickleError::kPickleTarget, body("}}b")},
    {"StateOfATensor", PickleError::kPickleTarget, body(kTensor + "}b", kSix)},
    {"StateThatIsAList", PickleError::kPickleTarget, body(kHooks + "]b")},
    {"StateTwice", PickleError::kPickleTarget, body(kHooks + "}b}b")},
    {"StateWithNumbers", PickleError::kPickleKey, body(kHooks + "}K\1Nsb")},
    {"ListAsKey", PickleError::kPickleKey, body("}]Ns")},
    {"TupleAsKey", PickleError::kPickleKey, body("})Ns")},
    {"TensorAsKey", PickleError::kPickleKey, body("}" + kTensor + "Ns", kSix)},
    {"ListInSet", PickleError::kPickleKey,
     body(pkl::call(pkl::global("__builtin__", "set"), {"]]a"}))},
    {"StringKeyTwice", PickleError::kPickleDuplicateKey,
     body("}(" + pkl::text("k") + "N" + pkl::text("k") + "Nu")},
    {"IntAndBoolKey", PickleError::kPickleDuplicateKey, body("}(K\1N\x88Nu")},
    {"IntAndFloatKey", PickleError::kPickleDuplicateKey,
     body("}(K\1NG\x3f\xf0" + std::string(6, '\0') + "Nu")},
    {"NoneKeyTwice", PickleError::kPickleDuplicateKey, body("}(NNNNu")},
    {"ElementTwice", PickleError::kPickleDuplicateKey,
     body(pkl::call(pkl::global("__builtin__", "set"), {"](K\1K\1e"}))},
    {"NameAsRoot", PickleError::kPickleValue, body(pkl::global("torch", "Size"))},
    {"StorageAsRoot", PickleError::kPickleValue, body(kFloats, kSix)},
    {"StorageInAList", PickleError::kPickleValue, body("]" + kFloats + "a", kSix)},
    {"StorageInADict", PickleError::kPickleValue, body("}N" + kFloats + "s", kSix)},
    {"StorageInATuple", PickleError::kPickleValue, body(kFloats + "\x85", kSix)},
    {"ListInItself", PickleError::kPickleCycle, body("]q\x01h\x01" + std::string("a"))},
    {"DictInItsAttributes", PickleError::kPickleCycle,
     body(kHooks + "q\x01}" + pkl::text("x") + "h\x01" + "sb")},
    {"IdIsAString", PickleError::kStorageId, body(pkl::text("0") + "Q")},
    {"IdOfFour", PickleError::kStorageId,
     id({pkl::text("storage"), pkl::global("torch", "FloatStorage"), pkl::text("0"), "K\6"})},
    {"IdOfAModule", PickleError::kStorageId,
     id({pkl::text("module"), pkl::global("torch", "FloatStorage"), pkl::text("0"),
         pkl::text("cpu"), "K\6"})},
    {"IdWithoutClass", PickleError::kStorageId,
     id({pkl::text("storage"), pkl::text("FloatStorage"), pkl::text("0"), pkl::text("cpu"),
         "K\6"})},
    {"IdWithAName", PickleError::kStorageId,
     id({pkl::text("storage"), pkl::global("torch", "FloatStorage"), pkl::text("../0"),
         pkl::text("cpu"), "K\6"})},
    {"IdWithALeadingZero", PickleError::kStorageId,
     id({pkl::text("storage"), pkl::global("torch", "FloatStorage"), pkl::text("00"),
         pkl::text("cpu"), "K\6"})},
    {"IdOnNoDevice", PickleError::kStorageId,
     id({pkl::text("storage"), pkl::global("torch", "FloatStorage"), pkl::text("0"),
         pkl::text("meta"), "K\6"})},
    {"IdOnADeviceWithoutNumber", PickleError::kStorageId,
     id({pkl::text("storage"), pkl::global("torch", "FloatStorage"), pkl::text("0"),
         pkl::text("cuda:"), "K\6"})},
    {"IdOfNegativeSize", PickleError::kStorageId, body(pkl::storage("FloatStorage", -1))},
    {"StorageOf63Bits", TorchArchiveError::kTensorShape,
     body(pkl::storage("FloatStorage", INT64_MAX))},
    {"StorageWithTwoTypes", PickleError::kStorageMismatch,
     body("](" + kTensor + pkl::tensor(pkl::storage("IntStorage", 6), {6}, {1}) + "e", kSix)},
    {"StorageWithTwoSizes", PickleError::kStorageMismatch,
     body("](" + kTensor + pkl::tensor(pkl::storage("FloatStorage", 5), {5}, {1}) + "e", kSix)},
};

const RejectCase kTensorCases[] = {
    {"V2OfFive", PickleError::kPickleCall,
     rebuild("_rebuild_tensor_v2", {kFloats, "K" + std::string(1, '\0'), ")", ")", kFalse})},
    {"V2WithMetadata", PickleError::kPickleCall,
     rebuild("_rebuild_tensor_v2", {kFloats, pkl::integer(0), ")", ")", kFalse, kHooks, "}"})},
    {"TensorOfNoStorage", PickleError::kPickleCall,
     v2("N", pkl::integer(0), ")", ")", kFalse, kHooks)},
    {"OffsetNoInt", PickleError::kPickleCall, v2(kFloats, "N", ")", ")", kFalse, kHooks)},
    {"ShapeNoTuple", PickleError::kPickleCall,
     v2(kFloats, pkl::integer(0), "]", ")", kFalse, kHooks)},
    {"StridesNoTuple", PickleError::kPickleCall,
     v2(kFloats, pkl::integer(0), ")", "]", kFalse, kHooks)},
    {"ShapeOfBools", PickleError::kPickleCall,
     v2(kFloats, pkl::integer(0), kTrue + "\x85", pkl::ints({1}), kFalse, kHooks)},
    {"GradNoBool", PickleError::kPickleCall, v2(kFloats, pkl::integer(0), ")", ")", "K\1", kHooks)},
    {"HooksNone", TorchArchiveError::kTensorHooks,
     v2(kFloats, pkl::integer(0), ")", ")", kFalse, "N")},
    {"HooksPlainDict", TorchArchiveError::kTensorHooks,
     v2(kFloats, pkl::integer(0), ")", ")", kFalse, "}")},
    {"HooksNotEmpty", TorchArchiveError::kTensorHooks,
     v2(kFloats, pkl::integer(0), ")", ")", kFalse, kHooks + "NNs")},
    {"HooksWithAState", TorchArchiveError::kTensorHooks,
     v2(kFloats, pkl::integer(0), ")", ")", kFalse, kHooks + "}b")},
    {"ParameterHooks", TorchArchiveError::kTensorHooks,
     rebuild("_rebuild_parameter", {kTensor, kTrue, "N"})},
    {"ParameterOfTwo", PickleError::kPickleCall, rebuild("_rebuild_parameter", {kTensor, kTrue})},
    {"ParameterOfAList", PickleError::kPickleCall,
     rebuild("_rebuild_parameter", {"]", kTrue, kHooks})},
    {"ParameterOfAParameter", PickleError::kPickleCall,
     rebuild(
         "_rebuild_parameter",
         {pkl::call(pkl::rebuild("_rebuild_parameter"), {kTensor, kTrue, kHooks}), kTrue, kHooks})},
    {"NewParameterOfNothing", PickleError::kPickleCall,
     body(pkl::global("torch.nn.parameter", "Parameter") + ")\x81")},
    {"V3OnATypedStorage", TorchArchiveError::kStorageDtype,
     rebuild("_rebuild_tensor_v3", {kFloats, pkl::integer(0), ")", ")", kFalse, kHooks,
                                    pkl::global("torch", "float32")})},
    {"V2OnAnUntypedStorage", TorchArchiveError::kStorageDtype,
     body(pkl::tensor(pkl::storage("UntypedStorage", 24), {}, {}), kSix)},
    {"V3WithoutType", PickleError::kPickleCall,
     rebuild("_rebuild_tensor_v3",
             {pkl::storage("UntypedStorage", 24), pkl::integer(0), ")", ")", kFalse, kHooks, "N"})},
    {"V3PastTheBytes", TorchArchiveError::kTensorBounds,
     rebuild("_rebuild_tensor_v3",
             {pkl::storage("UntypedStorage", 24), pkl::integer(0), pkl::ints({4}), pkl::ints({1}),
              kFalse, kHooks, pkl::global("torch", "uint64")})},
    {"IntegersWithGrad", TorchArchiveError::kTensorGrad,
     v2(pkl::storage("IntStorage", 6), pkl::integer(0), ")", ")", kTrue, kHooks)},
    {"IntegerParameterWithGrad", TorchArchiveError::kTensorGrad,
     rebuild("_rebuild_parameter",
             {pkl::tensor(pkl::storage("IntStorage", 6), {}, {}), kTrue, kHooks})},
    {"Rank65", TorchArchiveError::kTensorRank,
     tensor(std::vector<int64_t>(65, 1), std::vector<int64_t>(65, 1))},
    {"NegativeDimension", TorchArchiveError::kTensorShape, tensor({-1}, {1})},
    {"FewerStrides", TorchArchiveError::kTensorShape, tensor({2, 3}, {3})},
    {"MoreStrides", TorchArchiveError::kTensorShape, tensor({2}, {3, 1})},
    {"ShapeOverflow", TorchArchiveError::kTensorShape,
     tensor({int64_t{1} << 32, int64_t{1} << 31}, {0, 0})},
    {"ShapeOverflowBehindZero", TorchArchiveError::kTensorShape,
     tensor({0, int64_t{1} << 32, int64_t{1} << 31}, {0, 0, 0})},
    {"NegativeStride", TorchArchiveError::kTensorStride, tensor({2}, {-1}, 5)},
    {"NegativeOffset", TorchArchiveError::kTensorStride, tensor({2}, {1}, -1)},
    {"OnePastTheEnd", TorchArchiveError::kTensorBounds, tensor({7}, {1})},
    {"OffsetPastTheEnd", TorchArchiveError::kTensorBounds, tensor({1}, {1}, 6)},
    {"ScalarPastTheEnd", TorchArchiveError::kTensorBounds, tensor({}, {}, 6)},
    {"StridedPastTheEnd", TorchArchiveError::kTensorBounds, tensor({2, 3}, {4, 1})},
    {"StrideOverflow", TorchArchiveError::kTensorBounds, tensor({3, 3}, {INT64_MAX, INT64_MAX})},
    {"OffsetOverflow", TorchArchiveError::kTensorBounds, tensor({2}, {1}, INT64_MAX)},
    {"ScalarInAnEmptyStorage", TorchArchiveError::kTensorBounds, sized("FloatStorage", 0, "")},
};

const std::string kLongs = pkl::storage("LongStorage", 4, "0");
const std::string kValues = pkl::storage("FloatStorage", 2, "1");
const std::string kIndices = pkl::tensor(kLongs, {2, 2}, {2, 1});
const std::string kTwo = pkl::tensor(kValues, {2}, {1});

std::string sparse(const std::string& indices, const std::string& values,
                   const std::vector<int64_t>& shape, const std::string& coalesced = "\x89") {
  return archive_image(pkl::program(pkl::sparse(indices, values, shape, coalesced)),
                       {std::string(32, '\0'), std::string(8, '\0')})
      .build();
}

const RejectCase kSparseCases[] = {
    {"Csr", TorchArchiveError::kSparseLayout, body(pkl::layout("torch.sparse_csr"))},
    {"LayoutNoSymbol", PickleError::kPickleCall,
     body(pkl::call(pkl::rebuild("_rebuild_sparse_tensor"), {"N", ")"}))},
    {"PartsNoTuple", PickleError::kPickleCall,
     body(pkl::call(pkl::rebuild("_rebuild_sparse_tensor"),
                    {pkl::layout("torch.sparse_coo"), "]"}))},
    {"TwoParts", PickleError::kPickleCall,
     body(pkl::call(pkl::rebuild("_rebuild_sparse_tensor"),
                    {pkl::layout("torch.sparse_coo"), "NN\x86"}))},
    {"IndicesNoTensor", PickleError::kPickleCall, sparse("N", kTwo, {3, 3})},
    {"ValuesNoTensor", PickleError::kPickleCall, sparse(kIndices, "N", {3, 3})},
    {"CoalescedNoBool", PickleError::kPickleCall, sparse(kIndices, kTwo, {3, 3}, "N")},
    {"IndicesNoInt64", TorchArchiveError::kSparseShape,
     sparse(pkl::tensor(kValues, {2, 1}, {1, 1}), kTwo, {3, 3})},
    {"IndicesNoMatrix", TorchArchiveError::kSparseShape,
     sparse(pkl::tensor(kLongs, {4}, {1}), kTwo, {3})},
    {"OtherNumberOfValues", TorchArchiveError::kSparseShape,
     sparse(kIndices, pkl::tensor(kValues, {1}, {1}), {3, 3})},
    {"ValuesScalar", TorchArchiveError::kSparseShape,
     sparse(kIndices, pkl::tensor(kValues, {}, {}), {3, 3})},
    {"FewerDimensions", TorchArchiveError::kSparseShape, sparse(kIndices, kTwo, {3})},
    {"MoreDimensions", TorchArchiveError::kSparseShape, sparse(kIndices, kTwo, {3, 3, 3})},
    {"OtherDenseSize", TorchArchiveError::kSparseShape,
     sparse(kIndices, pkl::tensor(kValues, {2, 1}, {1, 1}), {3, 3, 2})},
    {"IndicesExpanded", TorchArchiveError::kSparseShape,
     sparse(pkl::tensor(kLongs, {1, int64_t{1} << 31}, {0, 0}),
            pkl::tensor(kValues, {int64_t{1} << 31}, {0}), {9})},
    {"IndicesOneMoreThanStored", TorchArchiveError::kSparseShape,
     sparse(pkl::tensor(kLongs, {1, 5}, {0, 0}), pkl::tensor(kValues, {5, 0}, {1, 1}), {9, 0})},
    {"ValuesExpanded", TorchArchiveError::kSparseShape,
     sparse(kIndices, pkl::tensor(kValues, {2, int64_t{1} << 31}, {0, 0}),
            {3, 3, int64_t{1} << 31})},
    {"ValuesRequireGrad", TorchArchiveError::kSparseShape,
     sparse(kIndices,
            pkl::call(pkl::rebuild("_rebuild_tensor_v2"),
                      {kValues, pkl::integer(0), pkl::ints({2}), pkl::ints({1}), kTrue, kHooks}),
            {3, 3})},
    {"ValuesAreAParameter", TorchArchiveError::kSparseShape,
     sparse(kIndices, pkl::call(pkl::rebuild("_rebuild_parameter"), {kTwo, kTrue, kHooks}),
            {3, 3})},
    {"NegativeSize", TorchArchiveError::kTensorShape, sparse(kIndices, kTwo, {3, -3})},
    {"SizeOverflow", TorchArchiveError::kTensorShape,
     sparse(kIndices, kTwo, {int64_t{1} << 32, int64_t{1} << 32})},
};

INSTANTIATE_TEST_SUITE_P(Program, TorchArchiveRejects, ::testing::ValuesIn(kProgramCases),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Opcodes, TorchArchiveRejects, ::testing::ValuesIn(other_opcodes()),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Values, TorchArchiveRejects, ::testing::ValuesIn(kValueCases), case_name);
INSTANTIATE_TEST_SUITE_P(Tensors, TorchArchiveRejects, ::testing::ValuesIn(kTensorCases),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Sparse, TorchArchiveRejects, ::testing::ValuesIn(kSparseCases), case_name);

TEST_P(TorchArchiveRejects, WithTheCodeOfItsKind) { expect_rejected(GetParam()); }

TEST(TorchArchiveAccepts, TheValuesThatTheCasesStartFrom) {
  EXPECT_EQ(open_code(body(kTensor, kSix)), "Ok");
  EXPECT_EQ(open_code(tensor({6}, {1})), "Ok");
  EXPECT_EQ(open_code(tensor({0, 5}, {9, 9}, 77)), "Ok");
  EXPECT_EQ(open_code(body(repeat("]", 500) + repeat("a", 499))), "Ok");
  EXPECT_EQ(open_code(rebuild("_rebuild_parameter", {kTensor, kTrue, kHooks})), "Ok");
  EXPECT_EQ(open_code(sparse(kIndices, kTwo, {3, 3})), "Ok");
  EXPECT_EQ(open_code(sparse(kIndices, pkl::tensor(kValues, {2}, {0}), {3, 3})), "Ok");
}

// In a pickle that is long enough for either number.
TEST(TorchArchiveRejects, MemosFrom4194304On) {
  const auto code = [](uint64_t memo) {
    return open_code(body("]" + pkl::text(std::string(5 << 20, 't')) + "ar" + le(memo, 4)));
  };
  EXPECT_EQ(code((1 << 22) - 1), "Ok");
  EXPECT_EQ(code(1 << 22), "PickleMemo");
}

TEST(TorchPickleMessage, NamesOpcodeAndOffset) {
  EXPECT_EQ(open_status(body("]q\x01q\x01")).message(),
            "in\\\"put: record \"data.pkl\": opcode BINPUT at byte 5: memo 1 is written twice");
  EXPECT_EQ(open_status(body("]0")).message(),
            "in\\\"put: record \"data.pkl\": opcode 48 at byte 3: plain data do not need it");
}

}  // namespace
}  // namespace winnow
