#include "winnow/core/global_selection.h"

#include <algorithm>
#include <optional>
#include <variant>

#include "base/status_macros.h"
#include "core/masks/mask_job.h"
#include "core/selection/budget.h"
#include "core/selection/known_mask.h"
#include "core/selection/threshold_search.h"
#include "core/tasks/tasks.h"
#include "core/views/block_matrix.h"

namespace winnow {
namespace {

// Where a matrix stands among all: its tasks, and its blocks.
struct Place {
  MatrixInfo info;
  size_t first_task = 0;
  size_t tasks = 0;
  uint64_t first_block = 0;
  uint64_t blocks = 0;
};

std::vector<Place> places_of(std::vector<MatrixInfo> matrices, const DataNormConfig& config,
                             const kernels::KernelTable& table) {
  std::vector<Place> places;
  Place next;
  for (const MatrixInfo& info : matrices) {
    next.info = info;
    // No value is read here, and a view with other strides has the same blocks in the same order.
    const MatrixView unseen = contiguous_view(nullptr, info.dtype, info.shape);
    next.blocks = core::BlockMatrix(unseen, config, table).blocks();
    next.tasks = (next.blocks + core::kTaskBlocks - 1) / core::kTaskBlocks;
    places.push_back(next);
    next.first_task += next.tasks;
    next.first_block += next.blocks;
  }
  return places;
}

}  // namespace

// One search over the keys of all matrices, of 32 or 64 bits, or none if the settings decide.
class GlobalSelection::Impl {
 public:
  Impl(std::vector<Place> places, const DataNormConfig& config, const kernels::KernelTable& table,
       uint64_t max_bytes)
      : places_(std::move(places)), config_(config), table_(table) {
    uint64_t blocks = 0;
    size_t tasks = 0;
    bool wide = false;
    for (const Place& place : places_) {
      blocks += place.blocks;
      tasks += place.tasks;
      wide = wide || place.info.dtype == DType::kF64;
    }
    const core::Budget budget(config, blocks);
    const uint64_t drop = budget.selected;
    // One F64 matrix makes all keys 64 bits wide: scores of several types are compared as F64.
    if (!budget.needs_search()) {
      uniform_ = budget.keeps_all();
    } else if (wide) {
      search_.emplace<Search<int64_t>>(
          std::make_unique<core::ThresholdSearch<int64_t>>(table, blocks, drop, tasks, max_bytes));
    } else {
      search_.emplace<Search<int32_t>>(
          std::make_unique<core::ThresholdSearch<int32_t>>(table, blocks, drop, tasks, max_bytes));
    }
  }

  bool ready() const noexcept {
    return uniform_ || std::visit([](const auto& search) { return is_done(search); }, search_);
  }

  Status visit(size_t index, const MatrixView& values, ParallelFor& threads) {
    WINNOW_RETURN_IF_ERROR(check(index, values));
    if (uniform_) return {};
    const core::BlockMatrix matrix(values, config_, table_);
    std::visit([&](auto& search) { visit_with(search, index, matrix, threads); }, search_);
    return {};
  }

  Status end_pass() {
    // Constant values lead every search to its end, so a contradiction means that they changed.
    if (uniform_) return {};
    const bool consistent = std::visit([&](auto& search) { return end_pass_of(search); }, search_);
    if (consistent) return {};
    return {ErrorCode::kInputChanged, "expected the same values in every pass, found others"};
  }

  Result<MaskStats> write_mask(size_t index, const MatrixView& values, std::span<uint8_t> mask,
                               ParallelFor& threads) const {
    WINNOW_RETURN_IF_ERROR(check(index, values));
    WINNOW_RETURN_IF_ERROR(check_mask_size(mask.size(), values.numel()));
    const core::BlockMatrix matrix(values, config_, table_);
    const MaskTarget target{values, mask};
    if (uniform_) {
      core::MaskJob<int32_t> job({&matrix, 1}, {&target, 1}, table_, threads);
      return job.run_uniform(*uniform_);
    }
    return std::visit(
        [&](const auto& search) {
          return write_with(search, places_[index].first_task, matrix, target, threads);
        },
        search_);
  }

 private:
  // By pointer, because a search, which holds a mutex, cannot move and a variant's value has to.
  template <typename Key>
  using Search = std::unique_ptr<core::ThresholdSearch<Key>>;

  template <typename Key>
  static bool is_done(const Search<Key>& search) noexcept {
    return search->pass() == core::ThresholdSearch<Key>::Pass::kDone;
  }

  Status check(size_t index, const MatrixView& values) const {
    if (index >= places_.size() || !(values.shape == places_[index].info.shape) ||
        values.dtype != places_[index].info.dtype) {
      return {ErrorCode::kInvalidArgument, "matrix " + std::to_string(index) +
                                               ": expected the shape and dtype given at creation"};
    }
    return {};
  }

  template <typename Key>
  void visit_with(Search<Key>& search, size_t index, const core::BlockMatrix& matrix,
                  ParallelFor& threads) {
    const Place& place = places_[index];
    // Lines of a sample are few and added in order, so threads would only wait for each other.
    if (search->pass() == core::ThresholdSearch<Key>::Pass::kSample) {
      core::sample_matrix(matrix, place.first_block, place.first_block + place.blocks, *search);
      return;
    }
    const std::vector<core::Task> tasks = core::make_tasks({&matrix, 1});
    search->open_tasks(place.first_task, tasks.size());
    core::run_tasks(threads, tasks.size(), [&](size_t t) {
      core::for_each_chunk<Key>(matrix, tasks[t], [&](const Key* keys, size_t, size_t count) {
        search->show(place.first_task + t, keys, count);
      });
    });
    search->close_tasks();
  }

  template <typename Key>
  static bool end_pass_of(Search<Key>& search) {
    if (search->pass() != core::ThresholdSearch<Key>::Pass::kSample) return search->end_pass();
    search->end_sample();
    return true;
  }

  template <typename Key>
  MaskStats write_with(const Search<Key>& search, size_t first_task,
                       const core::BlockMatrix& matrix, const MaskTarget& target,
                       ParallelFor& threads) const {
    // A job of one matrix, which takes over where the tasks of earlier ones ended.
    return core::MaskJob<Key>({&matrix, 1}, {&target, 1}, table_, threads)
        .run_with(*search, first_task);
  }

  std::vector<Place> places_;
  DataNormConfig config_;
  const kernels::KernelTable& table_;
  std::optional<bool> uniform_;  // whether all values are kept, if there is nothing to search for
  std::variant<Search<int32_t>, Search<int64_t>> search_;
};

GlobalSelection::GlobalSelection(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GlobalSelection::GlobalSelection(GlobalSelection&&) noexcept = default;
GlobalSelection& GlobalSelection::operator=(GlobalSelection&&) noexcept = default;
GlobalSelection::~GlobalSelection() = default;

Result<GlobalSelection> GlobalSelection::create(std::vector<MatrixInfo> matrices,
                                                const DataNormConfig& config,
                                                uint64_t max_bytes) try {
  WINNOW_RETURN_IF_ERROR(validate(config));
  if (max_bytes < kLeastBytes) {
    return Status(ErrorCode::kInvalidArgument, "max_bytes: expected at least " +
                                                   std::to_string(kLeastBytes) + ", found " +
                                                   std::to_string(max_bytes));
  }
  for (const MatrixInfo& matrix : matrices) {
    WINNOW_RETURN_IF_ERROR(check_prunable(matrix.dtype, "data"));
  }
  WINNOW_ASSIGN_OR_RETURN(const SimdLevel level, active_simd_level());
  const kernels::KernelTable& table = kernels::kernel_table(level);
  return GlobalSelection(std::make_unique<Impl>(places_of(std::move(matrices), config, table),
                                                config, table, max_bytes));
} catch (const std::bad_alloc&) {
  return core::out_of_memory();
}

bool GlobalSelection::ready() const noexcept { return impl_->ready(); }

Status GlobalSelection::visit(size_t index, const MatrixView& values, ParallelFor& threads) try {
  return impl_->visit(index, values, threads);
} catch (const std::bad_alloc&) {
  return core::out_of_memory();
}

Status GlobalSelection::end_pass() try { return impl_->end_pass(); } catch (const std::bad_alloc&) {
  return core::out_of_memory();
}

Result<MaskStats> GlobalSelection::write_mask(size_t index, const MatrixView& values,
                                              std::span<uint8_t> mask, ParallelFor& threads) const
    try {
  return impl_->write_mask(index, values, mask, threads);
} catch (const std::bad_alloc&) {
  return core::out_of_memory();
}

}  // namespace winnow
