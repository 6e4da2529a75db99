// Files that are compressed and decompressed: the same bytes come back, ordinary loaders see other
// shapes, and what is wrong is named.
#include "winnow/checkpoint/compress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "checkpoint/test_file.h"
#include "sparse/value_sets.h"
#include "support/threads.h"
#include "winnow/checkpoint/inspect.h"
#include "winnow/checkpoint/prune.h"
#include "winnow/checkpoint/verify.h"
#include "winnow/sparse/error_codes.h"

namespace winnow {
namespace {

using ::testing::HasSubstr;
using testing::header_of;
using testing::image_of;
using testing::pruned_normal;
using testing::read_file;
using testing::TempDir;
using testing::TestTensor;
using testing::ThreadsFor;
using testing::write_file;

std::string text_of(const testing::ByteVector& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TestTensor pruned(std::string name, DType dtype, std::vector<uint64_t> shape, double zeros) {
  size_t n = 1;
  for (const uint64_t d : shape) n *= d;
  return {std::move(name), dtype, std::move(shape), text_of(pruned_normal(dtype, n, zeros))};
}

// Two chunks of one tensor, small ones, empty ones and noise.
std::string model() {
  return image_of({{"empty", DType::kF32, {0, 4}, ""},
                   pruned("emb.weight", DType::kF32, {30'000, 64}, 0.9),
                   pruned("half", DType::kBF16, {100, 64}, 0.5),
                   {"noise", DType::kU8, {1000}, text_of(testing::random_bits(1000))},
                   {"nothing", DType::kI64, {0}, ""},
                   pruned("scalar", DType::kF32, {}, 0),
                   {"last", DType::kF16, {3, 0}, ""}},
                  {{"format", "pt"}, {"tied", "emb.weight"}});
}

class CompressFile : public ::testing::Test {
 protected:
  CompressFile() { write_file(path("in"), model_); }

  std::string path(const std::string& name) { return dir_.path(name); }
  CompressJob job(const std::string& input, const std::string& output) {
    CompressJob job;
    job.input = path(input);
    job.output = path(output);
    return job;
  }
  Result<CompressResult> compress(const CompressJob& job) {
    return compress_file(Env::posix(), job, serial_, progress_);
  }
  Result<CompressResult> decompress(const CompressJob& job) {
    return decompress_file(Env::posix(), job, serial_, progress_);
  }

  const std::string model_ = model();
  TempDir dir_;
  SerialFor serial_;
  Progress progress_;
};

TEST_F(CompressFile, GivesTheFileBackByteForByte) {
  const Result<CompressResult> small = compress(job("in", "small"));
  ASSERT_TRUE(small.ok()) << small.status().message();
  EXPECT_EQ(small->input_bytes, model_.size());
  EXPECT_EQ(small->output_bytes, std::filesystem::file_size(path("small")));
  EXPECT_LT(small->output_bytes, model_.size() / 8);
  EXPECT_EQ(small->written, path("small"));
  ASSERT_TRUE(decompress(job("small", "out")).ok());
  EXPECT_TRUE(read_file(path("out")) == model_);
}

TEST_F(CompressFile, KeepsAHeaderThatNoneOfOursWouldWrite) {
  // Spaces, another order and escapes: all of it is carried over.
  const std::string header =
      R"( {"\u0061" : {"shape":[2],"data_offsets":[0,8],"dtype":"F32"} , "__metadata__":{} }   )";
  const uint64_t length = header.size();
  std::string image(reinterpret_cast<const char*>(&length), sizeof(length));
  image += header + std::string(8, '\0');
  write_file(path("in"), image);
  ASSERT_TRUE(compress(job("in", "small")).ok());
  ASSERT_TRUE(decompress(job("small", "out")).ok());
  EXPECT_TRUE(read_file(path("out")) == image);
}

TEST_F(CompressFile, HasTheSameBytesForAnyNumberOfThreads) {
  ASSERT_TRUE(compress(job("in", "one")).ok());
  for (const size_t count : {2, 3, 16}) {
    ThreadsFor threads(count);
    CompressJob many = job("in", "many");
    many.overwrite = true;
    ASSERT_TRUE(compress_file(Env::posix(), many, threads, progress_).ok());
    EXPECT_TRUE(read_file(path("many")) == read_file(path("one"))) << count;
    CompressJob back = job("many", "out");
    back.overwrite = true;
    ASSERT_TRUE(decompress_file(Env::posix(), back, threads, progress_).ok());
    EXPECT_TRUE(read_file(path("out")) == model_);
  }
}

TEST_F(CompressFile, ShowsOtherReadersTensorsOfOneDimensionMore) {
  ASSERT_TRUE(compress(job("in", "small")).ok());
  const SafetensorsHeader before = header_of(path("in")), after = header_of(path("small"));
  ASSERT_EQ(after.tensors().size(), before.tensors().size() + 1);
  size_t compressed = 0;
  for (const TensorInfo& tensor : before.tensors()) {
    const auto found =
        std::find_if(after.tensors().begin(), after.tensors().end(),
                     [&](const TensorInfo& entry) { return entry.name == tensor.name; });
    ASSERT_NE(found, after.tensors().end());
    if (found->dtype == tensor.dtype && found->shape == tensor.shape) continue;
    EXPECT_EQ(found->shape.size(), tensor.shape.size() + 1);
    EXPECT_EQ(found->begin % 8, 0u);
    ++compressed;
  }
  EXPECT_EQ(compressed, 2u);  // noise and what is too small are stored as they are
}

TEST_F(CompressFile, StoresWhatThePatternsLeaveOutAsItIs) {
  CompressJob some = job("in", "small");
  some.exclude = {"tied"};  // another name of emb.weight
  const Result<CompressResult> result = compress(some);
  ASSERT_TRUE(result.ok()) << result.status().message();
  for (const CompressedReport& report : result->tensors) {
    EXPECT_EQ(report.stored.encoding.empty(), report.tensor.name != "half") << report.tensor.name;
  }
  some.exclude = {"hlaf"};
  some.overwrite = true;
  const Status unknown = compress(some).status();
  EXPECT_EQ(unknown.code(), ErrorCode::kUnknownTensor);
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("exclude pattern 'hlaf'"));
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("'half'"));
}

TEST_F(CompressFile, CopiesWhatDoesNotGetSmaller) {
  std::vector<TestTensor> scalars;
  for (int i = 0; i < 3000; ++i) {
    scalars.push_back(testing::f32("s" + std::to_string(i), {}, {static_cast<float>(i)}));
  }
  const std::string image = image_of(scalars);
  write_file(path("in"), image);
  const Result<CompressResult> copy = compress(job("in", "copy"));
  ASSERT_TRUE(copy.ok()) << copy.status().message();
  EXPECT_EQ(copy->output_bytes, image.size());
  EXPECT_TRUE(read_file(path("copy")) == image);
  ASSERT_TRUE(decompress(job("copy", "out")).ok());
  EXPECT_TRUE(read_file(path("out")) == image);
}

TEST_F(CompressFile, LeavesNoMoreRoomForItsHeaderThanTensorsCanNeed) {
  std::vector<TestTensor> tensors;
  for (int i = 0; i < 2000; ++i) {
    tensors.push_back(pruned("layers." + std::to_string(i), DType::kF32, {64}, 0));
  }
  write_file(path("in"), image_of(tensors));
  ASSERT_TRUE(compress(job("in", "small")).ok());
  const size_t before = read_file(path("in")).size(), after = read_file(path("small")).size();
  EXPECT_LE(after, before + before / 100 + 4096);
}

// The entry of a compressed vector is longer than that of the vector by 2 bytes, and no offset is
// shorter than it may be: they begin behind 11 MB of noise.
TEST_F(CompressFile, HasRoomForTheLongestHeader) {
  std::vector<TestTensor> tensors = {
      {"noise", DType::kU8, {11'000'000}, text_of(testing::random_bits(11'000'000))}};
  for (int i = 0; i < 200; ++i) {
    tensors.push_back(pruned("bias" + std::to_string(i), DType::kF32, {384}, 0));
  }
  tensors.push_back(pruned("w", DType::kF32, {1000, 400}, 0.9));
  const std::string image = image_of(tensors);
  write_file(path("in"), image);
  ASSERT_TRUE(compress(job("in", "small")).ok());
  ASSERT_TRUE(decompress(job("small", "out")).ok());
  EXPECT_TRUE(read_file(path("out")) == image);
}

TEST_F(CompressFile, RefusesAHeaderThatWouldBeTooLarge) {
  Metadata metadata;
  for (size_t i = 0; i < kMaxMetadataEntries; ++i) metadata.emplace_back(std::to_string(i), "");
  write_file(path("in"), image_of({pruned("w", DType::kF32, {64}, 0.9)}, metadata));
  const auto names = dir_.names();
  EXPECT_EQ(compress(job("in", "small")).status().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(dir_.names(), names);
}

TEST_F(CompressFile, RefusesACompressedInputAndCopiesOrdinaryOnes) {
  ASSERT_TRUE(compress(job("in", "small")).ok());
  const Status twice = compress(job("small", "smaller")).status();
  EXPECT_EQ(twice.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(std::string(twice.message()), HasSubstr("found a compressed one"));
  ASSERT_TRUE(decompress(job("in", "out")).ok());
  EXPECT_TRUE(read_file(path("out")) == model_);
}

TEST_F(CompressFile, ChecksAFileWithoutWriting) {
  ASSERT_TRUE(compress(job("in", "small")).ok());
  CompressJob check = job("small", "");
  check.output.clear();
  check.dry_run = true;
  EXPECT_TRUE(decompress(check).ok());
  std::string image = read_file(path("small"));
  image[image.size() - 2000] ^= 1;
  write_file(path("small"), image);
  EXPECT_FALSE(decompress(check).ok());
}

TEST_F(CompressFile, RefusesATensorThatIsNamedLikeTheHeader) {
  write_file(path("in"), image_of({{"__winnow_header__", DType::kU8, {1}, "x"}}));
  EXPECT_EQ(compress(job("in", "small")).status().code(), ErrorCode::kInvalidArgument);
}

TEST_F(CompressFile, IsPrunedInspectedAndVerifiedLikeTheFileThatItWas) {
  PruneJob prune{.input = path("in"), .output = path("plain"), .settings = {}};
  ASSERT_TRUE(prune_file(Env::posix(), prune, serial_, progress_).ok());
  // In one pass, and from a compressed input.
  prune.output = path("both");
  prune.compress = true;
  const Result<PruneResult> both = prune_file(Env::posix(), prune, serial_, progress_);
  ASSERT_TRUE(both.ok()) << both.status().message();
  EXPECT_EQ(both->output_bytes, std::filesystem::file_size(path("both")));
  ASSERT_TRUE(compress(job("plain", "small")).ok());
  EXPECT_TRUE(read_file(path("both")) == read_file(path("small")));
  ASSERT_TRUE(compress(job("in", "small_in")).ok());
  prune.input = path("small_in");
  prune.output = path("both2");
  ASSERT_TRUE(prune_file(Env::posix(), prune, serial_, progress_).ok());
  EXPECT_TRUE(read_file(path("both2")) == read_file(path("small")));

  for (const char* pruned : {"plain", "small"}) {
    for (const char* original : {"in", "small_in"}) {
      const VerifyJob verify{.pruned = path(pruned), .original = path(original), .settings = {}};
      const Status status = verify_file(Env::posix(), verify, serial_, progress_).status();
      EXPECT_TRUE(status.ok()) << status.message();
    }
  }
  const auto inspect = [&](const char* name) {
    return inspect_file(Env::posix(), path(name), true, serial_, progress_).value();
  };
  const Inspection plain = inspect("plain"), small = inspect("small");
  EXPECT_TRUE(small.is_compressed && !plain.is_compressed);
  EXPECT_EQ(small.metadata, plain.metadata);
  ASSERT_EQ(small.tensors.size(), plain.tensors.size());
  for (size_t i = 0; i < small.tensors.size(); ++i) {
    ASSERT_EQ(small.tensors[i].stats.has_value(), plain.tensors[i].stats.has_value());
    if (!small.tensors[i].stats) continue;
    EXPECT_EQ(small.tensors[i].stats->zeros, plain.tensors[i].stats->zeros);
    EXPECT_EQ(small.tensors[i].stats->mean_abs, plain.tensors[i].stats->mean_abs);
  }
}

// The container's own faults, each in a file that is well-formed otherwise.
class Container : public CompressFile {
 protected:
  // The compressed file with its header's text changed, of the same length.
  Status open_changed(const std::string& from, const std::string& to) {
    std::string image = read_file(path("small"));
    const size_t at = image.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    EXPECT_EQ(from.size(), to.size());
    image.replace(at, from.size(), to);
    write_file(path("changed"), image);
    return open_checkpoint(Env::posix(), path("changed")).status();
  }
  void SetUp() override { ASSERT_TRUE(compress(job("in", "small")).ok()); }
};

TEST_F(Container, EachFaultHasItsCode) {
  EXPECT_EQ(open_changed(R"(compressed":"1")", R"(compressed":"2")").code(),
            SparseError::kSparseVersion);
  EXPECT_EQ(open_changed("__winnow_header__", "__winnow_haeder__").code(),
            SparseError::kSparseContainer);
  EXPECT_EQ(open_changed(R"("half":)", R"("hfla":)").code(), SparseError::kSparseContainer);
  EXPECT_EQ(open_changed(R"(winnow.bytes":"7)", R"(winnow.bytes":"x)").code(),
            SparseError::kSparseContainer);
  EXPECT_EQ(open_changed(R"("scalar":{"dtype":"F32")", R"("scalar":{"dtype":"I32")").code(),
            SparseError::kSparseContainer);
  // The first bytes of the packed header, behind the header's own text.
  EXPECT_EQ(open_changed("\x28\xb5\x2f\xfd", "\x28\xb5\x2f\xfe").code(),
            SparseError::kSparseContainer);
}

}  // namespace
}  // namespace winnow
