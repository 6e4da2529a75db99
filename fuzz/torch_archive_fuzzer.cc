// Any bytes as a torch archive, or as the pickle in one. What is accepted has to keep the promises
// of torch_archive.h, and has to come back the same when it is written and read again.
//
//   python3 fuzz/torch_archive_seeds.py seeds
//   torch_archive_fuzzer -dict=fuzz/torch_archive_fuzzer.dict -timeout=5 corpus seeds
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "support/torch_image.h"
#include "winnow/base/dtype.h"
#include "winnow/io/torch_archive.h"
#include "winnow/io/torch_archive_writer.h"

namespace {

using winnow::Result;
using winnow::Status;
using winnow::TorchArchive;
using winnow::TorchKind;
using winnow::TorchSparseTensor;
using winnow::TorchStorage;
using winnow::TorchTensor;
using winnow::TorchTree;
using winnow::TorchValue;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_message(const Status& status) {
  require(!status.ok() && status.message().starts_with("fuzz: "));
  for (const char c : status.message()) require(static_cast<uint8_t>(c) >= 0x20);
}

constexpr uint64_t kMaxElements = 1 << 16;  // an expanded tensor may have any number
constexpr uint64_t kMaxReads = 100;         // a shared one may stand in millions of places

void read(const TorchArchive& archive, const TorchTensor& tensor) {
  if (tensor.numel() > kMaxElements) return;
  std::vector<std::byte> out(tensor.numel() * (winnow::dtype_bits(tensor.dtype) / 8));
  const Status status = archive.read_tensor(tensor, out);
  if (!status.ok()) check_message(status);
}

void read(const TorchArchive& archive, const TorchSparseTensor& tensor) {
  if (tensor.indices.numel() > kMaxElements || tensor.values.numel() > kMaxElements) return;
  std::vector<int64_t> indices(tensor.indices.numel());
  std::vector<std::byte> values(tensor.values.numel() *
                                (winnow::dtype_bits(tensor.values.dtype) / 8));
  const Status status = archive.read_sparse(tensor, indices, values);
  if (!status.ok()) return check_message(status);
  for (size_t i = 0; i < indices.size(); ++i) {
    require(static_cast<uint64_t>(indices[i]) < tensor.shape[i / tensor.nnz()]);
  }
}

// Walks the tree as consumers do, by recursion; `budget` is the promise that it ends. The first
// tensors are read.
void visit(const TorchArchive& archive, TorchValue value, size_t depth, uint64_t& budget) {
  require(depth < winnow::kMaxTorchDepth && budget-- > 0);
  if (winnow::kMaxTorchNodes - budget < kMaxReads) {
    if (const TorchTensor* tensor = value.as_tensor()) read(archive, *tensor);
    if (const TorchSparseTensor* sparse = value.as_sparse()) read(archive, *sparse);
  }
  for (size_t i = 0; i < value.size(); ++i) {
    if (value.kind() == TorchKind::kDict) {
      visit(archive, value.key(i), depth + 1, budget);
      visit(archive, value.value(i), depth + 1, budget);
    } else {
      visit(archive, value[i], depth + 1, budget);
    }
  }
  if (value.attributes()) visit(archive, *value.attributes(), depth + 1, budget);
}

// The pickle that we write of a tree is read again, and gives the same pickle.
void check_rewrite(const TorchTree& tree, std::span<const TorchStorage> storages) {
  const Result<std::string> pickle = winnow::torch_pickle(tree, storages);
  if (!pickle.ok()) {
    require(pickle.status().code() == winnow::PickleError::kPickleTooLarge);
    return;
  }
  std::vector<std::string> payloads;
  for (const TorchStorage& storage : storages) {
    if (storage.bytes() > kMaxElements) return;
    payloads.emplace_back(storage.bytes(), '\0');
  }
  const std::string image = winnow::testing::archive_image(*pickle, payloads).build();
  const Result<TorchArchive> again =
      TorchArchive::open(std::make_unique<winnow::testing::MemoryFile>(image), "fuzz");
  require(again.ok());
  const Result<std::string> same = winnow::torch_pickle(again->tree(), again->storages());
  require(same.ok() && *same == *pickle);
}

Result<TorchArchive> open(const std::string& image, bool allow_missing_checksums,
                          bool keep_unknown = false) {
  return TorchArchive::open(
      std::make_unique<winnow::testing::MemoryFile>(image), "fuzz",
      {.allow_missing_checksums = allow_missing_checksums, .keep_unknown = keep_unknown});
}

bool has_opaque(TorchValue value) {
  if (value.kind() == TorchKind::kOpaque) return true;
  for (size_t i = 0; i < value.size(); ++i) {
    if (has_opaque(value.kind() == TorchKind::kDict ? value.value(i) : value[i])) return true;
  }
  return value.attributes() && has_opaque(*value.attributes());
}

// To keep what is unknown changes nothing of what is known, and gives a tree like any other.
void check_unknown(const std::string& image, const Result<TorchArchive>& known) {
  const Result<TorchArchive> archive = open(image, true, true);
  if (!archive.ok()) {
    require(!known.ok());
    return check_message(archive.status());
  }
  require(archive->tree().check(archive->storages()).ok());
  uint64_t budget = winnow::kMaxTorchNodes;
  visit(*archive, archive->root(), 0, budget);
  for (size_t i = 0; i < archive->storages().size(); ++i) (void)archive->opaque_uses(i);
  if (!known.ok()) return;
  require(!has_opaque(archive->root()));
  const Result<std::string> same = winnow::torch_pickle(archive->tree(), archive->storages());
  const Result<std::string> expected = winnow::torch_pickle(known->tree(), known->storages());
  require(same.ok() == expected.ok() && (!same.ok() || *same == *expected));
}

// To allow missing checksums opens what was refused for them alone, and nothing else.
void check_option(const std::string& image, const Result<TorchArchive>& lenient) {
  const Result<TorchArchive> strict = open(image, false);
  if (strict.status().code() == winnow::TorchArchiveError::kNoChecksums) {
    check_message(strict.status());
    require(!lenient.ok() || !lenient->has_checksums());
  } else {
    require(strict.status().code() == lenient.status().code());
    require(!lenient.ok() || lenient->has_checksums());
  }
}

void run(const std::string& image) {
  const Result<TorchArchive> archive = open(image, true);
  check_option(image, archive);
  check_unknown(image, archive);
  if (!archive.ok()) return check_message(archive.status());
  require(archive->tree().check(archive->storages()).ok());
  uint64_t budget = winnow::kMaxTorchNodes;
  visit(*archive, archive->root(), 0, budget);
  check_rewrite(archive->tree(), archive->storages());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string input(reinterpret_cast<const char*>(data), size);
  if (input.starts_with("PK")) {
    run(input);
  } else {
    // A pickle, whose checksum no mutation would hit, with three payloads.
    run(winnow::testing::archive_image(input).build());
    const std::string bytes(32, '\1');
    const winnow::testing::ZipImage image =
        winnow::testing::archive_image(input, {bytes, bytes.substr(8), bytes.substr(24)});
    run(image.build());
    run(winnow::testing::without_checksums(image).build());
  }
  return 0;
}
