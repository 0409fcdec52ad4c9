// How the tree ends: who is signalled when. Knows of deadlines, not of why a stop was asked for.
//
//               | stop asked for         | main process ended   | deadline        | nothing left
//   running     | signal → stopping (*)  | signal → stopping(*) |                 | → gone
//   stopping    | earlier deadline       | signal the new ones  | → killing       | → gone
//   killing     |                        |                      | SIGKILL again   | → gone
//
//   (*) killing, when the deadline is now
#pragma once

#include "cgroup.h"
#include "clock.h"
#include "kernel.h"
#include "tree.h"

namespace morch::shim {

enum class Phase : uint8_t { kRunning, kStopping, kKilling, kGone };

class Stop {
 public:
  // @param main  the main process, not reaped
  void watch(pid_t main, int signal, uint64_t grace_ms, const Cgroup* cgroup) {
    main_ = main;
    signal_ = signal;
    grace_ms_ = grace_ms;
    cgroup_ = cgroup;
  }

  Phase phase() const { return phase_; }
  uint64_t grace_ms() const { return grace_ms_; }
  // When SIGKILL began; kNever before.
  uint64_t killing_since_ms() const { return killing_since_ms_; }

  // SIGKILL is due at `kill_at_ms`; of several, the earliest counts.
  void ask(uint64_t now_ms, uint64_t kill_at_ms);
  // It has been reaped. What is left of its tree has the planned grace.
  void main_ended(uint64_t now_ms);
  // Some descendant has been reaped: its children may have become the shim's.
  void child_ended() { next_pass_ms_ = 0; }
  // There is no child left, so there is no descendant.
  void children_ended() { no_children_ = true; }

  // Does what is due. @returns when to call again: ms of boot_ms(), 0 at once, or kNever
  uint64_t act(uint64_t now_ms);

 private:
  void begin(uint64_t now_ms);
  void signal_new_ones();
  bool mark(const Process& process);
  uint64_t kill_pass(uint64_t now_ms);
  bool is_all_gone(uint64_t now_ms);

  const Cgroup* cgroup_ = nullptr;
  uint64_t grace_ms_ = 0;
  int signal_ = 0;
  pid_t main_ = 0;  // 0 once reaped
  Phase phase_ = Phase::kRunning;
  bool no_children_ = false;
  uint64_t kill_at_ms_ = kNever;
  uint64_t killing_since_ms_ = kNever;
  uint64_t childless_since_ms_ = kNever;
  uint64_t next_pass_ms_ = 0;
  uint64_t last_digest_ = 0;
  // One bit a pid: has had the stop signal. Those that began after `marked_at_ticks_` under such a
  // pid have not.
  uint8_t* marks_ = nullptr;
  uint64_t marked_at_ticks_ = 0;
};

}  // namespace morch::shim
