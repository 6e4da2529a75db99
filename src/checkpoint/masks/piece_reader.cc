#include "checkpoint/masks/piece_reader.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/status_macros.h"
#include "checkpoint/masks/value_scan.h"
#include "winnow/core/values.h"
#include "winnow/io/escape_name.h"

namespace winnow::checkpoint {
namespace {

// Values and, if one is to be found, the place of their first NaN.
struct Found {
  uint64_t zeros = 0;
  std::optional<uint64_t> nan;
};

Found look_at(std::span<const std::byte> bytes, DType dtype, bool refuse_nan) {
  const uint64_t count = bytes.size() / (dtype_bits(dtype) / 8);
  const ValueScan seen = scan_values(bytes.data(), dtype, count);
  if (!refuse_nan || !seen.any_nan) return {seen.zeros, std::nullopt};
  return {seen.zeros, find_nan(bytes.data(), dtype, count).value_or(0)};
}

}  // namespace

Result<uint64_t> PieceReader::read_range(size_t tensor, uint64_t begin, std::span<std::byte> out,
                                         Progress& progress) {
  StageTimer timer(in_.seconds.read);
  const TensorInfo& info = in_.file.tensors()[tensor];
  const ChunkRange range{begin, begin + out.size(), in_.file.read_bytes(tensor)};
  std::vector<uint64_t> zeros(range.chunks());
  // The values are looked at while they are still in the cache of the core that read them.
  const auto read_chunk = [&](size_t chunk, uint64_t from, uint64_t to) -> Status {
    const std::span<std::byte> part = out.subspan(from - begin, to - from);
    WINNOW_RETURN_IF_ERROR(in_.file.read(tensor, from, part));
    const Found found = look_at(part, info.dtype, in_.refuse_nan);
    zeros[chunk] = found.zeros;
    if (!found.nan) return Status();
    const uint64_t first = from / (dtype_bits(info.dtype) / 8);
    return Status(ErrorCode::kNanValue, label(tensor) + " at " +
                                            position_text(info, first + *found.nan) +
                                            ": expected a number, found NaN");
  };
  WINNOW_RETURN_IF_ERROR(for_each_chunk(range, in_.threads, progress, read_chunk));
  return std::accumulate(zeros.begin(), zeros.end(), uint64_t{0});
}

Result<uint64_t> PieceReader::read_piece(size_t tensor, uint64_t cols, const MatrixPiece& piece,
                                         std::span<std::byte> out, Progress& progress) {
  if (piece.cols != cols && piece.rows != 1) return gather(tensor, cols, piece, out, progress);
  const uint64_t item = dtype_bits(in_.file.tensors()[tensor].dtype) / 8;
  return read_range(tensor, (piece.row * cols + piece.col) * item, out, progress);
}

// The rows of the piece stand apart in the file.
Result<uint64_t> PieceReader::gather(size_t tensor, uint64_t cols, const MatrixPiece& piece,
                                     std::span<std::byte> out, Progress& progress) {
  const TensorInfo& info = in_.file.tensors()[tensor];
  const uint64_t item = dtype_bits(info.dtype) / 8, row_bytes = piece.cols * item;
  const uint64_t rows_at_once = std::max<uint64_t>(1, kChunkBytes / row_bytes);
  const ChunkRange range{0, out.size(), rows_at_once * row_bytes};
  std::vector<Found> found(range.chunks());
  const auto read_rows = [&](size_t chunk, uint64_t begin, uint64_t end) -> Status {
    for (uint64_t at = begin; at < end; at += row_bytes) {
      const uint64_t first = (piece.row + at / row_bytes) * cols + piece.col;
      WINNOW_RETURN_IF_ERROR(in_.file.read(tensor, first * item, out.subspan(at, row_bytes)));
    }
    found[chunk] = look_at(out.subspan(begin, end - begin), info.dtype, in_.refuse_nan);
    return Status();
  };
  {
    StageTimer timer(in_.seconds.read);
    WINNOW_RETURN_IF_ERROR(for_each_chunk(range, in_.threads, progress, read_rows));
  }
  uint64_t zeros = 0;
  for (const Found& part : found) {
    zeros += part.zeros;
    // The first NaN of the piece need not be the first of the tensor, which is the one to name.
    for (uint64_t at = 0; part.nan && at < info.bytes(); at += out.size()) {
      const auto values = out.first(std::min<uint64_t>(out.size(), info.bytes() - at));
      WINNOW_RETURN_IF_ERROR(read_range(tensor, at, values, progress).status());
    }
  }
  return zeros;
}

std::string PieceReader::label(size_t tensor) const {
  return escape_path(in_.path) + ": " + tensor_label(in_.file.tensors()[tensor]);
}

}  // namespace winnow::checkpoint
