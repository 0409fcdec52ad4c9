#include "process_signal.h"

#include <signal.h>

#include "proc_file.h"
#include "syscalls.h"

namespace morch {

Result<UniqueFd> pin_process(pid_t pid, uint64_t start_ticks) {
  // pidfd_open would call a pid of 0 or less EINVAL too, as it does that of a thread.
  if (pid <= 0) return Failure{"pidfd_open", EINVAL, "pid " + std::to_string(pid)};
  UniqueFd pidfd(sys::pidfd_open(pid));
  if (!pidfd.valid() && errno != ESRCH && errno != EINVAL && errno != ENOENT) {
    return Failure{"pidfd_open", errno, "pid " + std::to_string(pid)};
  }
  // The pidfd is open, so a matching start time read now is that of the process it refers to: had
  // that one ended and its number been taken, the start time would be later.
  if (pidfd.valid() && start_ticks_of(pid) != start_ticks) pidfd.reset();
  return pidfd;
}

Result<bool> signal_process(pid_t pid, uint64_t start_ticks, int signal) {
  const Result<UniqueFd> pidfd = pin_process(pid, start_ticks);
  if (!pidfd.ok()) return pidfd.failure();
  if (!pidfd.value().valid()) return false;
  if (sys::pidfd_send_signal(pidfd.value().get(), signal, std::nullopt) == 0) return true;
  if (errno == ESRCH) return false;
  return Failure{"pidfd_send_signal", errno, "pid " + std::to_string(pid)};
}

std::optional<uint64_t> start_ticks_of(pid_t pid) {
  ProcessStat now;
  if (!read_process_stat(pid, &now)) return std::nullopt;
  return now.start_ticks;
}

}  // namespace morch
