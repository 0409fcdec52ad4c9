// Reaps what this process adopted as child subreaper: descendants of workloads whose own parents
// ended (daemons that forked twice, helpers of a killed shell).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <utility>

namespace morch {

inline constexpr int kOrphanCheckMs = 100;
inline constexpr int kOrphanIdleCheckMs = 500;  // without any child

// Reaper thread only.
//
// Waiting for a child of Node's child_process would lose its exit event, so adopted orphans are told
// from those by their session:
//  1. the agent's own session: Node's, left alone for good;
//  2. a session led by another process: adopted for certain, reaped at first sight;
//  3. a session of its own: an orphan that called setsid, or a `detached` child of Node's. libuv reaps
//     its children as soon as the event loop turns, so what has been a zombie for kAmbiguousMs is
//     taken for an orphan.
class Orphans {
 public:
  // @param is_ours  true for the workloads' own processes, registered or just being started, whose
  //   exit status is waited for elsewhere
  explicit Orphans(std::function<bool(pid_t)> is_ours);

  // Reaps adopted zombies. Call every kOrphanCheckMs. Costs one system call when there is no zombie.
  // @returns false when this process has no children at all
  bool reap_zombies();

 private:
  using Clock = std::chrono::steady_clock;
  using Identity = std::pair<pid_t, uint64_t>;  // pid, start time
  static constexpr std::chrono::milliseconds kAmbiguousMs{600};

  void reap_if_adopted(pid_t pid, std::map<Identity, Clock::time_point>* still_ambiguous);

  const std::function<bool(pid_t)> is_ours_;
  const pid_t own_session_;
  std::map<Identity, Clock::time_point> ambiguous_;  // zombies of kind 3, and when first seen
};

}  // namespace morch
