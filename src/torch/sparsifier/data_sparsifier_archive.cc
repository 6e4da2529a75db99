// Data sparsifiers in files of torch::save. Keys of LibTorch's archives cannot contain dots, so
// entries are numbered and names are stored in lists. The keys of such a file:
//
//   format        "winnow data sparsifier 1"
//   made_by       the name of the sparsifier's class
//   names         the names of the data, in order
//   entry_I       for the I-th name: `group` and `state`, each as a list of names and a tuple of
//                 values, and the dense `mask`
//   container     its keys, and `tensor_I` for the I-th key
//   defaults, fields, enable_mask_update
#include <c10/util/Exception.h>
#include <torch/serialize/archive.h>

#include "torch/sparsifier/data_sparsifier_impl.h"
#include "torch/support/class_name.h"

namespace winnow {
using namespace internal;

namespace {

using torch::serialize::InputArchive;
using torch::serialize::OutputArchive;

constexpr const char* kArchiveFormat = "winnow data sparsifier 1";

void write_values(OutputArchive& archive, const std::string& key, const NamedValues& values) {
  c10::List<std::string> names;
  std::vector<c10::IValue> elements;
  for (const auto& entry : values) {
    names.push_back(entry.name);
    elements.push_back(entry.value);
  }
  // Two lists, because names may contain dots and keys may not.
  archive.write(key + "_names", names);
  // A tuple: the elements of a c10 list have one type.
  archive.write(key, c10::ivalue::Tuple::create(std::move(elements)));
}

/// Reads a value, tensor or child. `fault` begins the message if it is missing.
template <typename T>
T read(InputArchive& archive, const std::string& key,
       const char* fault = "a damaged file of a data sparsifier: '") {
  T value;
  TORCH_CHECK(archive.try_read(key, value), fault, key, "' is missing");
  return value;
}

c10::IValue read_value(InputArchive& archive, const std::string& key) {
  return read<c10::IValue>(archive, key, "not a file of a data sparsifier, or a damaged one: '");
}

at::Tensor read_tensor(InputArchive& archive, const std::string& key) {
  return read<at::Tensor>(archive, key, "a damaged file of a data sparsifier: tensor '");
}

std::vector<std::string> read_names(InputArchive& archive, const std::string& key) {
  const c10::IValue value = read_value(archive, key);
  std::vector<std::string> names;
  TORCH_CHECK(value.isList(), "a damaged file of a data sparsifier: '", key, "' is no list");
  // toStringRef throws if a damaged file has something else there.
  for (const c10::IValue& name : value.toListRef()) names.push_back(name.toStringRef());
  return names;
}

NamedValues read_values(InputArchive& archive, const std::string& key) {
  const std::vector<std::string> names = read_names(archive, key + "_names");
  const c10::IValue value = read_value(archive, key);
  TORCH_CHECK(value.isTuple() && value.toTupleRef().elements().size() == names.size(),
              "a damaged file of a data sparsifier: '", key, "' does not fit its names");
  NamedValues values;
  for (size_t i = 0; i < names.size(); ++i) {
    values.set(names[i], value.toTupleRef().elements()[i]);
  }
  return values;
}

std::string numbered(const char* key, size_t i) { return key + std::to_string(i); }

void write_container(OutputArchive& archive,
                     const torch::OrderedDict<std::string, at::Tensor>& container) {
  OutputArchive child(archive.compilation_unit());
  c10::List<std::string> keys;
  for (size_t i = 0; i < container.size(); ++i) {
    keys.push_back(container[i].key());
    child.write(numbered("tensor_", i), container[i].value());
  }
  child.write("keys", keys);
  archive.write("container", child);
}

void read_container(InputArchive& archive, torch::OrderedDict<std::string, at::Tensor>& container) {
  InputArchive child = read<InputArchive>(archive, "container");
  const std::vector<std::string> keys = read_names(child, "keys");
  for (size_t i = 0; i < keys.size(); ++i) {
    container.insert(keys[i], read_tensor(child, numbered("tensor_", i)));
  }
}

}  // namespace

void BaseDataSparsifier::save(OutputArchive& archive) const {
  // No clones of the data: the archive needs them only until it is written.
  const DataSparsifierState state =
      impl_->state_dict(/*clone=*/false, /*mask_format=*/std::nullopt);
  archive.write("format", std::string(kArchiveFormat));
  archive.write("made_by", class_name(typeid(*this)));
  c10::List<std::string> names;
  for (size_t i = 0; i < state.state.size(); ++i) {
    const std::string& name = state.state[i].key();
    names.push_back(name);
    OutputArchive entry(archive.compilation_unit());
    NamedValues values = state.state[i].value();
    entry.write("mask", values.get<at::Tensor>("mask"));
    values.erase("mask");
    write_values(entry, "state", values);
    write_values(entry, "group", state.data_groups[name]);
    archive.write(numbered("entry_", i), entry);
  }
  archive.write("names", names);
  write_container(archive, state.container);
  write_values(archive, "defaults", impl_->defaults);
  write_values(archive, "fields", fields());
  archive.write("enable_mask_update", impl_->enable_mask_update);
}

void BaseDataSparsifier::load(InputArchive& archive) {
  TORCH_CHECK(read_value(archive, "format").toStringRef() == kArchiveFormat,
              "a file of a data sparsifier in an unknown format");
  const std::string written = read_value(archive, "made_by").toStringRef();
  // The fields of another class would be taken for ours.
  TORCH_CHECK(written == class_name(typeid(*this)), "a file of a ", written, ", not of a ",
              class_name(typeid(*this)));
  // Read to the end before setstate: a damaged file changes nothing.
  DataSparsifierSnapshot snapshot;
  const std::vector<std::string> names = read_names(archive, "names");
  for (size_t i = 0; i < names.size(); ++i) {
    InputArchive entry = read<InputArchive>(archive, numbered("entry_", i));
    NamedValues values{{"mask", read_tensor(entry, "mask")}};
    values.update(read_values(entry, "state"));
    snapshot.state.insert(names[i], std::move(values));
    snapshot.data_groups.insert(names[i], read_values(entry, "group"));
  }
  read_container(archive, snapshot.container);
  snapshot.defaults = read_values(archive, "defaults");
  snapshot.fields = read_values(archive, "fields");
  snapshot.enable_mask_update = read_value(archive, "enable_mask_update").toBool();
  setstate(snapshot);
}

OutputArchive& operator<<(OutputArchive& archive, const BaseDataSparsifier& sparsifier) {
  sparsifier.save(archive);
  return archive;
}

InputArchive& operator>>(InputArchive& archive, BaseDataSparsifier& sparsifier) {
  sparsifier.load(archive);
  return archive;
}

}  // namespace winnow
