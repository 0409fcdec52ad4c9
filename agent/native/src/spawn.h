// Starts one program and reports how that went, exec included.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>

#include "clone_child.h"
#include "result.h"
#include "spawn_plan.h"
#include "unique_fd.h"

namespace morch {

struct StartedProcess {
  pid_t pid;
  uint64_t start_ticks;  // field 22 of /proc/pid/stat
  UniqueFd pidfd;
};

// Clones, and returns once the program runs (exec succeeded). On failure the child is reaped and
// nothing is left of it; the failure names the child's own system call. There is no failure after
// the exec: from then on a shim may have started its workload.
//
// Spawn worker thread only: the child's parent-death signal is tied to the calling *thread*.
// @param starting  holds the child's pid from before it can exit until the caller clears it
Result<StartedProcess> spawn_process(const SpawnPlan& plan, const ChildStack& stack,
                                     std::atomic<pid_t>* starting);

}  // namespace morch
