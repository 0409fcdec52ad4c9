#include "process_signal.h"

#include <signal.h>

#include "proc_file.h"
#include "syscalls.h"

namespace morch {

Result<bool> signal_process(pid_t pid, uint64_t start_ticks, int signal) {
  if (pid <= 0) return Failure{"pidfd_open", EINVAL, "pid " + std::to_string(pid)};
  UniqueFd pidfd(sys::pidfd_open(pid));
  if (!pidfd.valid()) {
    // EINVAL: the pid is that of a thread, not of a process.
    if (errno == ESRCH || errno == EINVAL) return false;
    return Failure{"pidfd_open", errno, "pid " + std::to_string(pid)};
  }
  // The pidfd is open, so a matching start time read now is that of the process it refers to: had
  // that one ended and its number been taken, the start time would be later.
  if (start_ticks_of(pid) != start_ticks) return false;
  if (sys::pidfd_send_signal(pidfd.get(), signal) == 0) return true;
  if (errno == ESRCH) return false;
  return Failure{"pidfd_send_signal", errno, "pid " + std::to_string(pid)};
}

Result<bool> group_exists(pid_t pgid) {
  // kill(2) gives 0 and -1 other meanings: the caller's own group, and everyone.
  if (pgid <= 1) return Failure{"kill", EINVAL, "process group " + std::to_string(pgid)};
  return ::kill(-pgid, 0) == 0 || errno == EPERM;
}

std::optional<uint64_t> start_ticks_of(pid_t pid) {
  const Result<UniqueFd> stat = open_process_file(pid, "stat");
  ProcessStat now;
  if (!stat.ok() || !read_process_stat(stat.value().get(), &now)) return std::nullopt;
  return now.start_ticks;
}

}  // namespace morch
