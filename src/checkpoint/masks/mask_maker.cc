#include "checkpoint/masks/mask_maker.h"

#include <algorithm>

#include "base/status_macros.h"
#include "winnow/core/default_selection.h"
#include "winnow/core/matrix_pieces.h"

namespace winnow::checkpoint {
namespace {

// Passes that a search takes unless its sample misleads; the rest is not foreseen.
constexpr int kForeseenPasses = 2;

// For passes that were not foreseen: only tells that the call should stop.
class QuietProgress final : public Progress {
 public:
  explicit QuietProgress(Progress& progress) : progress_(progress) {}
  bool cancelled() override { return progress_.cancelled(); }

 private:
  Progress& progress_;
};

// Where the mask of so many bytes of values begins: kernels write whole cache lines.
constexpr uint64_t mask_offset(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

// Calls visit(first flat index, offset in the piece, length) for runs of values that follow each
// other in the tensor, of `cols` columns, and in the piece.
template <typename Visit>
void for_each_run(const MatrixPiece& piece, uint64_t cols, const Visit& visit) {
  const bool whole_rows = piece.cols == cols;
  const size_t runs = whole_rows ? 1 : piece.rows, length = piece.shape().numel() / runs;
  for (size_t i = 0; i < runs; ++i) visit((piece.row + i) * cols + piece.col, i * length, length);
}

}  // namespace

MaskMaker::MaskMaker(const Inputs& inputs)
    : in_(inputs),
      reader_({.path = inputs.path,
               .file = inputs.file,
               .refuse_nan = inputs.settings.nan == NanPolicy::kError,
               .threads = inputs.threads,
               .seconds = inputs.seconds}) {}

Status MaskMaker::prepare() {
  WINNOW_RETURN_IF_ERROR(allocate());
  return is_global() ? run_global_passes() : Status();
}

uint64_t MaskMaker::extra_bytes() const {
  uint64_t extra = 0;
  for (const PlanEntry& entry : in_.plan) {
    if (entry.skipped || is_whole(entry)) continue;
    const std::vector<MatrixPiece> pieces = pieces_of(entry);
    const int search = is_global() ? 0 : kForeseenPasses;
    const bool guard = entry.guard && pieces.size() > 1;
    extra += (search + guard + !in_order(entry, pieces)) * tensor_of(entry).bytes();
  }
  return extra;
}

Result<MaskedStats> MaskMaker::make(const PlanEntry& entry, const Visit& visit) {
  if (is_global()) return make_pieces(entry, {*global_, first_pieces_[entry.tensor]}, visit);
  if (is_whole(entry)) return make_whole(entry, visit);
  WINNOW_ASSIGN_OR_RETURN(const GlobalSelection search, run_passes(entry));
  WINNOW_ASSIGN_OR_RETURN(MaskedStats stats, make_pieces(entry, {search, 0}, visit));
  // A search that has nothing to find does not count, as compute_mask does.
  stats.mask.selected_blocks = blocks_to_drop(entry.config.sparsity_level, stats.mask.blocks);
  return stats;
}

// Under a global budget a tensor is read several times anyway, and need not be held.
bool MaskMaker::is_whole(const PlanEntry& entry) const {
  return !is_global() && TensorMemory(tensor_of(entry), entry).whole <= in_.memory.whole;
}

std::vector<MatrixPiece> MaskMaker::pieces_of(const PlanEntry& entry) const {
  const TensorInfo& tensor = tensor_of(entry);
  return matrix_pieces(entry.shape, tensor.dtype, entry.config.sparse_block_shape,
                       TensorMemory(tensor, entry).piece(in_.memory));
}

// Whether the values of the pieces one after the other are those of the tensor. The first piece is
// as large as any.
bool MaskMaker::in_order(const PlanEntry& entry, std::span<const MatrixPiece> pieces) const {
  return pieces[0].cols == entry.shape.cols || pieces[0].rows == 1;
}

uint64_t MaskMaker::buffer_bytes(const PlanEntry& entry) const {
  const uint64_t count =
      is_whole(entry) ? entry.shape.numel() : pieces_of(entry)[0].shape().numel();
  return mask_offset(count * item_bytes(entry)) + count;
}

Status MaskMaker::allocate() {
  uint64_t most = 0;
  const PlanEntry* largest = nullptr;
  for (const PlanEntry& entry : in_.plan) {
    if (entry.skipped) continue;
    const uint64_t bytes = buffer_bytes(entry);
    if (largest && bytes <= most) continue;
    largest = &entry;
    most = bytes;
  }
  if (!largest) return Status();
  Result<RawBuffer> buffer = RawBuffer::allocate(most);
  if (!buffer.ok()) return buffer.status().with_context(reader_.label(largest->tensor));
  memory_ = std::move(*buffer);
  return Status();
}

Result<GlobalSelection> MaskMaker::create_selection(std::span<const PlanEntry> entries) {
  std::vector<MatrixInfo> matrices;
  first_pieces_.resize(in_.file.tensors().size());
  for (const PlanEntry& entry : entries) {
    if (entry.skipped) continue;
    first_pieces_[entry.tensor] = matrices.size();
    for (const MatrixPiece& piece : pieces_of(entry)) {
      matrices.push_back({piece.shape(), tensor_of(entry).dtype});
    }
  }
  const DataNormConfig& config = is_global() ? in_.settings.config : entries[0].config;
  return GlobalSelection::create(std::move(matrices), config, in_.memory.selection());
}

Status MaskMaker::run_global_passes() {
  WINNOW_ASSIGN_OR_RETURN(global_, create_selection(in_.plan));
  uint64_t bytes = 0;
  for (const PlanEntry& entry : in_.plan) bytes += entry.skipped ? 0 : tensor_of(entry).bytes();
  while (!global_->ready()) {
    in_.progress.begin("select", bytes);
    for (const PlanEntry& entry : in_.plan) {
      if (entry.skipped) continue;
      WINNOW_RETURN_IF_ERROR(show(entry, *global_, first_pieces_[entry.tensor], in_.progress));
    }
    WINNOW_RETURN_IF_ERROR(in_.file.check_unchanged());  // the passes must see the same values
    StageTimer timer(in_.seconds.select);
    WINNOW_RETURN_IF_ERROR(global_->end_pass());
  }
  return Status();
}

Result<GlobalSelection> MaskMaker::run_passes(const PlanEntry& entry) {
  WINNOW_ASSIGN_OR_RETURN(GlobalSelection search, create_selection({&entry, 1}));
  if (search.ready()) in_.progress.advance(kForeseenPasses * tensor_of(entry).bytes());
  QuietProgress quiet(in_.progress);
  for (int pass = 0; !search.ready(); ++pass) {
    Progress& progress = pass < kForeseenPasses ? in_.progress : quiet;
    WINNOW_RETURN_IF_ERROR(show(entry, search, 0, progress));
    WINNOW_RETURN_IF_ERROR(in_.file.check_unchanged());
    StageTimer timer(in_.seconds.select);
    WINNOW_RETURN_IF_ERROR(search.end_pass());
  }
  return search;
}

Status MaskMaker::show(const PlanEntry& entry, GlobalSelection& search, size_t first,
                       Progress& progress) {
  for (const MatrixPiece& piece : pieces_of(entry)) {
    WINNOW_RETURN_IF_ERROR(load(entry, piece, progress).status());
    StageTimer timer(in_.seconds.select);
    WINNOW_RETURN_IF_ERROR(search.visit(first++, view_of(entry, piece.shape()), in_.threads)
                               .with_context(reader_.label(entry.tensor)));
  }
  return Status();
}

Result<MaskedStats> MaskMaker::make_whole(const PlanEntry& entry, const Visit& visit) {
  const MatrixPiece all{0, entry.shape.rows, 0, entry.shape.cols};
  const std::span<uint8_t> bytes = mask(entry, entry.shape.numel());
  MaskedStats stats;
  WINNOW_ASSIGN_OR_RETURN(stats.zeros, load(entry, all, in_.progress));
  {
    StageTimer timer(in_.seconds.mask);
    const Result<MaskStats> made =
        compute_mask(view_of(entry, entry.shape), entry.config, bytes, in_.threads);
    if (!made.ok()) return made.status().with_context(reader_.label(entry.tensor));
    stats.mask = *made;
    stats.kept = keep_slices(entry, bytes);
    stats.mask.dropped_values -= stats.kept.values;
  }
  WINNOW_RETURN_IF_ERROR(visit({0, values(entry, bytes.size()), bytes}));
  return stats;
}

// Of a tensor that is held whole.
KeptSlices MaskMaker::keep_slices(const PlanEntry& entry, std::span<uint8_t> mask) {
  if (!entry.guard) return {};
  return keep_whole_slices(memory_.data(), tensor_of(entry).dtype, mask, *entry.guard);
}

Result<MaskedStats> MaskMaker::make_pieces(const PlanEntry& entry, const Selection& selection,
                                           const Visit& visit) {
  const std::vector<MatrixPiece> pieces = pieces_of(entry);
  MaskedStats stats;
  std::optional<SliceGuard> guard;
  if (entry.guard && pieces.size() > 1) {
    WINNOW_ASSIGN_OR_RETURN(guard, look_at_slices(entry, selection, pieces));
    stats.kept.slices = guard->kept_slices();
  }
  const SliceGuard* const keeper = guard ? &*guard : nullptr;
  WINNOW_RETURN_IF_ERROR(in_order(entry, pieces)
                             ? make_in_order(entry, selection, pieces, keeper, visit, stats)
                             : make_strips(entry, selection, pieces, keeper, visit, stats));
  stats.mask.dropped_values -= stats.kept.values;
  return stats;
}

Status MaskMaker::make_in_order(const PlanEntry& entry, const Selection& selection,
                                std::span<const MatrixPiece> pieces, const SliceGuard* guard,
                                const Visit& visit, MaskedStats& stats) {
  for (size_t i = 0; i < pieces.size(); ++i) {
    const MatrixPiece& piece = pieces[i];
    const uint64_t first = piece.row * entry.shape.cols + piece.col, count = piece.shape().numel();
    WINNOW_ASSIGN_OR_RETURN(const uint64_t zeros, load(entry, piece, in_.progress));
    stats.zeros += zeros;
    WINNOW_ASSIGN_OR_RETURN(const MaskStats made, write_mask(entry, piece, selection, i));
    stats.mask += made;
    if (guard) stats.kept.values += guard->keep(mask(entry, count), first);
    if (pieces.size() == 1) stats.kept = keep_slices(entry, mask(entry, count));
    WINNOW_RETURN_IF_ERROR(visit({first, values(entry, count), mask(entry, count)}));
  }
  return Status();
}

// A row of blocks that is read in parts, side by side, has to be visited row by row: its mask bits
// are kept until all are known, and its values are read once more.
Status MaskMaker::make_strips(const PlanEntry& entry, const Selection& selection,
                              std::span<const MatrixPiece> pieces, const SliceGuard* guard,
                              const Visit& visit, MaskedStats& stats) {
  const size_t cols = entry.shape.cols;
  const bool drops_whole = !entry.config.zeros_per_block;
  for (size_t i = 0; i < pieces.size();) {
    const MatrixPiece rows{pieces[i].row, pieces[i].rows, 0, cols};
    // All rows of a block that is dropped whole have the same bits.
    const size_t strip_rows = drops_whole ? 1 : rows.rows;
    std::vector<bool> strip(strip_rows * cols);
    for (; i < pieces.size() && pieces[i].row == rows.row; ++i) {
      const MatrixPiece& piece = pieces[i];
      WINNOW_RETURN_IF_ERROR(load(entry, piece, in_.progress).status());
      WINNOW_ASSIGN_OR_RETURN(const MaskStats made, write_mask(entry, piece, selection, i));
      stats.mask += made;
      const std::span<const uint8_t> bytes = mask(entry, piece.shape().numel());
      for (size_t k = 0; k < strip_rows * piece.cols; ++k) {
        strip[k / piece.cols * cols + piece.col + k % piece.cols] = bytes[k] != 0;
      }
    }
    const uint64_t most = pieces[0].shape().numel();
    WINNOW_RETURN_IF_ERROR(visit_strip(entry, rows, strip, most, guard, visit, stats));
  }
  return Status();
}

Status MaskMaker::visit_strip(const PlanEntry& entry, const MatrixPiece& rows,
                              const std::vector<bool>& strip, uint64_t most,
                              const SliceGuard* guard, const Visit& visit, MaskedStats& stats) {
  const uint64_t begin = rows.row * rows.cols, end = begin + rows.shape().numel();
  for (uint64_t first = begin; first < end; first += most) {
    const uint64_t count = std::min(most, end - first);
    const std::span<std::byte> bytes = values(entry, count);
    WINNOW_ASSIGN_OR_RETURN(
        const uint64_t zeros,
        reader_.read_range(entry.tensor, first * item_bytes(entry), bytes, in_.progress));
    stats.zeros += zeros;
    const std::span<uint8_t> kept = mask(entry, count);
    size_t bit = (first - begin) % strip.size();
    for (uint8_t& value : kept) {
      value = strip[bit];
      if (++bit == strip.size()) bit = 0;
    }
    if (guard) stats.kept.values += guard->keep(kept, first);
    WINNOW_RETURN_IF_ERROR(visit({first, bytes, kept}));
  }
  return Status();
}

Result<SliceGuard> MaskMaker::look_at_slices(const PlanEntry& entry, const Selection& selection,
                                             std::span<const MatrixPiece> pieces) {
  SliceGuard guard(*entry.guard);
  const DType dtype = tensor_of(entry).dtype;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const MatrixPiece& piece = pieces[i];
    WINNOW_RETURN_IF_ERROR(load(entry, piece, in_.progress).status());
    WINNOW_RETURN_IF_ERROR(write_mask(entry, piece, selection, i).status());
    const std::span<const uint8_t> bytes = mask(entry, piece.shape().numel());
    for_each_run(piece, entry.shape.cols, [&](uint64_t first, size_t offset, size_t count) {
      guard.see(memory_.data() + offset * item_bytes(entry), dtype, bytes.subspan(offset, count),
                first);
    });
  }
  return guard;
}

Result<uint64_t> MaskMaker::load(const PlanEntry& entry, const MatrixPiece& piece,
                                 Progress& progress) {
  return reader_.read_piece(entry.tensor, entry.shape.cols, piece,
                            values(entry, piece.shape().numel()), progress);
}

Result<MaskStats> MaskMaker::write_mask(const PlanEntry& entry, const MatrixPiece& piece,
                                        const Selection& selection, size_t number) {
  StageTimer timer(in_.seconds.mask);
  Result<MaskStats> made =
      selection.search.write_mask(selection.first + number, view_of(entry, piece.shape()),
                                  mask(entry, piece.shape().numel()), in_.threads);
  if (made.ok()) return made;
  return made.status().with_context(reader_.label(entry.tensor));
}

const TensorInfo& MaskMaker::tensor_of(const PlanEntry& entry) const {
  return in_.file.tensors()[entry.tensor];
}

uint64_t MaskMaker::item_bytes(const PlanEntry& entry) const {
  return dtype_bits(tensor_of(entry).dtype) / 8;
}

std::span<std::byte> MaskMaker::values(const PlanEntry& entry, uint64_t count) {
  return memory_.first(count * item_bytes(entry));
}

std::span<uint8_t> MaskMaker::mask(const PlanEntry& entry, uint64_t count) {
  std::byte* const begin = memory_.data() + mask_offset(count * item_bytes(entry));
  return {reinterpret_cast<uint8_t*>(begin), count};
}

MatrixView MaskMaker::view_of(const PlanEntry& entry, MatrixShape shape) {
  return contiguous_view(memory_.data(), tensor_of(entry).dtype, shape);
}

}  // namespace winnow::checkpoint
