#include "scratch.h"

#include <sys/mman.h>

#include "clock.h"

namespace morch::shim::scratch {

namespace {

constexpr uint64_t kIdleMs = 1000;
constexpr size_t kPageBytes = 4096;  // where pages are larger, madvise refuses and the pages stay

constexpr uintptr_t kOwnFramesBytes = 512;  // of the calls that are under way

// 0: released. The linker sorts by alignment: this way it shares the page of the shim's own state.
alignas(64) uint64_t release_at_ms = 0;

// What deeper calls have used, the start above all.
void release_stack() {
  constexpr uintptr_t kReachBytes = 64 * 1024;
  const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  const uintptr_t end = (here - kOwnFramesBytes) / kPageBytes * kPageBytes;
  sys::madvise(reinterpret_cast<void*>(end - kReachBytes), kReachBytes, MADV_DONTNEED);
}

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
  release_stack();
  release_at_ms = 0;
  return kNever;
}

}  // namespace morch::shim::scratch
