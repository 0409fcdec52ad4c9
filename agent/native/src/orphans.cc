#include "orphans.h"

#include <unistd.h>

#include <algorithm>
#include <vector>

#include "proc_file.h"
#include "syscalls.h"

namespace morch {

Orphans::Orphans(std::function<bool(pid_t)> is_ours, Registry* registry)
    : is_ours_(std::move(is_ours)), registry_(registry), own_session_(::getsid(0)) {}

bool Orphans::may_have_adopted() {
  // What is adopted becomes the main thread's (find_new_reaper in the kernel's exit.c), and has few
  // others beside it there: what is under watch was made by threads of ours. Were a kernel to do
  // otherwise, it would still be found, only later.
  if (++checks_ % kChecksPerSearch == 0) return true;
  std::vector<pid_t> children;
  children_of_main_thread(::getpid(), &children);
  return std::any_of(children.begin(), children.end(), [&](pid_t pid) { return !is_ours_(pid); });
}

bool Orphans::reap_zombies() {
  if (ambiguous_.empty() && !may_have_adopted()) return false;
  siginfo_t info = {};
  const int result =
      retry_eintr([&] { return sys::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT); });
  if (result == -1 || info.si_pid == 0) {
    ambiguous_.clear();
    return false;
  }
  // The peek always shows the same zombie first, and that one may be libuv's. So it only says that
  // there is something to look for.
  std::vector<pid_t> children;
  children_of_all_threads(::getpid(), &children);
  Ambiguous still_ambiguous;
  for (const pid_t pid : children) reap_if_adopted(pid, &still_ambiguous);
  ambiguous_ = std::move(still_ambiguous);
  if (!ambiguous_.empty()) ask_again();
  return true;
}

void Orphans::reap_if_adopted(pid_t pid, Ambiguous* still_ambiguous) {
  if (is_ours_(pid)) return;
  // The descriptor pins the identity: should `pid` go away and come back as a workload, the wait
  // below still means this process.
  UniqueFd pidfd(sys::pidfd_open(pid));
  Result<UniqueFd> stat = open_process_file(pid, "stat");
  ProcessStat now;
  if (!pidfd.valid() || !stat.ok() || !reread_process_stat(stat.value().get(), &now)) return;
  if (now.state != 'Z' || now.session == own_session_ || is_ours_(pid)) return;
  if (now.session == pid) {
    const Identity identity(pid, now.start_ticks);
    const auto known = ambiguous_.find(identity);
    const uint64_t first_seen = known == ambiguous_.end() ? round_ : known->second;
    // Rounds that began after the first sight, without the one under way now.
    if (round_ < first_seen + kTurns + 1) {
      still_ambiguous->emplace(identity, first_seen);
      return;
    }
  }
  siginfo_t info = {};
  retry_eintr(
      [&] { return sys::waitid(sys::kWaitByPidfd, pidfd.get(), &info, WEXITED | WNOHANG); });
}

void Orphans::ask_again() {
  if (!registry_->loops_answered()) return;
  ++round_;
  registry_->ask_loops();
}

}  // namespace morch
