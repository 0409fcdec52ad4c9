// Who a process is: what the shim needs of /proc/<pid>/stat.
#pragma once

#include "kernel.h"

namespace morch::shim {

struct ProcessStat {
  char state;  // 'Z': a zombie
  pid_t parent;
  pid_t group;
  uint64_t threads;
  uint64_t start_ticks;  // field 22
};

// False when there is no such process (any more).
bool read_process_stat(pid_t pid, ProcessStat* stat);

}  // namespace morch::shim
