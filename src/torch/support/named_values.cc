#include "winnow/torch/named_values.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "torch/support/errors.h"
#include "torch/support/plain_values.h"

namespace winnow {
using namespace internal;

namespace {

c10::IValue copy_of(const c10::IValue& value) {
  if (!value.isTensor()) return value.deepcopy();
  // deepcopy would keep the gradient graph of a tensor.
  const at::Tensor& tensor = value.toTensor();
  return tensor.defined() ? tensor.detach().clone() : at::Tensor();
}

/// Formats like Python's repr: the shortest digits that read back, with a point or an exponent.
std::string number_text(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  const double size = std::fabs(number);
  // Python switches to an exponent at the same limits.
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), number,
                                 plain ? std::chars_format::fixed : std::chars_format::scientific);
  std::string text(buffer, end.ptr);
  // to_chars writes 1 for 1.0, which Python would read as an integer.
  if (plain && text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string tensor_text(const at::Tensor& tensor) {
  if (!tensor.defined()) return "tensor(undefined)";
  // Without the values, of which there may be millions.
  return c10::str("tensor(", tensor.sizes(), ", ", tensor.scalar_type(), ")");
}

constexpr size_t kMaxText = size_t{1} << 20;

/// Writes values as text up to a limit: in a small file, lists can share lists so often that their
/// text would be practically endless.
class TextWriter {
 public:
  std::string take() {
    if (text_.size() > kMaxText) text_ += "...";
    return std::move(text_);
  }

  void value(const c10::IValue& value) {
    const auto write_element = [this](const c10::IValue& item) { element(item); };
    if (value.isTuple()) {
      const auto& elements = value.toTupleRef().elements();
      items("(", elements, write_element, elements.size() == 1 ? ",)" : ")");
    } else if (value.isList()) {
      items("[", value.toListRef(), write_element, "]");
    } else if (value.isGenericDict()) {
      const auto write_entry = [this](const auto& entry) {
        element(entry.key());
        text_ += ": ";
        element(entry.value());
      };
      items("{", value.toGenericDict(), write_entry, "}");
    } else {
      text_ += to_text(value);
    }
  }

 private:
  // Strings in containers are quoted, as by Python's repr; on their own they are not.
  void element(const c10::IValue& item) {
    if (item.isString()) {
      text_ += "'" + item.toStringRef() + "'";
    } else {
      value(item);
    }
  }

  template <typename Items, typename Write>
  void items(const char* open, const Items& items, const Write& write, const char* close) {
    text_ += open;
    const char* separator = "";
    for (const auto& item : items) {
      // Without the closing bracket: take() shows that the text goes on.
      if (text_.size() > kMaxText) return;
      text_ += std::exchange(separator, ", ");
      write(item);
    }
    text_ += close;
  }

  std::string text_;
};

const c10::IValue& checked(const NamedValues& values, std::string_view name,
                           bool (c10::IValue::*is)() const, const char* wanted) {
  const c10::IValue& value = values.at(name);
  TORCH_CHECK_TYPE((value.*is)(), name, ": expected ", wanted, ", found ", value.tagKind(), " ",
                   to_text(value));
  return value;
}

}  // namespace

NamedValues::Entry::Entry(std::string name, std::initializer_list<int64_t> integers)
    : name(std::move(name)), value(tuple_of(integers)) {}

NamedValues::NamedValues(std::initializer_list<Entry> entries) {
  for (const Entry& entry : entries) set(entry.name, entry.value);
}

const c10::IValue* NamedValues::find(std::string_view name) const noexcept {
  const auto entry = std::ranges::find(entries_, name, &Entry::name);
  return entry == entries_.end() ? nullptr : &entry->value;
}

const c10::IValue& NamedValues::at(std::string_view name) const {
  const c10::IValue* value = find(name);
  WINNOW_CHECK_KEY(value != nullptr, "there is no value named '", name, "'");
  return *value;
}

template <>
double NamedValues::get<double>(std::string_view name) const {
  // As in Python, where 1 does for 1.0.
  if (at(name).isInt()) return static_cast<double>(at(name).toInt());
  return checked(*this, name, &c10::IValue::isDouble, "a number").toDouble();
}

template <>
int64_t NamedValues::get<int64_t>(std::string_view name) const {
  return checked(*this, name, &c10::IValue::isInt, "an integer").toInt();
}

template <>
bool NamedValues::get<bool>(std::string_view name) const {
  return checked(*this, name, &c10::IValue::isBool, "a bool").toBool();
}

template <>
std::string NamedValues::get<std::string>(std::string_view name) const {
  return checked(*this, name, &c10::IValue::isString, "a string").toStringRef();
}

template <>
at::Tensor NamedValues::get<at::Tensor>(std::string_view name) const {
  return checked(*this, name, &c10::IValue::isTensor, "a tensor").toTensor();
}

void NamedValues::set(std::string_view name, c10::IValue value) {
  // In its place: the order of a dictionary is part of texts and files.
  const auto entry = std::ranges::find(entries_, name, &Entry::name);
  if (entry != entries_.end()) {
    entry->value = std::move(value);
  } else {
    entries_.emplace_back(std::string(name), std::move(value));
  }
}

void NamedValues::set(std::string_view name, std::initializer_list<int64_t> integers) {
  set(name, tuple_of(integers));
}

void NamedValues::update(const NamedValues& other) {
  // Nothing to do, and the loop would read what it writes.
  if (&other == this) return;
  for (const Entry& entry : other) set(entry.name, entry.value);
}

bool NamedValues::erase(std::string_view name) {
  return std::erase_if(entries_, [&](const Entry& entry) { return entry.name == name; }) > 0;
}

NamedValues NamedValues::deep_copy() const {
  // Appended directly: names are known to differ, and set would search.
  NamedValues copy;
  for (const Entry& entry : entries_) copy.entries_.emplace_back(entry.name, copy_of(entry.value));
  return copy;
}

std::string to_text(const c10::IValue& value) {
  // Scalars need no writer, and they are what most messages show.
  if (value.isNone()) return "None";
  if (value.isBool()) return value.toBool() ? "True" : "False";
  if (value.isInt()) return std::to_string(value.toInt());
  if (value.isDouble()) return number_text(value.toDouble());
  if (value.isString()) return value.toStringRef();
  if (value.isTensor()) return tensor_text(value.toTensor());
  if (value.isTuple() || value.isList() || value.isGenericDict()) {
    TextWriter writer;
    writer.value(value);
    return writer.take();
  }
  return "<" + value.tagKind() + ">";
}

}  // namespace winnow
