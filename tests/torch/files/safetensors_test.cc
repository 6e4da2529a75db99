#include "winnow/torch/safetensors.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <cstring>

#include "io/temp_dir.h"
#include "torch/captured_warnings.h"
#include "torch/sparsifiers.h"
#include "winnow/io/safetensors_writer.h"
#include "winnow/torch/fake_sparsity.h"
#include "winnow/torch/parametrization.h"

namespace winnow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::message_of;
using testing::read_file;
using testing::TempDir;
using testing::write_file;
using torch::ScalarType;

using Tensors = torch::OrderedDict<std::string, at::Tensor>;

constexpr ScalarType kTypes[] = {ScalarType::Bool,
                                 ScalarType::Byte,
                                 ScalarType::Char,
                                 ScalarType::Short,
                                 ScalarType::UInt16,
                                 ScalarType::Int,
                                 ScalarType::UInt32,
                                 ScalarType::Long,
                                 ScalarType::UInt64,
                                 ScalarType::Half,
                                 ScalarType::BFloat16,
                                 ScalarType::Float,
                                 ScalarType::Double,
                                 ScalarType::ComplexFloat,
                                 ScalarType::Float8_e5m2,
                                 ScalarType::Float8_e4m3fn,
                                 ScalarType::Float8_e5m2fnuz,
                                 ScalarType::Float8_e4m3fnuz,
                                 ScalarType::Float8_e8m0fnu,
                                 ScalarType::Float4_e2m1fn_x2};

/// Any bytes; of bool 0 and 1.
at::Tensor pattern(ScalarType type, at::IntArrayRef sizes) {
  at::Tensor tensor = torch::empty(sizes, type);
  auto* bytes = static_cast<uint8_t*>(tensor.mutable_data_ptr());
  for (size_t i = 0; i < tensor.nbytes(); ++i) {
    bytes[i] = type == ScalarType::Bool ? i % 3 == 0 : 37 * i + 11;
  }
  return tensor;
}

void expect_same(const at::Tensor& got, const at::Tensor& want) {
  EXPECT_EQ(got.scalar_type(), want.scalar_type());
  EXPECT_EQ(got.sizes(), want.sizes());
  ASSERT_EQ(got.nbytes(), want.nbytes());
  EXPECT_TRUE(got.nbytes() == 0 ||
              std::memcmp(got.const_data_ptr(), want.const_data_ptr(), got.nbytes()) == 0)
      << got.scalar_type();
}

struct NetImpl : torch::nn::Module {
  NetImpl() {
    linear = register_module("linear", torch::nn::Linear(3, 2));
    norm = register_module("norm", torch::nn::BatchNorm1d(2));
    scale = register_parameter("scale", torch::full({}, 1.5));
    register_parameter("absent", at::Tensor(), /*requires_grad=*/false);
  }
  torch::nn::Linear linear = nullptr;
  torch::nn::BatchNorm1d norm = nullptr;
  at::Tensor scale;
};
TORCH_MODULE(Net);

std::vector<at::Tensor> copies(const torch::nn::Module& module) {
  std::vector<at::Tensor> out;
  for (const at::Tensor& tensor : module.parameters()) out.push_back(tensor.detach().clone());
  for (const at::Tensor& tensor : module.buffers()) out.push_back(tensor.detach().clone());
  return out;
}

bool equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  return std::ranges::equal(a, b, [](const auto& x, const auto& y) { return x.equal(y); });
}

TEST(Safetensors, RoundTripsEveryDtypeAndShape) {
  const TempDir dir;
  Tensors tensors;
  for (const ScalarType type : kTypes) {
    const std::string name = c10::toString(type);
    tensors.insert(name + ".matrix", pattern(type, {3, 5}));
    tensors.insert(name + ".empty", pattern(type, {2, 0, 3}));
    if (type != ScalarType::Float4_e2m1fn_x2) tensors.insert(name + ".scalar", pattern(type, {}));
  }
  save_safetensors(dir.path("all"), tensors);
  const Tensors loaded = load_safetensors(dir.path("all"));
  EXPECT_EQ(loaded.keys(), tensors.keys());
  for (const auto& item : tensors) expect_same(loaded[item.key()], item.value());
}

/// 90 % zeros, more than one chunk, and what does not get smaller.
Tensors pruned_tensors() {
  torch::manual_seed(1);
  const at::Tensor table = torch::randn({20'000, 64});
  return {{"emb.weight", torch::where(table.abs() > 1.6, table, torch::zeros({}))},
          {"scalar", torch::tensor(2.5)},
          {"half", torch::arange(6000).to(torch::kBFloat16).reshape({60, 100})},
          {"flags", torch::arange(5000).remainder(3) == 0},
          {"packed", pattern(ScalarType::Float4_e2m1fn_x2, {40, 30})},
          {"empty", torch::empty({3, 0})}};
}

TEST(CompressedSafetensors, LoadAsTheyWereSaved) {
  const TempDir dir;
  const Tensors tensors = pruned_tensors();
  save_safetensors(dir.path("plain"), tensors);
  save_safetensors(dir.path("small"), tensors, {.compress = true});
  EXPECT_LT(read_file(dir.path("small")).size(), read_file(dir.path("plain")).size() / 4);
  const Tensors loaded = load_safetensors(dir.path("small"));
  EXPECT_EQ(loaded.keys(), tensors.keys());
  for (const auto& item : tensors) {
    expect_same(loaded[item.key()], item.value());
    expect_same(load_safetensors_tensor(dir.path("small"), item.key()), item.value());
  }
}

TEST(CompressedSafetensors, HaveTheSameBytesForAnyNumberOfThreads) {
  const TempDir dir;
  const int threads = at::get_num_threads();
  std::vector<std::string> images;
  for (const int count : {1, 3}) {
    at::set_num_threads(count);
    save_safetensors(dir.path("small"), pruned_tensors(), {.compress = true});
    images.push_back(read_file(dir.path("small")));
  }
  at::set_num_threads(threads);
  EXPECT_TRUE(images[0] == images[1]);
}

TEST(CompressedSafetensors, FillAModule) {
  const TempDir dir;
  Net saved, loaded;
  save_safetensors(dir.path("net"), *saved, {.compress = true});
  load_safetensors(dir.path("net"), *loaded);
  EXPECT_TRUE(equal(copies(*loaded), copies(*saved)));
}

TEST(CompressedSafetensors, AreRefusedIfTheyAreDamaged) {
  const TempDir dir;
  save_safetensors(dir.path("small"), pruned_tensors(), {.compress = true});
  std::string image = read_file(dir.path("small"));
  image[image.size() / 2] ^= 1;
  write_file(dir.path("small"), image);
  EXPECT_THAT(message_of<c10::Error>([&] { load_safetensors(dir.path("small")); }),
              HasSubstr("CRC-32"));
}

TEST(CompressedSafetensors, KeepTheirMarkForThemselves) {
  const TempDir dir;
  EXPECT_THAT(
      message_of<c10::ValueError>([&] {
        save_safetensors(dir.path("f"), Tensors(), {.metadata = {{"winnow.compressed", "1"}}});
      }),
      HasSubstr("winnow.compressed"));
  EXPECT_THAT(message_of<c10::ValueError>([&] {
                save_safetensors(dir.path("f"), {{"__winnow_header__", torch::ones(2)}},
                                 {.compress = true});
              }),
              HasSubstr("__winnow_header__"));
}

TEST(SafetensorsRows, AreThoseOfTheTensor) {
  const TempDir dir;
  const Tensors tensors = pruned_tensors();
  for (const bool compress : {false, true}) {
    save_safetensors(dir.path("f"), tensors, {.compress = compress});
    const auto rows = [&](const std::string& name, int64_t start, int64_t stop) {
      return load_safetensors_rows(dir.path("f"), name, start, stop);
    };
    for (const auto& [start, stop] : {std::pair{0, 1}, {7, 7}, {16'380, 16'390}, {0, 20'000}}) {
      expect_same(rows("emb.weight", start, stop),
                  tensors["emb.weight"].slice(0, start, stop).contiguous());
    }
    expect_same(rows("packed", 3, 5), tensors["packed"].slice(0, 3, 5).contiguous());
    expect_same(rows("empty", 1, 3), tensors["empty"].slice(0, 1, 3));
  }
}

TEST(SafetensorsRows, RefuseWhatIsNotThere) {
  const TempDir dir;
  save_safetensors(dir.path("f"), pruned_tensors());
  const auto rows = [&](const std::string& name, int64_t start, int64_t stop) {
    return [=, &dir] { load_safetensors_rows(dir.path("f"), name, start, stop); };
  };
  for (const auto& [start, stop] : {std::pair{-1, 2}, {3, 2}, {0, 61}, {61, 61}}) {
    EXPECT_THAT(message_of<c10::IndexError>(rows("half", start, stop)),
                HasSubstr("expected rows within 0 to 60"));
  }
  EXPECT_THAT(message_of<c10::ValueError>(rows("scalar", 0, 1)), HasSubstr("a scalar"));
  EXPECT_THAT(message_of<c10::Error>(rows("hlaf", 0, 1)), HasSubstr("no tensor 'hlaf'"));
}

TEST(Safetensors, AlignEveryTensorToItsType) {
  const TempDir dir;
  save_safetensors(dir.path("f"), {{"byte", torch::ones({3}, torch::kByte)},
                                   {"half", torch::ones({3}, torch::kHalf)},
                                   {"double", torch::ones({3}, torch::kDouble)}});
  const auto file = SafetensorsFile::open(Env::posix(), dir.path("f"));
  ASSERT_TRUE(file.ok());
  for (const TensorInfo& info : file->header().tensors()) {
    EXPECT_EQ(info.begin % (dtype_bits(info.dtype) / 8), 0) << info.name;
  }
  EXPECT_EQ(file->header().metadata(), (Metadata{{"format", "pt"}}));
}

TEST(Safetensors, WriteWhatTheTensorShowsNotHowItIsStored) {
  const TempDir dir;
  const at::Tensor base = torch::arange(12.0).reshape({3, 4});
  const at::Tensor complex = torch::complex(base, base + 1);
  save_safetensors(dir.path("f"),
                   {{"transposed", base.t()},
                    {"strided", base.slice(1, 0, 4, 2)},
                    {"expanded", base.slice(0, 0, 1).expand({2, 4})},
                    {"conjugate", complex.conj()},
                    {"negative", torch::_neg_view(base)},
                    {"leaf", base.clone().requires_grad_()}},
                   {.metadata = {{"k", "v"}}});
  const Tensors loaded = load_safetensors(dir.path("f"));
  EXPECT_TRUE(loaded["transposed"].equal(base.t()));
  EXPECT_TRUE(loaded["strided"].equal(base.slice(1, 0, 4, 2)));
  EXPECT_TRUE(loaded["expanded"].equal(base.slice(0, 0, 1).expand({2, 4})));
  EXPECT_TRUE(loaded["conjugate"].equal(complex.conj()));
  EXPECT_TRUE(loaded["negative"].equal(-base));
  EXPECT_TRUE(loaded["leaf"].equal(base));
  for (const auto& item : loaded) {
    EXPECT_TRUE(item.value().is_contiguous() && !item.value().requires_grad());
  }
}

TEST(Safetensors, RefuseTensorsThatTheFormatCannotHold) {
  const testing::CapturedWarnings warnings;  // of what is in beta
  const TempDir dir;
  const auto refusal = [&](const at::Tensor& tensor) {
    return message_of<c10::ValueError>([&] {
      save_safetensors(dir.path("f"), {{"fine", torch::ones(2)}, {"the\nname", tensor}});
    });
  };
  const at::Tensor ones = torch::ones({2, 2});
  const auto names_and = [](const char* why) {
    return ::testing::AllOf(HasSubstr("the\\x0aname"), HasSubstr(why));
  };
  EXPECT_THAT(refusal({}), names_and("undefined"));
  EXPECT_THAT(refusal(ones.to_sparse()), names_and("sparse"));
  EXPECT_THAT(refusal(ones.to_sparse_csr()), names_and("sparse"));
  EXPECT_THAT(refusal(torch::quantize_per_tensor(ones, 0.1, 0, torch::kQInt8)),
              names_and("quantized"));
  EXPECT_THAT(refusal(torch::empty({2}, torch::kMeta)), names_and("meta"));
  EXPECT_THAT(refusal(torch::ones({2}, torch::kComplexDouble)), names_and("ComplexDouble"));
  EXPECT_THAT(refusal(torch::empty({2}, ScalarType::Bits8)), names_and("Bits8"));
  EXPECT_THAT(refusal(pattern(ScalarType::Float4_e2m1fn_x2, {})), names_and("Float4"));
  const at::Tensor huge = torch::ones({1}).expand({int64_t{1} << 62});
  EXPECT_THAT(refusal(huge), names_and("too large"));
  EXPECT_THAT(dir.names(), IsEmpty());
}

TEST(Safetensors, RefuseNamesAndMetadataThatWouldNotComeBack) {
  const TempDir dir;
  const at::Tensor ones = torch::ones({2});
  const auto refused = [&](const std::string& name, const Metadata& metadata) {
    return message_of<c10::ValueError>([&] {
      save_safetensors(dir.path("f"), {{name, ones}}, {.metadata = metadata});
    });
  };
  EXPECT_THAT(refused("__metadata__", {}), HasSubstr("__metadata__"));
  EXPECT_THAT(refused("\xff", {}), HasSubstr("the name '\\xff' is not UTF-8"));
  EXPECT_THAT(refused("a", {{"\xff", "b"}}), HasSubstr("key"));
  EXPECT_THAT(refused("a", {{"b", "\xff"}}), HasSubstr("value"));
  EXPECT_THAT(dir.names(), IsEmpty());
}

TEST(Safetensors, ReplaceAFileOnlyByAWholeOne) {
  const TempDir dir;
  const std::string path = dir.path("f");
  save_safetensors(path, {{"a", torch::ones({2})}});
  save_safetensors(path, {{"a", torch::zeros({2})}});
  const std::string old = read_file(path);
  EXPECT_THROW(save_safetensors(path, {{"a", torch::ones({2}).to_sparse()}}), c10::ValueError);
  EXPECT_THAT(message_of<c10::Error>([&] {
                save_safetensors(path, {{"a", torch::ones({2})}}, {.overwrite = false});
              }),
              HasSubstr(path));
  EXPECT_THROW(save_safetensors(dir.path("none/f"), {{"a", torch::ones({2})}}), c10::Error);
  EXPECT_EQ(read_file(path), old);
  EXPECT_THAT(dir.names(), ElementsAre("f"));
  EXPECT_TRUE(load_safetensors(path)["a"].equal(torch::zeros({2})));
}

TEST(Safetensors, RoundTripAModuleInPlace) {
  const TempDir dir;
  const Net saved;
  Net loaded;
  saved->norm->running_mean.fill_(7);
  save_safetensors(dir.path("net"), *saved);
  const std::vector<at::Tensor> objects = loaded->parameters();
  const IncompatibleNames names = load_safetensors(dir.path("net"), *loaded);
  EXPECT_THAT(names.missing, IsEmpty());
  EXPECT_THAT(names.unexpected, IsEmpty());
  EXPECT_TRUE(equal(copies(*loaded), copies(*saved)));
  for (size_t i = 0; i < objects.size(); ++i) {
    EXPECT_TRUE(loaded->parameters()[i].is_same(objects[i]));
    EXPECT_TRUE(objects[i].requires_grad() && objects[i].is_leaf());
  }
  EXPECT_THAT(load_safetensors(dir.path("net")).keys(),
              ElementsAre("scale", "linear.weight", "linear.bias", "norm.weight", "norm.bias",
                          "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"));
}

TEST(Safetensors, WriteTiedTensorsUnderEachName) {
  const TempDir dir;
  struct Tied : torch::nn::Module {
    Tied() {
      first = register_parameter("first", torch::rand({2}));
      register_parameter("second", first);
    }
    at::Tensor first;
  };
  const Tied saved;
  Tied loaded;
  save_safetensors(dir.path("both"), saved);
  EXPECT_THAT(load_safetensors(dir.path("both")).keys(), ElementsAre("first", "second"));
  save_safetensors(dir.path("once"), {{"second", saved.first}});
  EXPECT_THAT(load_safetensors(dir.path("once"), loaded).missing, IsEmpty());
  EXPECT_TRUE(loaded.first.equal(saved.first));
}

/// A parametrizable module of one weight.
struct ScaledImpl : ParametrizableModule<ScaledImpl> {
  ScaledImpl() { reset(); }
  void reset() override { weight = register_parameter("weight", torch::ones({4})); }
  at::Tensor weight;
};

TEST(Safetensors, LeaveMasksOutAndLoadWithoutThem) {
  const TempDir dir;
  ScaledImpl saved;
  ScaledImpl loaded;
  const at::Tensor mask = torch::tensor({1.0F, 0.0F, 1.0F, 0.0F});
  register_parametrization(saved, "weight", std::make_shared<FakeSparsity>(mask));
  register_parametrization(loaded, "weight", std::make_shared<FakeSparsity>(mask.clone()));
  save_safetensors(dir.path("masked"), saved);
  EXPECT_THAT(load_safetensors(dir.path("masked")).keys(),
              ElementsAre("parametrizations.weight.original"));
  {
    const torch::NoGradGuard no_grad;
    loaded.weight.zero_();
  }
  load_safetensors(dir.path("masked"), loaded);
  EXPECT_TRUE(loaded.weight.equal(torch::ones({4})));
  EXPECT_TRUE(loaded.read("weight").equal(mask));
  remove_parametrizations(saved, "weight");
  save_safetensors(dir.path("squashed"), saved);
  EXPECT_TRUE(load_safetensors(dir.path("squashed"))["weight"].equal(mask));
}

TEST(Safetensors, NameAllThatDiffersAndChangeNothing) {
  const TempDir dir;
  Net net;
  Tensors tensors;
  for (const auto& item : net->named_parameters()) tensors.insert(item.key(), item.value() + 1);
  for (const auto& item : net->named_buffers()) tensors.insert(item.key(), item.value() + 1);
  tensors.erase("norm.bias");
  tensors.insert("extra", torch::ones({2}));
  tensors["linear.weight"] = torch::zeros({3, 2});
  tensors["scale"] = torch::ones({}, torch::kDouble);
  save_safetensors(dir.path("f"), tensors);
  const std::vector<at::Tensor> before = copies(*net);
  const std::string message =
      message_of<c10::Error>([&] { load_safetensors(dir.path("f"), *net); });
  EXPECT_THAT(message, HasSubstr("missing in the file: 'norm.bias'\n"));
  EXPECT_THAT(message, HasSubstr("not in the module: 'extra'\n"));
  EXPECT_THAT(message, HasSubstr("'linear.weight' has shape [3, 2] in the file and [2, 3] in"));
  EXPECT_THAT(message, HasSubstr("'scale' has dtype Double in the file and Float in the module"));
  EXPECT_THROW(load_safetensors(dir.path("f"), *net, {.strict = false}), c10::Error);
  EXPECT_TRUE(equal(copies(*net), before));
}

TEST(Safetensors, SkipNamesOfOneSideUnlessStrict) {
  const TempDir dir;
  Net net;
  save_safetensors(dir.path("f"), {{"scale", torch::full({}, 9.0)}, {"extra", torch::ones({2})}});
  const at::Tensor bias = net->linear->bias.detach().clone();
  const IncompatibleNames names = load_safetensors(dir.path("f"), *net, {.strict = false});
  EXPECT_THAT(names.unexpected, ElementsAre("extra"));
  EXPECT_EQ(names.missing.size(), 7);
  EXPECT_EQ(net->scale.item<float>(), 9);
  EXPECT_TRUE(net->linear->bias.equal(bias));
}

TEST(Safetensors, ChangeNothingWhereATensorCannotBeWritten) {
  const TempDir dir;
  struct Module : torch::nn::Module {
    explicit Module(const at::Tensor& last) {
      first = register_buffer("first", torch::zeros({2}));
      register_buffer("last", last);
    }
    at::Tensor first;
  };
  save_safetensors(dir.path("f"), {{"first", torch::ones({2})}, {"last", torch::ones({2})}});
  const auto refusal = [&](const at::Tensor& last) {
    Module module(last);
    const std::string message =
        message_of<c10::Error>([&] { load_safetensors(dir.path("f"), module); });
    EXPECT_TRUE(module.first.equal(torch::zeros({2})));
    return message;
  };
  EXPECT_THAT(refusal(torch::zeros({1}).expand({2})), HasSubstr("'last' is expanded"));
  EXPECT_THAT(refusal(torch::zeros({2}).to_sparse()), HasSubstr("'last' is sparse"));
  EXPECT_THAT(refusal(torch::zeros({2}, torch::kMeta)), HasSubstr("'last' is on the meta device"));
  at::Tensor frozen;
  {
    const c10::InferenceMode mode;
    frozen = torch::zeros({2});
  }
  EXPECT_THAT(refusal(frozen), HasSubstr("'last' is an inference tensor"));
}

TEST(Safetensors, CopyIntoStridedTensors) {
  const TempDir dir;
  struct Module : torch::nn::Module {
    Module() { weight = register_buffer("weight", torch::zeros({3, 2}).t()); }
    at::Tensor weight;
  };
  const at::Tensor values = torch::arange(6.0).reshape({2, 3});
  save_safetensors(dir.path("f"), {{"weight", values}});
  Module module;
  load_safetensors(dir.path("f"), module);
  EXPECT_TRUE(module.weight.equal(values));
  EXPECT_EQ(module.weight.stride(0), 1);
}

TEST(Safetensors, FilesThatCannotBeLoadedAreErrorsWithThePath) {
  const TempDir dir;
  const auto failure = [&](const std::string& content) {
    write_file(dir.path("bad"), content);
    return message_of<c10::Error>([&] { load_safetensors(dir.path("bad")); });
  };
  EXPECT_THAT(failure("x"), HasSubstr(dir.path("bad")));
  EXPECT_THAT(message_of<c10::Error>([&] { load_safetensors(dir.path("none")); }),
              HasSubstr(dir.path("none")));
  const auto file = [](const TensorInfo& info) {
    const std::string text = safetensors_header_text(std::vector{info}, {});
    std::string image(8, '\0');
    const uint64_t length = text.size();
    std::memcpy(image.data(), &length, 8);
    return image + text + std::string(info.end, '\2');
  };
  EXPECT_THAT(failure(file({"six", DType::kF6E2M3, {4}, 0, 3})), HasSubstr("'six'"));
  EXPECT_THAT(failure(file({"odd", DType::kF4, {2, 1}, 0, 1})), HasSubstr("'odd'"));
  write_file(dir.path("bool"), file({"b", DType::kBool, {2}, 0, 2}));
  const at::Tensor loaded = load_safetensors(dir.path("bool"))["b"];
  EXPECT_EQ(static_cast<const uint8_t*>(loaded.const_data_ptr())[1], 1);
}

}  // namespace
}  // namespace winnow
