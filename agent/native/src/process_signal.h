// Pins, signals and asks after processes that need not be our children. Any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "result.h"
#include "unique_fd.h"

namespace morch {

// A pidfd of the process that has this pid *and* this start time. Not valid when that one is gone.
Result<UniqueFd> pin_process(pid_t pid, uint64_t start_ticks);

// Sends `signal` to the process that has this pid and this start time, through a pidfd. False when
// it is gone or the pid belongs to another process. Signal 0 only asks.
Result<bool> signal_process(pid_t pid, uint64_t start_ticks, int signal);

// Field 22 of /proc/pid/stat; nothing when there is no such process.
std::optional<uint64_t> start_ticks_of(pid_t pid);

}  // namespace morch
