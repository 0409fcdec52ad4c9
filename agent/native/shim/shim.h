// One run, from its start to the end of its tree: joins the parts, none of which knows another.
#pragma once

#include "cgroup.h"
#include "failure.h"
#include "lease.h"
#include "logs.h"
#include "notices.h"
#include "plan.h"
#include "reap.h"
#include "record.h"
#include "stop.h"
#include "timer.h"
#include "workload.h"

namespace morch::shim {

inline constexpr int kExitDone = 0;
inline constexpr int kExitNotStarted = 2;
inline constexpr int kExitNoPlan = 3;

class Shim {
 public:
  // Makes the state file, then starts the workload, and records either way. After it the plan is no
  // longer needed. False when there can be no record: the shim has nothing left to do.
  bool start(const Plan& plan);

  // Until something has happened or is due.
  void wait();
  void take_signals();
  // Fence, stop, output, record, notices: whatever is due.
  void act();
  // The tree is gone and its end is recorded or known.
  bool is_done() const;
  // The last of the output, and the last line. @returns the exit code
  int finish();

 private:
  bool try_start(const Plan& plan, Workload* workload, Failure* failure);
  bool is_late(const Plan& plan) const;
  void reap();
  void main_ended(const Exit& exit);
  uint64_t act_fence(uint64_t now_ms);
  uint64_t act_record(uint64_t now_ms);
  uint64_t hand_over(uint64_t now_ms);
  void tell_unrecorded_end(uint64_t now_ms);
  Line started_line(const Workload& workload) const;
  Line failed_line(const Failure& failure) const;
  Line exited_line(bool durable) const;
  Line gone_line() const;
  Line result_line(bool durable) const;

  Text<72> nonce_;
  pid_t pid_ = 0;
  uint64_t start_ticks_ = 0;

  int signals_ = -1;
  Timer timer_;
  // What the last wait() has found.
  bool has_signal_ = false;
  bool has_output_[2] = {false, false};
  Cgroup cgroup_;
  Lease lease_;
  Logs logs_;
  Record record_;
  Stop stop_;

  pid_t main_ = 0;  // 0: not started
  bool main_ended_ = false;
  bool fenced_ = false;  // the fence has stopped it, nobody else before
  bool out_of_memory_ = false;
  Exit exit_ = {};
  Failure failure_ = {};
  uint64_t exited_at_ms_ = 0;

  // The record of the end.
  bool has_result_ = false;
  bool is_final_ = false;  // output drained, numbers fixed
  bool told_ = false;      // a notice of it was sent
  bool told_gone_ = false;
  bool durable_ = false;
  bool acknowledged_ = false;
  uint64_t hand_over_ms_ = 0;  // from the plan; 0: not any more
  uint64_t dropped_bytes_ = 0;
  uint64_t record_due_ms_ = kNever;
  uint64_t look_at_lease_ms_ = 0;

  // Last: so that all that is used of the shim's memory lies on one page, the end of a long path
  // apart.
  Notices notices_;
};

}  // namespace morch::shim
