// The shim's one timer. On CLOCK_BOOTTIME, so that what was due while the machine was suspended is
// done when it wakes.
#pragma once

#include <sys/timerfd.h>

#include "clock.h"

namespace morch::shim {

class Timer {
 public:
  // Negative on failure: an errno.
  int open() { return fd_ = sys::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK); }
  int fd() const { return fd_; }

  // The descriptor becomes readable at `at_ms` of boot_ms(), which may be over; kNever: not at all.
  // It stays readable until it is set to another time.
  void set(uint64_t at_ms) {
    if (at_ms == set_to_ms_) return;
    set_to_ms_ = at_ms;
    struct itimerspec when = {};
    constexpr uint64_t kLongestMs = uint64_t{INT64_MAX} / 1'000'000;  // the kernel counts in ns
    if (at_ms < kLongestMs) {
      when.it_value.tv_sec = static_cast<time_t>(at_ms / 1000);
      when.it_value.tv_nsec = static_cast<long>(at_ms % 1000) * 1'000'000;
      if (at_ms == 0) when.it_value.tv_nsec = 1;  // 0 would disarm it
    }
    sys::timerfd_settime(fd_, TFD_TIMER_ABSTIME, &when);
  }

 private:
  int fd_ = -1;
  uint64_t set_to_ms_ = kNever;
};

}  // namespace morch::shim
