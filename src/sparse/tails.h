// Private: tails, numbers of a few noisy bits, as streams of planes (bit_planes.h).
#pragma once

#include "base/status_macros.h"
#include "sparse/bit_planes.h"
#include "sparse/stream.h"

namespace winnow::sparse {

/// Appends the planes of numbers of `bits` bits, each a stream.
template <typename Number>
void append_tails(std::span<const Number> numbers, unsigned bits, StreamWriter& streams,
                  Bytes& plane, Bytes& out) {
  for (unsigned shift = 0; shift < bits;) {
    const unsigned width = next_width(bits - shift);
    plane.resize(plane_bytes(numbers.size(), width));
    switch (width) {
      case 16:
        write_plane<16>(numbers, shift, plane.data());
        break;
      case 8:
        write_plane<8>(numbers, shift, plane.data());
        break;
      case 4:
        write_plane<4>(numbers, shift, plane.data());
        break;
      case 2:
        write_plane<2>(numbers, shift, plane.data());
        break;
      default:
        write_plane<1>(numbers, shift, plane.data());
    }
    streams.append(plane, StreamContent::kSymbols, out);
    shift += width;
  }
}

/// The buffers of planes that are not read in place: at most 3 of 16 bits, and those of 8, 4, 2, 1.
using PlaneBuffers = std::array<Bytes, 7>;

/// Takes the planes of n numbers of kBits bits. They stay valid as long as the bytes of `from` and
/// `buffers`. Errors: those of streams.
template <unsigned kBits, typename Number>
Result<Planes<kBits, Number>> read_tails(size_t n, ByteReader& from, StreamReader& streams,
                                         PlaneBuffers& buffers) {
  Planes<kBits, Number> planes;
  unsigned left = kBits;
  for (size_t p = 0; p < planes.begins.size(); ++p) {
    const unsigned width = next_width(left);
    WINNOW_ASSIGN_OR_RETURN(const auto bytes,
                            streams.read(from, plane_bytes(n, width), buffers[p]));
    planes.begins[p] = bytes.data();
    left -= width;
  }
  return planes;
}

/// Calls function(std::integral_constant) with `bits`, a number of 1 to kMax; else
/// function(std::integral_constant<unsigned, 0>()).
template <unsigned kMax, unsigned kBits = 1, typename Function>
Status with_bits(unsigned bits, const Function& function) {
  if (bits == kBits) return function(std::integral_constant<unsigned, kBits>());
  if constexpr (kBits < kMax) return with_bits<kMax, kBits + 1>(bits, function);
  return function(std::integral_constant<unsigned, 0>());
}

}  // namespace winnow::sparse
