// Asked by tests/python/torch_archives.py.
//
//   torch_archive_check dump FILE       what the archive holds, as JSON, payloads as hexadecimal
//   torch_archive_check copy FROM TO    reads and writes again
//                                       (both: with --no-checksums at the end, also archives that
//                                       were written without them)
//   torch_archive_check judge           judges files from the standard input, each behind its
//   length
//                                       in 8 bytes, the lowest first; a line of JSON for each
//
// A malformed file ends the first two with 1 and the code's name on the standard output.
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "support/torch_image.h"
#include "winnow/io/torch_archive.h"
#include "winnow/io/torch_archive_writer.h"

namespace {

using winnow::DType;
using winnow::Env;
using winnow::Result;
using winnow::Status;
using winnow::TorchArchive;
using winnow::TorchArchiveWriter;
using winnow::TorchKind;
using winnow::TorchSparseTensor;
using winnow::TorchTensor;
using winnow::TorchValue;

std::string hex(std::span<const std::byte> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "\"";
  for (const std::byte byte : bytes) {
    out += kDigits[std::to_integer<uint8_t>(byte) >> 4];
    out += kDigits[std::to_integer<uint8_t>(byte) & 15];
  }
  return out + "\"";
}

std::string hex(std::string_view text) { return hex(std::as_bytes(std::span(text))); }

std::string list(std::span<const uint64_t> numbers) {
  std::string out = "[";
  for (const uint64_t number : numbers) {
    if (out.size() > 1) out += ",";
    out += std::to_string(number);
  }
  return out + "]";
}

std::string flag(bool value) { return value ? "true" : "false"; }

// Writes values as ["kind", ...]; the first error ends it.
class Dump {
 public:
  explicit Dump(const TorchArchive& archive) : archive_(archive) {}

  const Status& status() const { return status_; }

  std::string value(TorchValue v) {
    const std::string kind = "[\"" + std::string(torch_kind_name(v.kind())) + "\"";
    switch (v.kind()) {
      case TorchKind::kNone:
        return kind + "]";
      case TorchKind::kBool:
        return kind + "," + flag(*v.as_bool()) + "]";
      case TorchKind::kInt:
        return kind + "," + std::to_string(*v.as_int()) + "]";
      case TorchKind::kFloat: {
        const double real = *v.as_float();
        return kind + "," + hex(std::as_bytes(std::span(&real, 1))) + "]";
      }
      case TorchKind::kString:
        return kind + "," + hex(*v.as_string()) + "]";
      case TorchKind::kDtype:
        return kind + ",\"" + std::string(dtype_name(*v.as_dtype())) + "\"]";
      case TorchKind::kTensor:
        return kind + "," + tensor(*v.as_tensor()) + "]";
      case TorchKind::kSparseTensor:
        return kind + "," + sparse(*v.as_sparse()) + "]";
      case TorchKind::kDict:
        return kind + "," + dict(v) + "]";
      default:
        return kind + "," + items(v) + "]";
    }
  }

 private:
  std::string items(TorchValue v) {
    std::string out = "[";
    for (size_t i = 0; i < v.size(); ++i) out += (i > 0 ? "," : "") + value(v[i]);
    return out + "]";
  }

  std::string dict(TorchValue v) {
    std::string out = flag(v.is_ordered()) + ",[";
    for (size_t i = 0; i < v.size(); ++i) {
      out += (i > 0 ? ",[" : "[") + value(v.key(i)) + "," + value(v.value(i)) + "]";
    }
    return out + "]," + (v.attributes() ? value(*v.attributes()) : "null");
  }

  std::string tensor(const TorchTensor& t) {
    std::vector<std::byte> bytes;
    const uint64_t size = dtype_bits(t.dtype) / 8;
    const bool small = t.numel() < (1 << 20);  // an expanded one may have any size
    if (small) {
      bytes.resize(t.numel() * size);
      keep(archive_.read_tensor(t, bytes));
    }
    return "{\"dtype\":\"" + std::string(dtype_name(t.dtype)) + "\",\"shape\":" + list(t.shape) +
           ",\"strides\":" + list(t.strides) + ",\"offset\":" + std::to_string(t.offset) +
           ",\"storage\":" + std::to_string(t.storage) +
           ",\"requires_grad\":" + flag(t.requires_grad) +
           ",\"parameter\":" + flag(t.is_parameter) + ",\"data\":" + (small ? hex(bytes) : "null") +
           "}";
  }

  std::string sparse(const TorchSparseTensor& t) {
    if (t.indices.numel() >= (1 << 20) || t.values.numel() >= (1 << 20)) return "{}";
    std::vector<int64_t> indices(t.indices.numel());
    std::vector<std::byte> values(t.values.numel() * (dtype_bits(t.values.dtype) / 8));
    keep(archive_.read_sparse(t, indices, values));
    return "{\"indices\":" + tensor(t.indices) + ",\"values\":" + tensor(t.values) +
           ",\"shape\":" + list(t.shape) + ",\"coalesced\":" + flag(t.is_coalesced) + "}";
  }

  void keep(const Status& status) {
    if (status_.ok()) status_ = status;
  }

  const TorchArchive& archive_;
  Status status_;
};

Status dump(const TorchArchive& archive, std::string& out) {
  for (size_t i = 0; i < archive.storages().size(); ++i) {
    std::vector<std::byte> bytes(archive.storages()[i].bytes());
    const Status read = archive.read_storage(i, bytes);
    if (!read.ok()) return read;
  }
  Dump dump(archive);
  out = dump.value(archive.root());
  return dump.status();
}

Status copy(const TorchArchive& archive, const std::string& to) {
  Result<TorchArchiveWriter> writer =
      TorchArchiveWriter::create(Env::posix(), to, archive.tree(), archive.storages());
  if (!writer.ok()) return writer.status();
  for (size_t i = 0; i < archive.storages().size(); ++i) {
    std::vector<std::byte> bytes(archive.storages()[i].bytes());
    const Status read = archive.read_storage(i, bytes);
    if (!read.ok()) return read;
    const Status written = writer->append_storage(bytes);
    if (!written.ok()) return written;
  }
  return writer->commit();
}

Status judge(std::string file, std::string& out) {
  Result<TorchArchive> archive =
      TorchArchive::open(std::make_unique<winnow::testing::MemoryFile>(std::move(file)), "input");
  return archive.ok() ? dump(*archive, out) : archive.status();
}

bool read_exactly(std::string& out) {
  std::cin.read(out.data(), static_cast<std::streamsize>(out.size()));
  return std::cin.gcount() == static_cast<std::streamsize>(out.size());
}

int judge_all() {
  std::string length_bytes(8, '\0');
  while (read_exactly(length_bytes)) {
    uint64_t length = 0;
    for (size_t i = 8; i-- > 0;) length = length << 8 | static_cast<uint8_t>(length_bytes[i]);
    std::string file(length, '\0'), out;
    if (!read_exactly(file)) return 1;
    const Status status = judge(std::move(file), out);
    if (!status.ok()) out = "\"" + std::string(status.code().name) + "\"";
    std::cout << out << '\n';
  }
  return std::cout.flush() ? 0 : 1;
}

int report(const Status& status) {
  if (status.ok()) return 0;
  std::cout << status.code().name << '\n';
  std::cerr << status.message() << '\n';
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv, argv + argc);
  if (args.size() == 2 && args[1] == "judge") return judge_all();
  if (args.size() < 3) return 2;
  const Result<TorchArchive> archive = TorchArchive::open(
      Env::posix(), args[2], {.allow_missing_checksums = args.back() == "--no-checksums"});
  if (!archive.ok()) return report(archive.status());
  if (args[1] == "copy") return report(copy(*archive, args.at(3)));
  std::string out;
  const Status status = dump(*archive, out);
  if (status.ok()) std::cout << out << '\n';
  return report(status);
}
