// Waits for whatever has become the shim's child: the main process, and descendants that lost their
// parents.
#pragma once

#include "kernel.h"

namespace morch::shim {

struct Exit {
  pid_t pid;
  int code;    // -1 when killed by a signal
  int signal;  // 0 when it exited
  uint64_t user_us;
  uint64_t system_us;
  uint64_t max_rss_kib;  // of it or of its largest waited-for descendant
};

enum class Reaped {
  kOne,        // there may be more
  kNone,       // all children live
  kNoChildren  // and none will come: who has no child has no descendant
};

// Does not wait.
Reaped reap_one(Exit* exit);

}  // namespace morch::shim
