// Reaps what this process adopted as child subreaper: what killed shims have left behind, and
// children whose environment closed before they ended.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "registry.h"

namespace morch {

inline constexpr int kOrphanCheckMs = 100;
inline constexpr int kOrphanIdleCheckMs = 400;  // while there is no zombie

// Reaper thread only.
//
// Waiting for a child of Node's child_process would lose its exit event, so adopted orphans are
// told from those by their session:
//  1. the agent's own session: Node's, left alone for good;
//  2. a session led by another process: adopted for certain, reaped at first sight;
//  3. a session of its own: an orphan that called setsid, or a `detached` child of Node's. libuv
//     reaps its children when its event loop turns, so what is still a zombie after every loop of
//     this process has turned twice is an orphan. (Twice: the first turn may have been past the
//     poll for SIGCHLD. A loop that stands still therefore delays these, and only these, orphans.)
class Orphans {
 public:
  // @param is_ours  true for what is registered or just being started, whose exit status is waited
  //   for elsewhere
  // @param registry  knows the event loops
  Orphans(std::function<bool(pid_t)> is_ours, Registry* registry);

  // Reaps adopted zombies. While nothing is adopted it costs no more than a look at one short file;
  // while there is no zombie, a system call in which the kernel looks at each child.
  // @returns whether there was a zombie: then call it again after kOrphanCheckMs, else after
  // kOrphanIdleCheckMs
  bool reap_zombies();

 private:
  using Identity = std::pair<pid_t, uint64_t>;  // pid, start time
  using Ambiguous = std::map<Identity, uint64_t>;
  static constexpr uint64_t kTurns = 2;
  static constexpr uint32_t kChecksPerSearch = 8;

  // Whether there may be children of this process that are neither under watch nor Node's.
  bool may_have_adopted();

  void reap_if_adopted(pid_t pid, Ambiguous* still_ambiguous);
  void ask_again();

  const std::function<bool(pid_t)> is_ours_;
  Registry* const registry_;
  const pid_t own_session_;
  uint32_t checks_ = 0;
  uint64_t round_ = 0;   // of asking all event loops to turn; the current one is not answered yet
  Ambiguous ambiguous_;  // zombies of kind 3, and the round in which each was first seen
};

}  // namespace morch
