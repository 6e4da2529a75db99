#include "checkpoint/archives/torch_layout.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>

#include "base/status_macros.h"
#include "winnow/base/checked.h"

namespace winnow::checkpoint {
namespace {

constexpr uint64_t kMaxRepeatedBytes = uint64_t{64} << 20;

size_t itemsize(const TorchTensor& view) { return dtype_bits(view.dtype) / 8; }

// Whether no two places of the shape are one element. Enough, but not needed: each stride leads out
// of what the smaller ones reach.
bool is_distinct(const TorchTensor& view) {
  if (view.numel() == 0) return true;
  std::vector<std::pair<uint64_t, uint64_t>> dims;  // stride and size
  for (size_t d = 0; d < view.shape.size(); ++d) {
    if (view.shape[d] > 1) dims.emplace_back(view.strides[d], view.shape[d]);
  }
  std::ranges::sort(dims);
  uint64_t reach = 1;
  for (const auto& [stride, size] : dims) {
    if (stride < reach) return false;
    reach += (size - 1) * stride;  // inside the storage
  }
  return true;
}

// A view as rows of `width` bytes in a row, `stride` bytes apart.
struct Rows {
  uint64_t stride = 0;
  uint64_t width = 0;
};

std::optional<Rows> rows_of(const TorchTensor& view) {
  uint64_t width = 1;
  size_t d = view.shape.size();
  for (; d > 0 && (view.shape[d - 1] == 1 || view.strides[d - 1] == width); --d) {
    width *= view.shape[d - 1];
  }
  if (d == 0) return std::nullopt;
  // The other dimensions have to be one.
  uint64_t rows = view.shape[d - 1];
  const uint64_t stride = view.strides[d - 1];
  for (--d; d > 0; --d) {
    if (view.shape[d - 1] != 1 && view.strides[d - 1] != stride * rows) return std::nullopt;
    rows *= view.shape[d - 1];
  }
  return Rows{stride * itemsize(view), width * itemsize(view)};
}

struct Entry {
  const TorchPath* path;
  size_t order;  // in the tree
  ByteRange range;
  bool distinct;

  const TorchTensor& view() const { return *path->tensor; }
  uint64_t size() const { return range.end - range.begin; }
  bool is_dense() const { return distinct && view().numel() * itemsize(view()) == size(); }
};

bool same_view(const TorchTensor& a, const TorchTensor& b) {
  if (a.storage != b.storage || a.dtype != b.dtype || a.offset != b.offset || a.shape != b.shape) {
    return false;
  }
  for (size_t d = 0; d < a.shape.size(); ++d) {
    // The stride of a dimension of 1 is never taken.
    if (a.shape[d] > 1 && a.strides[d] != b.strides[d]) return false;
  }
  return true;
}

// A total order that puts equal views side by side.
auto view_key(const Entry& entry) {
  std::vector<uint64_t> strides;
  for (size_t d = 0; d < entry.view().shape.size(); ++d) {
    strides.push_back(entry.view().shape[d] > 1 ? entry.view().strides[d] : 0);
  }
  return std::tuple(entry.view().offset, entry.view().dtype, entry.view().shape, std::move(strides),
                    entry.order);
}

// Columns of one matrix: rows of equal stride, no two of which meet.
bool are_columns(std::span<const Entry* const> entries) {
  std::vector<std::pair<uint64_t, uint64_t>> columns;  // [begin, end) in the stride
  const std::optional<Rows> first = rows_of(entries[0]->view());
  for (const Entry* entry : entries) {
    const std::optional<Rows> rows = rows_of(entry->view());
    if (!entry->distinct || !first || !rows || rows->stride != first->stride) return false;
    // Relative to the first, which begins lowest.
    const uint64_t begin = (entry->range.begin - entries[0]->range.begin) % rows->stride;
    if (begin + rows->width > rows->stride) return false;
    columns.emplace_back(begin, begin + rows->width);
  }
  std::ranges::sort(columns);
  for (size_t i = 1; i < columns.size(); ++i) {
    if (columns[i].first < columns[i - 1].second) return false;
  }
  return true;
}

class LayoutMaker {
 public:
  LayoutMaker(const TorchArchive& archive, TorchPaths paths)
      : archive_(archive),
        paths_(std::move(paths)),
        left_(kMaxRepeatedBytes + archive.identity().size) {}

  TorchLayout run() {
    std::vector<Entry> entries;
    for (size_t i = 0; i < paths_.tensors.size(); ++i) {
      const TorchTensor& view = *paths_.tensors[i].tensor;
      entries.push_back({&paths_.tensors[i], i, range_of(view), is_distinct(view)});
    }
    const auto record = [this](const Entry& entry) {
      return archive_.storage_record(entry.view().storage).offset;
    };
    std::ranges::sort(entries, [&](const Entry& a, const Entry& b) {
      return std::tuple(record(a), a.view().storage, a.range.begin, b.range.end, a.order) <
             std::tuple(record(b), b.view().storage, b.range.begin, a.range.end, b.order);
    });
    for (size_t begin = 0; begin < entries.size();) {
      const size_t end = cluster_end(entries, begin);
      add_cluster(std::span(entries).subspan(begin, end - begin));
      begin = end;
    }
    return take();
  }

 private:
  struct Placed {
    size_t order;
    TensorInfo info;
    TorchTensor view;
    std::optional<FixedReason> fixed;
  };

  // The entries from `begin` on whose ranges hang together.
  static size_t cluster_end(std::span<const Entry> entries, size_t begin) {
    uint64_t reach = entries[begin].range.end;
    size_t end = begin + 1;
    for (; end < entries.size(); ++end) {
      const Entry& next = entries[end];
      if (next.view().storage != entries[begin].view().storage || next.range.begin >= reach) break;
      if (next.size() == 0) break;
      reach = std::max(reach, next.range.end);
    }
    return end;
  }

  void add_cluster(std::span<const Entry> cluster) {
    if (cluster.size() == 1) return add_tensor(cluster[0], std::nullopt);
    if (const Entry* owner = find_owner(cluster)) {
      add_tensor(*owner, std::nullopt);
      for (const Entry& entry : cluster) {
        if (&entry != owner) add_alias(entry, *owner);
      }
      return;
    }
    std::vector<const Entry*> sorted;
    for (const Entry& entry : cluster) sorted.push_back(&entry);
    std::ranges::sort(sorted, {}, [](const Entry* entry) { return view_key(*entry); });
    std::vector<const Entry*> views;  // each once
    std::vector<std::pair<const Entry*, const Entry*>> same;
    for (const Entry* entry : sorted) {
      if (!views.empty() && same_view(entry->view(), views.back()->view())) {
        same.emplace_back(entry, views.back());
      } else {
        views.push_back(entry);
      }
    }
    std::ranges::sort(views, {},
                      [](const Entry* e) { return std::pair(e->range.begin, e->order); });
    const bool apart = views.size() == 1 || are_columns(views);
    for (const Entry* view : views) {
      add_tensor(*view, apart ? std::nullopt : std::optional(FixedReason::kOverlapping));
    }
    for (const auto& [entry, view] : same) add_alias(*entry, *view);
  }

  // A tensor that has every value of the cluster once, one that is in order if there is any.
  static const Entry* find_owner(std::span<const Entry> cluster) {
    uint64_t end = 0;
    bool one_type = true;
    for (const Entry& entry : cluster) {
      end = std::max(end, entry.range.end);
      one_type = one_type && entry.view().dtype == cluster[0].view().dtype;
    }
    if (!one_type) return nullptr;
    const Entry* owner = nullptr;
    for (const Entry& entry : cluster) {
      if (entry.range.begin != cluster[0].range.begin || entry.range.end != end) break;
      if (!entry.is_dense()) continue;
      const bool is_better =
          owner == nullptr || (!owner->view().is_contiguous() && entry.view().is_contiguous());
      if (is_better) owner = &entry;
    }
    return owner;
  }

  void add_tensor(const Entry& entry, std::optional<FixedReason> fixed) {
    const TorchTensor& view = entry.view();
    if (!entry.distinct) fixed = FixedReason::kExpanded;
    const auto bytes = checked_mul(view.numel(), itemsize(view));
    if (fixed) {
      if (!bytes || *bytes > left_) {
        paths_.opaque.push_back({entry.path->name, "torch.Tensor (a view of shared values)", true});
        return;
      }
      left_ -= *bytes;
    }
    if (paths_.opaque_uses[view.storage]) fixed = FixedReason::kOpaqueUse;
    if (!fixed && entry.path->is_optimizer_state) fixed = FixedReason::kOptimizer;
    TensorInfo info{entry.path->name, view.dtype, view.shape, end_, end_ + *bytes};
    end_ = info.end;
    placed_.push_back({entry.order, std::move(info), view, fixed});
  }

  void add_alias(const Entry& entry, const Entry& owner) {
    aliases_.emplace_back(entry.order, std::pair(entry.path->name, owner.path->name));
    if (!same_view(entry.view(), owner.view())) part_ = entry.path->name;
  }

  TorchLayout take() {
    TorchLayout out;
    std::ranges::sort(placed_, {}, &Placed::order);
    for (Placed& placed : placed_) {
      out.tensors.push_back(std::move(placed.info));
      out.views.push_back(std::move(placed.view));
      out.fixed.push_back(placed.fixed);
    }
    std::ranges::sort(aliases_, {}, &decltype(aliases_)::value_type::first);
    for (auto& [order, alias] : aliases_) out.aliases.push_back(std::move(alias));
    out.part = std::move(part_);
    out.opaque = std::move(paths_.opaque);
    out.plain_values = paths_.plain_values;
    return out;
  }

  const TorchArchive& archive_;
  TorchPaths paths_;
  uint64_t left_;     // bytes that views of shared values may have
  uint64_t end_ = 0;  // of the data so far
  std::vector<Placed> placed_;
  std::vector<std::pair<size_t, std::pair<std::string, std::string>>> aliases_;
  std::optional<std::string> part_;
};

}  // namespace

ByteRange range_of(const TorchTensor& view) noexcept {
  if (view.numel() == 0) return {};
  uint64_t last = view.offset;  // checked: inside the storage
  for (size_t d = 0; d < view.shape.size(); ++d) last += (view.shape[d] - 1) * view.strides[d];
  return {view.offset * itemsize(view), (last + 1) * itemsize(view)};
}

Result<TorchLayout> lay_out(const TorchArchive& archive) {
  WINNOW_ASSIGN_OR_RETURN(TorchPaths paths, list_paths(archive));
  return LayoutMaker(archive, std::move(paths)).run();
}

}  // namespace winnow::checkpoint
