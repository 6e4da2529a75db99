// Torch archives made by hand, byte by byte: a zip whose every field can be set, a pickle spelled
// in opcodes, and a file in memory to read them from.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "winnow/io/env.h"

namespace winnow::testing {

/// Bytes as a file.
class MemoryFile final : public RandomAccessFile {
 public:
  explicit MemoryFile(std::string content) : content_(std::move(content)) {}

  Result<size_t> read_at(uint64_t offset, std::span<std::byte> out) const override {
    const size_t at = std::min<uint64_t>(offset, content_.size());
    const size_t bytes = std::min(out.size(), content_.size() - at);
    if (bytes > 0) std::memcpy(out.data(), content_.data() + at, bytes);
    return bytes;
  }
  Result<FileIdentity> identity() const override {
    FileIdentity out;
    out.size = content_.size();
    return out;
  }

 private:
  std::string content_;
};

inline std::string le(uint64_t value, size_t bytes) {
  std::string out;
  for (size_t i = 0; i < bytes; ++i, value >>= 8) out.push_back(static_cast<char>(value));
  return out;
}

/// CRC-32 bit by bit: as the standard says it, and not as the library computes it.
inline uint32_t plain_crc32(std::string_view bytes) {
  uint32_t crc = ~uint32_t{0};
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc;
}

/// A header's fields, wherever it stands. Unset sizes follow from the rest.
struct HeaderFields {
  uint32_t signature = 0;
  uint16_t version = 20;
  uint16_t flags = 0;
  uint16_t method = 0;
  uint32_t crc = 0;
  uint32_t stored_bytes = 0;
  uint32_t bytes = 0;
  std::string name = {};
  std::string extra = {};
  std::string comment = {};  // of the directory only, as what follows
  uint16_t disk = 0;
  uint32_t attributes = 0;
  uint32_t offset = 0;
};

struct ZipEntry {
  std::string payload;
  HeaderFields local;
  HeaderFields central;
  std::string descriptor = {};  // behind the payload
  std::string before = {};      // bytes in front of the record
};

/// A plain entry as Python's zipfile writes it.
inline ZipEntry zip_entry(const std::string& name, const std::string& payload) {
  HeaderFields fields;
  fields.crc = plain_crc32(payload);
  fields.bytes = fields.stored_bytes = static_cast<uint32_t>(payload.size());
  fields.name = name;
  ZipEntry out{payload, fields, fields};
  out.local.signature = 0x04034b50;
  out.central.signature = 0x02014b50;
  return out;
}

/// The same as torch writes it: sizes and CRC behind the payload.
inline ZipEntry torch_entry(const std::string& name, const std::string& payload) {
  ZipEntry out = zip_entry(name, payload);
  out.local.flags = out.central.flags = 0x808;
  out.local.extra = "FB" + le(3, 2) + "ZZZ";
  out.descriptor =
      le(0x08074b50, 4) + le(out.local.crc, 4) + le(payload.size(), 4) + le(payload.size(), 4);
  out.local.crc = out.local.bytes = out.local.stored_bytes = 0;
  return out;
}

struct EndFields {
  uint32_t signature = 0x06054b50;
  uint16_t disk = 0;
  uint16_t first_disk = 0;
  uint64_t records_here = 0;
  uint64_t records = 0;
  uint64_t directory_bytes = 0;
  uint64_t directory_offset = 0;
  std::string comment = {};
};

/// A whole zip. Offsets and the end record are computed; `edit` may change the directory's headers
/// and the end record after that.
struct ZipImage {
  std::vector<ZipEntry> entries;
  std::string before_directory = {};
  std::string after_directory = {};
  std::string end64 = {};  // zip64 end record and locator, in front of the end record
  std::string after_end = {};
  std::function<void(std::vector<ZipEntry>&, EndFields&)> edit = {};

  std::string build() const {
    std::vector<ZipEntry> all = entries;
    std::string out;
    for (ZipEntry& entry : all) {
      out += entry.before;
      entry.central.offset = static_cast<uint32_t>(out.size());
      out += local(entry.local) + entry.payload + entry.descriptor;
    }
    out += before_directory;
    EndFields end;
    end.records = end.records_here = all.size();
    end.directory_offset = out.size();
    std::vector<ZipEntry> edited = all;
    if (edit) edit(edited, end);
    std::string directory;
    for (const ZipEntry& entry : edited) directory += central(entry.central);
    if (end.directory_bytes == 0) end.directory_bytes = directory.size();
    return out + directory + after_directory + end64 + text(end) + after_end;
  }

  static std::string common(const HeaderFields& f) {
    return le(f.flags, 2) + le(f.method, 2) + le(0, 2) + le(33, 2) + le(f.crc, 4) +
           le(f.stored_bytes, 4) + le(f.bytes, 4) + le(f.name.size(), 2) + le(f.extra.size(), 2);
  }
  static std::string local(const HeaderFields& f) {
    return le(f.signature, 4) + le(f.version, 2) + common(f) + f.name + f.extra;
  }
  static std::string central(const HeaderFields& f) {
    return le(f.signature, 4) + le(20, 2) + le(f.version, 2) + common(f) + le(f.comment.size(), 2) +
           le(f.disk, 2) + le(0, 2) + le(f.attributes, 4) + le(f.offset, 4) + f.name + f.extra +
           f.comment;
  }
  static std::string text(const EndFields& e) {
    return le(e.signature, 4) + le(e.disk, 2) + le(e.first_disk, 2) + le(e.records_here, 2) +
           le(e.records, 2) + le(e.directory_bytes, 4) + le(e.directory_offset, 4) +
           le(e.comment.size(), 2) + e.comment;
  }
};

/// The records that every archive has, around a pickle; payloads become data/0, data/1...
inline ZipImage archive_image(const std::string& pickle,
                              const std::vector<std::string>& payloads = {}) {
  ZipImage out;
  out.entries.push_back(zip_entry("a/data.pkl", pickle));
  out.entries.push_back(zip_entry("a/byteorder", "little"));
  for (size_t i = 0; i < payloads.size(); ++i) {
    out.entries.push_back(zip_entry("a/data/" + std::to_string(i), payloads[i]));
  }
  out.entries.push_back(zip_entry("a/version", "3\n"));
  return out;
}

/// As torch.serialization.set_crc32_options(False) has it: 0 in the place of every CRC.
inline ZipImage without_checksums(ZipImage image) {
  for (ZipEntry& entry : image.entries) {
    entry.local.crc = entry.central.crc = 0;
    if (!entry.descriptor.empty()) entry.descriptor.replace(4, 4, 4, '\0');
  }
  return image;
}

namespace pkl {

inline std::string program(const std::string& body) { return "\x80\x02" + body + "."; }
inline std::string text(std::string_view value) {
  return "X" + le(value.size(), 4) + std::string(value);
}
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string integer(int64_t value) {
  return "\x8a\x08" + le(static_cast<uint64_t>(value), 8);
}
inline std::string tuple(const std::vector<std::string>& items) {
  std::string out = "(";
  for (const std::string& item : items) out += item;
  return out + "t";
}
inline std::string ints(const std::vector<int64_t>& values) {
  std::vector<std::string> items;
  for (const int64_t value : values) items.push_back(integer(value));
  return tuple(items);
}
inline std::string call(const std::string& callee, const std::vector<std::string>& args) {
  return callee + tuple(args) + "R";
}
inline std::string ordered_dict() { return call(global("collections", "OrderedDict"), {}); }

/// Persistent id of storage `number`.
inline std::string storage(const std::string& storage_class, int64_t numel,
                           const std::string& number = "0") {
  const std::string module = storage_class == "UntypedStorage" ? "torch.storage" : "torch";
  return tuple({text("storage"), global(module, storage_class), text(number), text("cpu"),
                integer(numel)}) +
         "Q";
}

inline std::string rebuild(const std::string& name) { return global("torch._utils", name); }

/// A tensor on a storage.
inline std::string tensor(const std::string& storage, const std::vector<int64_t>& shape,
                          const std::vector<int64_t>& strides, int64_t offset = 0) {
  return call(rebuild("_rebuild_tensor_v2"),
              {storage, integer(offset), ints(shape), ints(strides), "\x89", ordered_dict()});
}

inline std::string size(const std::vector<int64_t>& sizes) {
  return call(global("torch", "Size"), {ints(sizes)});
}

inline std::string layout(const std::string& name) {
  return call(global("torch.serialization", "_get_layout"), {text(name)});
}

inline std::string sparse(const std::string& indices, const std::string& values,
                          const std::vector<int64_t>& shape, const std::string& coalesced) {
  return call(rebuild("_rebuild_sparse_tensor"),
              {layout("torch.sparse_coo"), tuple({indices, values, size(shape), coalesced})});
}

}  // namespace pkl
}  // namespace winnow::testing
