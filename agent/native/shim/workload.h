// Starts the workload's main process. What the child needs is laid out before the clone; between
// clone and exec there are system calls only.
#pragma once

#include "failure.h"
#include "kernel.h"
#include "plan.h"

namespace morch::shim {

struct Workload {
  pid_t pid;
  uint64_t start_ticks;
  int output[2];  // the reading ends of its stdout and stderr, non-blocking
};

// Returns once the workload's program runs, in a session of its own, with SIGKILL when the shim
// dies. On failure nothing is left of it.
//
// @param cgroup  directory of its group; negative: none
bool start_workload(const Plan& plan, int cgroup, Workload* workload, Failure* failure);

}  // namespace morch::shim
