#include "orphans.h"

#include <unistd.h>

#include <vector>

#include "proc_file.h"
#include "syscalls.h"

namespace morch {

Orphans::Orphans(std::function<bool(pid_t)> is_ours)
    : is_ours_(std::move(is_ours)), own_session_(::getsid(0)) {}

bool Orphans::reap_zombies() {
  siginfo_t info = {};
  const int result = retry_eintr([&] {
    return sys::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT, nullptr);
  });
  if (result == -1 || info.si_pid == 0) {
    ambiguous_.clear();
    return result != -1;
  }
  // The peek always shows the same zombie first, and that one may be libuv's. So it only says that
  // there is something to look for.
  std::vector<pid_t> children;
  children_of_all_threads(::getpid(), &children);
  std::map<Identity, Clock::time_point> still_ambiguous;
  for (const pid_t pid : children) reap_if_adopted(pid, &still_ambiguous);
  ambiguous_ = std::move(still_ambiguous);
  return true;
}

void Orphans::reap_if_adopted(pid_t pid, std::map<Identity, Clock::time_point>* still_ambiguous) {
  if (is_ours_(pid)) return;
  // The descriptor pins the identity: should `pid` go away and come back as a workload, the wait
  // below still means this process.
  UniqueFd pidfd(sys::pidfd_open(pid));
  Result<UniqueFd> stat = open_process_file(pid, "stat");
  ProcessStat now;
  if (!pidfd.valid() || !stat.ok() || !read_process_stat(stat.value().get(), &now)) return;
  if (now.state != 'Z' || now.session == own_session_ || is_ours_(pid)) return;
  if (now.session == pid) {
    const Identity identity(pid, now.start_ticks);
    const auto known = ambiguous_.find(identity);
    const Clock::time_point first_seen = known == ambiguous_.end() ? Clock::now() : known->second;
    if (Clock::now() - first_seen < kAmbiguousMs) {
      still_ambiguous->emplace(identity, first_seen);
      return;
    }
  }
  siginfo_t info = {};
  retry_eintr([&] {
    return sys::waitid(sys::kWaitByPidfd, pidfd.get(), &info, WEXITED | WNOHANG, nullptr);
  });
}

}  // namespace morch
