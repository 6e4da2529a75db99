// Opaque values: what a pickle makes by names that are not on the list. Nothing of it is called or
// looked into. Only which storages it refers to is known, since who changes such a storage through
// a tensor also changes the opaque value.
#include <algorithm>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "io/pickle/pickle_machine.h"
#include "io/torch_tree/torch_names.h"
#include "winnow/base/concat.h"
#include "winnow/base/utf8.h"
#include "winnow/io/error_codes.h"
#include "winnow/io/escape_name.h"

namespace winnow::io {
namespace {

using enum TorchKind;

// Every opaque value holds a copy of its name, so long ones could multiply. No class has one.
constexpr size_t kMaxNameBytes = 256;
// In units of four bytes: the string, and 16 bytes of the heap's own.
constexpr uint64_t kOpaqueUnits = (sizeof(std::string) + 16) / 4;
constexpr uint64_t kUnknownStorageUnits = 26;  // as of other storages

// Names of functions that only rebuild an object of another class.
bool is_helper(std::string_view name) {
  const size_t dot = name.rfind('.');
  return name.substr(dot == name.npos ? 0 : dot + 1).starts_with('_');
}

// Whether keys of that kind have names.
bool is_plain_key(TorchKind kind) {
  return kind == kString || kind == kInt || kind == kBool || kind == kFloat || kind == kNone;
}

}  // namespace

Result<PickleValue> PickleMachine::make_opaque(std::string name, std::vector<PickleValue> parts) {
  WINNOW_RETURN_IF_ERROR(spend(kOpaqueUnits + name.size() / 4));
  const int64_t place = add_value(table_.strings, std::move(name));
  return add_node({.kind = kOpaque, .bits = place, .items = std::move(parts)});
}

Result<PickleValue> PickleMachine::opaque_name(std::string_view module, std::string_view name) {
  std::string full = concat(module, ".", name);
  if (full.size() > kMaxNameBytes || find_invalid_utf8(full) != full.size()) {
    return Status(PickleError::kPickleGlobal,
                  concat("a name of ", full.size(), " bytes; at most ", kMaxNameBytes,
                         " of UTF-8 are expected: ", escape_name(full.substr(0, kMaxNameBytes))));
  }
  return make_opaque(std::move(full), {});
}

// What such a call makes is shown as its class, which a helper gets as an argument:
// _rebuild_from_type_v2(function, class, ...), _reconstruct(class, ...).
Result<PickleValue> PickleMachine::opaque_call(std::string_view callee, PickleValue args) {
  std::string name(callee);
  if (is_helper(callee)) {
    for (const PickleValue arg : node(args).items) {
      PickleValue symbol = arg;
      if (kind_of(arg) == kUnknownStorage) symbol = unknown_classes_[number_of(arg)];
      if (kind_of(symbol) != kOpaque || !node(symbol).items.empty()) continue;
      if (is_helper(table_.string_at(symbol))) continue;
      name = table_.string_at(symbol);
      break;
    }
  }
  return make_opaque(std::move(name), {args});
}

Result<PickleValue> PickleMachine::call_opaque(PickleValue callee, PickleValue args) {
  // A copy: adding a string may move the others.
  const std::string name = table_.string_at(callee);
  WINNOW_ASSIGN_OR_RETURN(const PickleValue made, opaque_call(name, args));
  WINNOW_RETURN_IF_ERROR(spend(1));
  table_.nodes[made].items.push_back(callee);
  return made;
}

Status PickleMachine::build_opaque(PickleValue target, PickleValue state) {
  WINNOW_RETURN_IF_ERROR(spend(1));
  table_.nodes[target].items.push_back(state);
  return {};
}

// Nothing says how many bytes an element has, so the record's own size has to do.
Result<PickleValue> PickleMachine::find_unknown_storage(Items id, uint64_t number) {
  const auto place = static_cast<uint32_t>(unknown_classes_.size());
  const auto [found, is_new] = unknown_by_number_.try_emplace(number, place);
  if (is_new) {
    WINNOW_RETURN_IF_ERROR(spend(kUnknownStorageUnits));
    unknown_classes_.push_back(id[1]);
  }
  const bool same = table_.string_at(unknown_classes_[found->second]) == table_.string_at(id[1]);
  if (same && !storage_by_number_.contains(number)) {
    return foreign(kUnknownStorage, found->second);
  }
  return Status(PickleError::kStorageMismatch,
                concat("storage ", number, " is named with another type than before"));
}

// The node that stands for a name or a storage among data. One serves all places.
Result<TorchNode> PickleMachine::opaque_of(PickleValue foreign) {
  const auto known = opaque_of_.find(foreign);
  if (known != opaque_of_.end()) return known->second;
  WINNOW_ASSIGN_OR_RETURN(const TorchNode made, make_opaque(shown_name(foreign), {foreign}));
  opaque_of_.emplace(foreign, made);
  return made;
}

// Puts opaque values in the place of what the tree cannot hold: names and storages among data, and
// dicts and sets of what has no name.
Status PickleMachine::settle_opaque() {
  if (is_foreign(stack_.back())) {
    WINNOW_ASSIGN_OR_RETURN(stack_.back(), opaque_of(stack_.back()));
  }
  const size_t count = table_.nodes.size();  // more are added, which are as they should be
  for (TorchNode at = 0; at < count; ++at) {
    const TorchKind kind = table_.nodes[at].kind;
    if (kind == kOpaque) continue;
    for (size_t i = 0; i < table_.nodes[at].items.size(); ++i) {
      const PickleValue item = table_.nodes[at].items[i];
      if (!is_foreign(item)) continue;
      WINNOW_ASSIGN_OR_RETURN(const TorchNode made, opaque_of(item));
      table_.nodes[at].items[i] = made;
    }
    if (kind != kDict && kind != kSet) continue;
    const std::vector<TorchNode>& items = table_.nodes[at].items;
    const size_t step = kind == kDict ? 2 : 1;
    bool is_plain = true;
    for (size_t i = 0; i < items.size(); i += step) {
      is_plain = is_plain && is_plain_key(table_.nodes[items[i]].kind);
    }
    if (is_plain) continue;
    WINNOW_RETURN_IF_ERROR(spend(kOpaqueUnits));
    table_.nodes[at].bits = add_value(table_.strings, std::string(torch_kind_name(kind)));
    table_.nodes[at].kind = kOpaque;
  }
  return {};
}

// Marks in `uses` the storages that a value refers to, and returns whether there are any. What was
// `seen` before is left out.
bool PickleMachine::mark_storages(PickleValue from, std::vector<bool>& seen,
                                  std::vector<bool>& uses) const {
  bool any = false;
  const auto mark = [&](uint32_t storage) { uses[storage] = any = true; };
  std::vector<PickleValue> path = {from};
  while (!path.empty()) {
    const PickleValue value = path.back();
    path.pop_back();
    if (kind_of(value) == kStorage) mark(number_of(value));
    any = any || kind_of(value) == kUnknownStorage;
    if (is_foreign(value) || seen[value]) continue;
    seen[value] = true;
    const TorchNodeData& data = table_.nodes[value];
    if (data.kind == kTensor) mark(table_.tensor_at(value).storage);
    if (data.kind == kSparseTensor) {
      mark(table_.sparse_at(value).indices.storage);
      mark(table_.sparse_at(value).values.storage);
    }
    path.insert(path.end(), data.items.begin(), data.items.end());
    if (data.attributes != kNoTorchNode) path.push_back(data.attributes);
  }
  return any;
}

// Finds the storages that the opaque values of the tree refer to, by place, and cuts those values
// off from what they were made of.
std::vector<bool> PickleMachine::close_opaque(std::span<const TorchNode> order) {
  std::vector<bool> uses(storages_.size());
  if (!keep_unknown_) return uses;
  std::vector<bool> seen(table_.nodes.size());
  for (const TorchNode at : order) {
    if (table_.nodes[at].kind != kOpaque) continue;
    table_.nodes[at].has_storages = mark_storages(at, seen, uses);
  }
  for (const TorchNode at : order) {
    if (table_.nodes[at].kind != kOpaque) continue;
    table_.nodes[at].items = {};
    table_.nodes[at].attributes = kNoTorchNode;
  }
  return uses;
}

}  // namespace winnow::io
