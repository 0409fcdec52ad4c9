// The two clocks: one for deadlines, which goes on while the machine is suspended, and the wall's.
#pragma once

#include "kernel.h"

namespace morch::shim {

inline constexpr uint64_t kNever = UINT64_MAX;

inline struct timespec read_clock(int clock) {
  struct timespec now;
  sys::clock_gettime(clock, &now);
  return now;
}

// CLOCK_BOOTTIME, milliseconds: every deadline of the shim, and the lease page, count in it.
inline uint64_t boot_ms() {
  const struct timespec now = read_clock(CLOCK_BOOTTIME);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1'000'000;
}

// Since 1970, microseconds. May be set back.
inline uint64_t wall_us() {
  const struct timespec now = read_clock(CLOCK_REALTIME);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

// a + b, never past kNever.
inline uint64_t later(uint64_t at_ms, uint64_t by_ms) {
  return by_ms > kNever - at_ms ? kNever : at_ms + by_ms;
}

inline uint64_t earliest(uint64_t a_ms, uint64_t b_ms) { return a_ms < b_ms ? a_ms : b_ms; }

}  // namespace morch::shim
