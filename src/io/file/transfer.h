// Private: reads and writes that go on until all is done, whatever the system does in one call.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>

namespace winnow::io {

/// Linux moves at most 2^31 - 4096 bytes in one call; a round number below that.
inline constexpr size_t kMaxTransfer = size_t{1} << 30;

/// How many bytes were moved, and the errno that ended it; 0 for none.
struct Transfer {
  size_t bytes = 0;
  int error = 0;
};

/// Calls `move_some(done, count)`, which moves up to `count` bytes from the offset `done` on and
/// answers like read(2) and write(2), until `total` bytes are moved, it answers 0 or it fails.
template <typename MoveSome>
Transfer transfer_fully(size_t total, const MoveSome& move_some) {
  size_t done = 0;
  while (done < total) {
    const auto moved = move_some(done, std::min(total - done, kMaxTransfer));
    if (moved < 0 && errno == EINTR) continue;
    if (moved < 0) return {done, errno};
    if (moved == 0) break;
    done += static_cast<size_t>(moved);
  }
  return {done, 0};
}

/// Repeats a call that answers -1 with EINTR; returns its errno, 0 for none.
template <typename Call>
int call_uninterrupted(const Call& call) {
  while (call() < 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

}  // namespace winnow::io
