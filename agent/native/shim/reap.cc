#include "reap.h"

#include <sys/wait.h>

#ifndef __WALL
#define __WALL 0x40000000
#endif

namespace morch::shim {

namespace {

uint64_t microseconds(const struct timeval& time) {
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000 + static_cast<uint64_t>(time.tv_usec);
}

}  // namespace

Reaped reap_one(Exit* exit) {
  siginfo_t info = {};
  struct rusage usage = {};
  // __WALL: also those made with another exit signal than SIGCHLD.
  if (sys::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL, &usage) < 0) {
    return Reaped::kNoChildren;
  }
  if (info.si_pid == 0) return Reaped::kNone;
  const bool exited = info.si_code == CLD_EXITED;
  *exit = {info.si_pid,
           exited ? info.si_status : -1,
           exited ? 0 : info.si_status,
           microseconds(usage.ru_utime),
           microseconds(usage.ru_stime),
           static_cast<uint64_t>(usage.ru_maxrss)};
  return Reaped::kOne;
}

}  // namespace morch::shim
