#include "checkpoint/masks/memory_shares.h"

#include "winnow/base/concat.h"
#include "winnow/core/global_selection.h"
#include "winnow/core/matrix_pieces.h"
#include "winnow/sparse/chunk_table.h"

namespace winnow::checkpoint {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

// The program with its libraries and stacks, and the buffers for what is copied.
constexpr uint64_t kProgramBytes = 24 * kMiB;
// An entry of the plan and of the report, besides what the header says of a tensor.
constexpr uint64_t kTensorBytes = 600;
constexpr uint64_t kHeaderCopies = 4;
// Stacks, and what a thread has in its hands between the kernels.
constexpr uint64_t kThreadBytes = kMiB;
// Of a chunk: its values aside, and what decoder and encoder keep (see their headers).
constexpr uint64_t kDecodedChunks = 6, kEncodedChunks = 10;

constexpr uint64_t kLeastValues = 8 * kMiB;
// Larger pieces are not read faster.
constexpr uint64_t kMostPiece = 128 * kMiB;
// A piece has its mask beside it, of at most half its size, and a quarter for the selection.
constexpr uint64_t kShareOfPiece = 4, kPieceFactor = 2;

uint64_t item_bytes(const TensorInfo& tensor) noexcept { return dtype_bits(tensor.dtype) / 8; }

// The largest chunk of a compressed file of these tensors.
uint64_t largest_chunk(std::span<const TensorInfo> tensors) noexcept {
  uint64_t largest = 0;
  for (const TensorInfo& tensor : tensors) {
    const uint64_t item = std::max<uint64_t>(1, item_bytes(tensor));
    largest = std::max(largest, std::min(tensor.bytes(), kChunkValues * item));
  }
  return largest;
}

}  // namespace

uint64_t MemoryShares::selection() const noexcept {
  return std::max(GlobalSelection::kLeastBytes, piece / kShareOfPiece);
}

uint64_t fixed_bytes(const CheckpointReader& file) noexcept {
  return kProgramBytes + kHeaderCopies * file.header_bytes() + kTensorBytes * file.tensors().size();
}

uint64_t thread_bytes_to_read(const CheckpointReader& file) noexcept {
  if (!file.is_compressed()) return kThreadBytes;
  uint64_t largest = 0;
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    largest = std::max(largest, std::min(file.tensors()[i].bytes(), file.read_bytes(i)));
  }
  return kThreadBytes + kDecodedChunks * largest;
}

uint64_t thread_bytes_to_compress(const CheckpointReader& file) noexcept {
  return kEncodedChunks * largest_chunk(file.tensors());
}

Result<MemoryShares> share_memory(uint64_t max_memory, const MemoryNeeds& needs,
                                  size_t concurrency) {
  const uint64_t values = std::max(kLeastValues, needs.values);
  const uint64_t least = needs.fixed + needs.each_thread + values;
  if (max_memory < least) {
    return Status(ErrorCode::kInvalidArgument, concat("max_memory: expected at least ", least,
                                                      " bytes for this file, found ", max_memory));
  }
  const uint64_t left = max_memory - needs.fixed;
  const uint64_t for_threads = std::min(left - values, left / 2);
  const size_t threads =
      std::clamp<uint64_t>(for_threads / std::max<uint64_t>(1, needs.each_thread), 1, concurrency);
  const uint64_t rest = left - threads * needs.each_thread;
  return MemoryShares{.values = rest,
                      .whole = rest,
                      .piece = std::min(kMostPiece, rest / kShareOfPiece),
                      .threads = threads};
}

TensorMemory::TensorMemory(const TensorInfo& tensor, const PlanEntry& entry) {
  constexpr uint64_t kPooledBytes = 32 * kMiB;  // what the kernels' scratch keeps for later calls
  const uint64_t item = item_bytes(tensor), numel = entry.shape.numel();
  const DataNormConfig& config = entry.config;
  const MatrixShape smallest = smallest_piece(entry.shape, config.sparse_block_shape);
  const bool drops_whole = !config.zeros_per_block;
  // See compute_mask for its scratch, of keys that are as wide as the values.
  whole = tensor.bytes() + numel + std::min(kPooledBytes, numel) + numel * item / 8;
  block = smallest.numel() * item;
  row = smallest.rows * entry.shape.cols * item;
  const bool is_split = smallest.rows > 1 && smallest.cols < entry.shape.cols;
  strip = is_split ? (drops_whole ? 1 : smallest.rows) * entry.shape.cols / 8 + 1 : 0;
  besides = (entry.guard ? entry.guard->slices : 0) + numel / 2048 + kMiB;
}

uint64_t TensorMemory::least(Scope scope) const noexcept {
  const uint64_t parts =
      strip > 0 ? std::min(kPieceFactor * row, kPieceFactor * block + strip) : kPieceFactor * block;
  // Under a global budget no tensor is held whole.
  return scope == Scope::kGlobal ? besides + parts : std::min(whole, besides + parts);
}

uint64_t TensorMemory::piece(const MemoryShares& shares) const noexcept {
  const uint64_t room = shares.values - std::min(shares.values, besides);
  const uint64_t fitting = std::min(shares.piece, room / kPieceFactor);
  if (strip == 0 || row <= fitting) return std::max(block, fitting);
  // Whole rows of blocks are read once less than parts of them.
  if (row <= room / kPieceFactor) return row;
  const uint64_t beside_strip = room - std::min(room, strip);
  return std::max(block, std::min(shares.piece, beside_strip / kPieceFactor));
}

uint64_t least_values_bytes(std::span<const TensorInfo> tensors, std::span<const PlanEntry> plan,
                            Scope scope) noexcept {
  uint64_t least = 0;
  for (const PlanEntry& entry : plan) {
    if (entry.skipped) continue;
    least = std::max(least, TensorMemory(tensors[entry.tensor], entry).least(scope));
  }
  return least;
}

}  // namespace winnow::checkpoint
