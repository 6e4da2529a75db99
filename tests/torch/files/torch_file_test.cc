// Files that Python reads; tests/python/test_torch_files.py has Python read and write them.
#include "winnow/torch/torch_file.h"

#include <ATen/core/Dict.h>
#include <ATen/core/List.h>
#include <gmock/gmock.h>
#include <torch/torch.h>

#include <fstream>

#include "io/temp_dir.h"
#include "torch/sparsifiers.h"
#include "winnow/io/torch_archive_writer.h"
#include "winnow/torch/data_norm_sparsifier.h"
#include "winnow/torch/schedules.h"

namespace winnow {
namespace {

using testing::counting;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::message_of;
using testing::TempDir;

c10::IValue round_trip(const c10::IValue& value) {
  const TempDir dir;
  save_torch_file(dir.path("value.pt"), value);
  return load_torch_file(dir.path("value.pt"));
}

c10::IValue dict(const NamedValues& values) { return to_value(values); }

c10::IValue list(std::initializer_list<c10::IValue> items) {
  c10::impl::GenericList list(c10::AnyType::get());
  for (const c10::IValue& item : items) list.push_back(item);
  return list;
}

TEST(TorchFile, KeepsPlainValues) {
  for (const c10::IValue& value :
       {c10::IValue(), c10::IValue(true), c10::IValue(-7), c10::IValue(0.1), c10::IValue("text"),
        c10::IValue(std::numeric_limits<int64_t>::min()), c10::IValue("\u00e9\n"),
        list({1, 2.5, "x", list({})}), dict({{"a", 1}, {"b", {1, 4}}}), dict({}),
        c10::IValue(c10::ivalue::Tuple::create(std::vector<c10::IValue>{}))}) {
    const c10::IValue back = round_trip(value);
    EXPECT_EQ(back.tagKind(), value.tagKind());
    EXPECT_EQ(to_text(back), to_text(value));
  }
  EXPECT_TRUE(std::isnan(round_trip(c10::IValue(std::nan(""))).toDouble()));
}

TEST(TorchFile, KeepsIntegersAsKeys) {
  c10::impl::GenericDict keyed(c10::IntType::get(), c10::AnyType::get());
  keyed.insert(3, "three");
  keyed.insert(-1, "minus one");
  EXPECT_EQ(to_text(round_trip(keyed)), "{3: 'three', -1: 'minus one'}");
}

TEST(TorchFile, KeepsTensorsOfEveryType) {
  for (const at::ScalarType type :
       {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kHalf, at::kBFloat16,
        at::kFloat, at::kDouble, at::kUInt16, at::kFloat8_e4m3fn}) {
    const at::Tensor tensor = counting({3, 4}).to(type);
    for (const at::Tensor& form : {tensor, tensor.t(), tensor.slice(0, 1), tensor[0].expand({2, 4}),
                                   tensor.slice(0, 0, 0), tensor[1][2]}) {
      const at::Tensor back = round_trip(form).toTensor();
      EXPECT_EQ(back.scalar_type(), type);
      EXPECT_EQ(back.sizes(), form.sizes());
      EXPECT_TRUE(back.reshape(-1).view(at::kByte).equal(form.reshape(-1).view(at::kByte))) << type;
    }
  }
}

TEST(TorchFile, KeepsSparseTensors) {
  const at::Tensor dense = counting({3, 4}) * counting({3, 4}).remainder(2);
  const at::Tensor back = round_trip(dense.to_sparse()).toTensor();
  EXPECT_TRUE(back.is_sparse() && back.is_coalesced());
  EXPECT_TRUE(back.to_dense().equal(dense));
  const at::Tensor none = round_trip(torch::zeros({3, 4}).to_sparse()).toTensor();
  EXPECT_EQ(none._nnz(), 0);
}

TEST(TorchFile, StoresATensorOnce) {
  const TempDir dir;
  const at::Tensor tensor = torch::ones({1000, 100});
  save_torch_file(dir.path("two.pt"), list({tensor, tensor}));
  EXPECT_LT(std::filesystem::file_size(dir.path("two.pt")), tensor.nbytes() + 4096);
  const c10::IValue back = load_torch_file(dir.path("two.pt"));
  EXPECT_TRUE(back.toListRef()[0].toTensor().is_same(back.toListRef()[1].toTensor()));
}

TEST(TorchFile, DropsGradients) {
  const at::Tensor back = round_trip(counting({2, 2}).requires_grad_()).toTensor();
  EXPECT_FALSE(back.requires_grad());
  EXPECT_TRUE(back.equal(counting({2, 2})));
}

TEST(TorchFile, NamesThePlaceOfWhatCannotBeWritten) {
  const TempDir dir;
  const auto refused = [&](const c10::IValue& value) {
    return message_of<c10::ValueError>([&] { save_torch_file(dir.path("x.pt"), value); });
  };
  EXPECT_THAT(refused(dict({{"state", list({1, at::Tensor()})}})),
              HasSubstr("at ['state'][1]: it is an undefined tensor"));
  EXPECT_THAT(refused(dict({{"m", torch::empty({2}, at::kMeta)}})), HasSubstr("at ['m']"));
  EXPECT_THAT(refused(dict({{"z", torch::ones({2}, at::kComplexDouble)}})),
              HasSubstr("at ['z']: it has the dtype ComplexDouble"));
  EXPECT_THAT(refused(dict({{"d", c10::Device("cpu")}})), HasSubstr("at ['d']: it is a Device"));
  c10::IValue deep = 1;
  for (int i = 0; i < 600; ++i) deep = list({deep});
  EXPECT_THAT(refused(deep), HasSubstr("nested too deep"));
  EXPECT_THAT(dir.names(), IsEmpty());
}

TEST(TorchFile, LeavesAFileThatIsNotToBeReplaced) {
  const TempDir dir;
  testing::write_file(dir.path("x.pt"), "mine");
  EXPECT_THAT(
      message_of<c10::Error>([&] { save_torch_file(dir.path("x.pt"), 1, {.overwrite = false}); }),
      HasSubstr("x.pt"));
  EXPECT_EQ(testing::read_file(dir.path("x.pt")), "mine");
  EXPECT_THAT(message_of<c10::Error>([&] { load_torch_file(dir.path("x.pt")); }),
              HasSubstr("x.pt"));
  EXPECT_THAT(message_of<c10::Error>([&] { load_torch_file(dir.path("y.pt")); }),
              HasSubstr("y.pt"));
}

TEST(TorchFile, WritesWhatAConjugateShows) {
  const at::Tensor tensor = torch::complex(counting({3}), -counting({3}));
  EXPECT_TRUE(round_trip(tensor.conj()).toTensor().equal(tensor.conj().resolve_conj()));
  EXPECT_TRUE(round_trip(at::_neg_view(counting({3}))).toTensor().equal(-counting({3})));
}

/// The value in a file with this tree and these payloads.
c10::IValue load_tree(const TorchTree& tree, const std::vector<TorchStorage>& storages,
                      const std::vector<std::string>& payloads) {
  const TempDir dir;
  const std::string path = dir.path("tree.pt");
  auto writer = TorchArchiveWriter::create(Env::posix(), path, tree, storages);
  EXPECT_TRUE(writer.ok()) << writer.status().message();
  for (const std::string& payload : payloads) {
    EXPECT_TRUE(writer->append_storage(testing::bytes(payload)).ok());
  }
  EXPECT_TRUE(writer->commit().ok());
  return load_torch_file(path);
}

// A string of a mebibyte that is used twenty thousand times must not take twenty gibibytes.
TEST(TorchFile, MakesWhatIsSharedOnce) {
  TorchTree tree;
  const TorchNode text = tree.add_string(std::string(1 << 20, 'x'));
  const TorchNode inner = tree.add_list(std::vector<TorchNode>{text});
  tree.set_root(tree.add_list(std::vector<TorchNode>(20'000, inner)));
  const c10::IValue value = load_tree(tree, {}, {});
  ASSERT_EQ(value.toListRef().size(), 20'000U);
  EXPECT_TRUE(value.toListRef().front().is(value.toListRef().back()));
}

// C++ may take a bool of 2 for true and for false at once.
TEST(TorchFile, MakesEveryByteOfABoolZeroOrOne) {
  const std::string bytes("\2\0\377", 3);
  const TorchTensor whole{.storage = 0, .dtype = DType::kBool, .shape = {3}, .strides = {1}};
  const auto expect_normal = [](const at::Tensor& tensor) {
    EXPECT_EQ(tensor.scalar_type(), at::kBool);
    EXPECT_TRUE(tensor.view(at::kByte).equal(torch::tensor({1, 0, 1}, at::kByte)));
  };
  for (const TorchStorage& storage :
       {TorchStorage{.dtype = DType::kBool, .numel = 3},
        TorchStorage{.dtype = DType::kU8, .numel = 3, .untyped = true}}) {
    TorchTree tree;
    tree.set_root(tree.add_tensor(whole));
    expect_normal(load_tree(tree, {storage}, {bytes}).toTensor());
  }
  TorchTree tree;
  const TorchTensor indices{.storage = 1, .dtype = DType::kI64, .shape = {1, 3}, .strides = {3, 1}};
  tree.set_root(
      tree.add_sparse({.indices = indices, .values = whole, .shape = {3}, .is_coalesced = true}));
  const std::vector<int64_t> order{0, 1, 2};
  const std::string order_bytes(reinterpret_cast<const char*>(order.data()), 24);
  const at::Tensor sparse =
      load_tree(tree, {{.dtype = DType::kBool, .numel = 3}, {.dtype = DType::kI64, .numel = 3}},
                {bytes, order_bytes})
          .toTensor();
  expect_normal(sparse.values());
}

DataSparsifierState stepped_state(const StateDictOptions& options) {
  DataNormSparsifier sparsifier({.sparsity_level = 0.75, .sparse_block_shape = {1, 3}});
  sparsifier.add_data("users", counting({5, 7}));
  sparsifier.add_data("items", counting({3}), {.config = {{"note", "mine"}}});
  sparsifier.step();
  sparsifier.squash_mask({"items"});
  return sparsifier.state_dict(options);
}

TEST(StateValues, BringTheSameSparsifierBack) {
  for (const MaskFormat format : {MaskFormat::kPacked, MaskFormat::kTorchAo}) {
    const DataSparsifierState state = stepped_state({.mask_format = format});
    DataNormSparsifier direct, through;
    direct.load_state_dict(state);
    through.load_state_dict(to_sparsifier_state(round_trip(to_value(state))));
    EXPECT_EQ(through.text(), direct.text());
    for (const std::string& name : direct.names()) {
      EXPECT_TRUE(through.get_mask(name).equal(direct.get_mask(name)));
      EXPECT_EQ(through.get_mask(name).scalar_type(), at::kChar);
      EXPECT_TRUE(through.get_data(name, false).equal(direct.get_data(name, false)));
      EXPECT_EQ(through.is_parametrized(name), direct.is_parametrized(name));
    }
  }
}

TEST(StateValues, OfASnapshotBringTheWholeSparsifierBack) {
  DataNormSparsifier before({.sparsity_level = 0.75, .norm = Norm::kL2});
  before.add_data("x", torch::arange(16, at::kFloat).reshape({4, 4}),
                  {.config = {{"sparse_block_shape", {2, 2}}}});
  before.step();
  before.set_enable_mask_update(false);
  for (const MaskFormat format : {MaskFormat::kPacked, MaskFormat::kTorchAo}) {
    const c10::IValue value =
        round_trip(to_value(before.getstate({.mask_format = format, .clone = false})));
    DataNormSparsifier after;
    after.setstate(to_sparsifier_snapshot(value));
    EXPECT_EQ(after.text(), before.text());
    EXPECT_EQ(after.norm(), Norm::kL2);
    EXPECT_FALSE(after.enable_mask_update());
    EXPECT_EQ(after.defaults().get<double>("sparsity_level"), 0.75);
    EXPECT_TRUE(after.get_mask("x").equal(before.get_mask("x")));
    // A state is a part of it.
    DataNormSparsifier state;
    NamedValues parts = to_named_values(value);
    for (const char* key : {"defaults", "fields", "enable_mask_update"}) parts.erase(key);
    state.load_state_dict(to_sparsifier_state(to_value(parts)));
    EXPECT_TRUE(state.get_mask("x").equal(before.get_mask("x")));
  }
  EXPECT_THAT(
      message_of<c10::Error>([&] { to_sparsifier_snapshot(to_value(before.state_dict())); }),
      HasSubstr("it has no 'defaults'"));
}

TEST(StateValues, AreRefusedWherePartsAreMissing) {
  const c10::IValue good = to_value(stepped_state({}));
  for (const char* key : {"state", "data_groups", "_container"}) {
    NamedValues parts = to_named_values(good);
    parts.erase(key);
    EXPECT_THAT(message_of<c10::Error>([&] { to_sparsifier_state(to_value(parts)); }),
                HasSubstr(c10::str("it has no '", key, "'")));
    parts.set(key, 7);
    EXPECT_THAT(message_of<c10::Error>([&] { to_sparsifier_state(to_value(parts)); }),
                HasSubstr("expected a dictionary, found 7"));
  }
}

// A few bytes of a file can be a view of any size, and loading a state copies.
TEST(StateValues, RefuseExpandedTensors) {
  DataSparsifierState state = stepped_state({});
  state.container["parametrizations.users.original"] = torch::ones({1}).expand({5, 7});
  EXPECT_THAT(message_of<c10::Error>([&] { to_sparsifier_state(to_value(state)); }),
              HasSubstr("'parametrizations.users.original' is an expanded view"));
}

TEST(StateValues, RefuseMasksThatAreLargerThanTheirData) {
  DataSparsifierState state = stepped_state({.mask_format = MaskFormat::kTorchAo});
  state.state["users"].set(
      "mask", torch::sparse_coo_tensor(torch::empty({1, 0}, at::kLong),
                                       torch::empty({0}, at::kChar), {int64_t{1} << 40}));
  DataNormSparsifier loaded;
  EXPECT_THAT(message_of<c10::Error>([&] { loaded.load_state_dict(state); }),
              HasSubstr("must match x shape [5, 7]"));
}

TEST(StateValues, KeepNamesOfMasksForThemselves) {
  testing::FirstRowSparsifier sparsifier;
  sparsifier.add_data("x", counting({2, 2}));
  sparsifier.state("x").set("mask_shape", 7);
  EXPECT_THAT(message_of<c10::ValueError>([&] { sparsifier.state_dict(); }),
              HasSubstr("'x' has a value named 'mask_shape'"));
}

TEST(StateValues, KeepSchedules) {
  DataNormSparsifier sparsifier({.sparsity_level = 0.8});
  sparsifier.add_data("users", counting({4, 4}));
  CubicDataScheduler scheduler(sparsifier, {.end_step = 4});
  sparsifier.step();
  scheduler.step();
  const DataSchedulerState back = to_scheduler_state(round_trip(to_value(scheduler.state_dict())));
  DataNormSparsifier other({.sparsity_level = 0.8});
  other.add_data("users", counting({4, 4}));
  CubicDataScheduler loaded(other, {.end_step = 9});
  loaded.load_state_dict(back);
  EXPECT_EQ(loaded.last_epoch(), 1);
  EXPECT_EQ(loaded.get_last_param()["users"].toDouble(),
            scheduler.get_last_param()["users"].toDouble());
  EXPECT_THAT(message_of<c10::Error>([] { to_scheduler_state(to_value(NamedValues{})); }),
              HasSubstr("it has no 'schedule_param'"));
}

TEST(PackedMasks, TakeOneBitAValue) {
  DataNormSparsifier sparsifier;
  sparsifier.add_data("users", counting({5, 7}));
  sparsifier.step();
  const NamedValues values = sparsifier.state_dict().state["users"];
  EXPECT_FALSE(values.contains("mask"));
  EXPECT_EQ(values.get<at::Tensor>("mask_bits").sizes(), at::IntArrayRef({5}));
  EXPECT_EQ(to_text(values.at("mask_shape")), "(5, 7)");
  EXPECT_EQ(values.get<std::string>("mask_dtype"), "I8");
}

TEST(PackedMasks, AreMadeOfMasksOfEveryType) {
  for (const at::ScalarType type : {at::kBool, at::kChar, at::kHalf, at::kFloat}) {
    testing::FirstRowSparsifier sparsifier, loaded;
    const at::Tensor mask = counting({3, 5}).remainder(2).to(type);
    sparsifier.add_data("x", counting({3, 5}), {.config = {{"mask", mask}}});
    const DataSparsifierState state = sparsifier.state_dict();
    EXPECT_TRUE(state.state["x"].contains("mask_bits"));
    loaded.load_state_dict(state);
    EXPECT_EQ(loaded.get_mask("x").scalar_type(), type);
    EXPECT_TRUE(loaded.get_mask("x").equal(mask));
  }
}

TEST(PackedMasks, LeaveOtherValuesDense) {
  testing::FirstRowSparsifier sparsifier, loaded;
  const at::Tensor mask = torch::full({3, 5}, 0.5F);
  sparsifier.add_data("x", counting({3, 5}), {.config = {{"mask", mask}}});
  const DataSparsifierState state = sparsifier.state_dict();
  EXPECT_FALSE(state.state["x"].contains("mask_bits"));
  loaded.load_state_dict(state);
  EXPECT_TRUE(loaded.get_mask("x").equal(mask));
}

TEST(PackedMasks, AreRefusedWhereTheirPartsDoNotFit) {
  const auto refused = [](const std::string& key, const c10::IValue& value) {
    DataSparsifierState state = stepped_state({});
    state.state["users"].set(key, value);
    DataNormSparsifier loaded;
    return message_of<c10::Error>([&] { loaded.load_state_dict(state); });
  };
  EXPECT_THAT(refused("mask_bits", torch::zeros({4}, at::kByte)),
              HasSubstr("mask_bits: expected 5 bytes for the values of mask_shape, found 4"));
  EXPECT_THAT(refused("mask_shape", c10::ivalue::Tuple::create(std::vector<c10::IValue>{5, 8})),
              HasSubstr("mask_shape: expected at most the 35 values of its data, found (5, 8)"));
  EXPECT_THAT(refused("mask_bits", torch::zeros({5}, at::kInt)),
              HasSubstr("mask_bits: expected one dimension of bytes"));
  EXPECT_THAT(refused("mask_shape", 7), HasSubstr("mask_shape: expected a tuple, found 7"));
  EXPECT_THAT(refused("mask", torch::ones({5, 7})), HasSubstr("both a packed mask and a 'mask'"));
  const auto shape = [](std::vector<c10::IValue> sizes) {
    return c10::IValue(c10::ivalue::Tuple::create(std::move(sizes)));
  };
  EXPECT_THAT(refused("mask_shape", shape({-5, -7})),
              HasSubstr("mask_shape: expected sizes of at least 0, found -5"));
  const int64_t huge = int64_t{1} << 40;
  EXPECT_THAT(refused("mask_shape", shape({huge, huge})),
              HasSubstr("mask_shape: expected fewer than 2^64 values"));
  EXPECT_THAT(refused("mask_dtype", "int8"),
              HasSubstr("mask_dtype: expected a dtype, found 'int8'"));
}

TEST(LoadMasks, KeepsTheDataAndTheirOrder) {
  DataNormSparsifier saved({.sparsity_level = 0.75}), loaded;
  saved.add_data("x", counting({4, 4}));
  saved.add_data("y", counting({2, 4}));
  saved.step();
  const at::Tensor x = torch::ones({4, 4}), y = torch::ones({2, 4}).requires_grad_();
  loaded.add_data("y", y);
  loaded.add_data("x", x);
  loaded.load_masks(saved.state_dict());
  EXPECT_THAT(loaded.names(), ::testing::ElementsAre("y", "x"));
  EXPECT_TRUE(loaded.get_data("x").is_same(x) && loaded.get_data("y").is_same(y));
  EXPECT_EQ(loaded.container()->named_parameters().keys(),
            std::vector<std::string>{"parametrizations.y.original"});
  EXPECT_TRUE(loaded.get_data("x", false).equal(saved.get_mask("x").to(at::kFloat)));
  EXPECT_EQ(loaded.data_group("y").get<double>("sparsity_level"), 0.75);
}

TEST(LoadMasks, KeepsTheTensorsOfAParametrization) {
  testing::register_doubling();
  testing::FirstRowSparsifier sparsifier;
  sparsifier.add_data("x", counting({2, 2}), {.config = {{"parametrization", "doubling"}}});
  DataSparsifierState state = sparsifier.state_dict();
  state.container.clear();
  const auto buffers = sparsifier.container()->named_buffers();
  buffers["parametrizations.x.0.factor"].fill_(3);
  sparsifier.load_masks(state);
  EXPECT_TRUE(sparsifier.get_data("x", false).equal(3 * counting({2, 2})));
}

TEST(LoadMasks, RefusesOtherNamesAndShapes) {
  DataNormSparsifier saved, fewer, more, other;
  saved.add_data("x", counting({4, 4}));
  more.add_data("x", counting({4, 4}));
  more.add_data("y", counting({4, 4}));
  other.add_data("x", counting({4, 8}));
  const DataSparsifierState state = saved.state_dict();
  EXPECT_THAT(message_of<c10::Error>([&] { fewer.load_masks(state); }),
              HasSubstr("Error loading x: there is no data of that name"));
  EXPECT_THAT(message_of<c10::Error>([&] { more.load_masks(state); }),
              HasSubstr("Error loading y: the state does not have it"));
  EXPECT_THAT(message_of<c10::Error>([&] { other.load_masks(state); }), HasSubstr("mask"));
  EXPECT_THAT(other.names(), ::testing::ElementsAre("x"));
}

TEST(TorchFile, DoesNotRewriteAFileThatIsNamedByItsHash) {
  const TempDir dir;
  const std::string blob = dir.path(std::string(64, 'a'));
  std::ofstream(blob) << "content";
  EXPECT_THAT(message_of<c10::Error>([&] { save_torch_file(blob, 3); }), HasSubstr("hash"));
  save_torch_file(blob, 3, {.overwrite_blob = true});
  EXPECT_EQ(load_torch_file(blob).toInt(), 3);
}

}  // namespace
}  // namespace winnow
