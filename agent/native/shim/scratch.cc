#include "scratch.h"

#include <sys/mman.h>

#include "clock.h"

namespace morch::shim::scratch {

namespace {

constexpr uint64_t kIdleMs = 1000;
constexpr size_t kPageBytes = 4096;  // where pages are larger, madvise refuses and the pages stay

uint64_t release_at_ms = 0;  // 0: released

}  // namespace

alignas(kPageBytes) uint8_t bytes[kBytes];

void used(uint64_t now_ms) {
  // Not moved at every use: output that trickles would set the timer anew each time.
  if (release_at_ms == 0) release_at_ms = now_ms + kIdleMs;
}

uint64_t release_when_idle(uint64_t now_ms) {
  if (release_at_ms == 0) return kNever;
  if (now_ms < release_at_ms) return release_at_ms;
  sys::madvise(bytes, kBytes, MADV_DONTNEED);
  release_at_ms = 0;
  return kNever;
}

}  // namespace morch::shim::scratch
