#include "shim.h"

#include <errno.h>
#include <poll.h>
#include <sys/signalfd.h>

#include "process_stat.h"
#include "scratch.h"

namespace morch::shim {

namespace {

constexpr uint64_t kAllSignals = ~uint64_t{0};
constexpr uint64_t kRecordRetryMs = 1000;
// A disk that is slow to sync must not keep the rest of a tree alive: first SIGKILL, then the
// record.
constexpr uint64_t kKillBeforeRecordMs = 200;
constexpr uint64_t kUsPerMs = 1000;

}  // namespace

bool Shim::start(const Plan& plan) {
  pid_ = sys::getpid();
  ProcessStat self = {};
  read_process_stat(pid_, &self);
  start_ticks_ = self.start_ticks;
  nonce_ << plan.nonce;
  hand_over_ms_ = plan.hand_over_ms;
  notices_.open(plan.notices);

  Line first;
  first << "shim 1 " << nonce_.c_str() << ' ' << pid_ << ' ' << start_ticks_ << '\n';
  if (!record_.create(plan.state_dir, plan.run, first, &failure_)) {
    notices_.send(failed_line(failure_), 0);
    notices_.act(0);
    return false;
  }
  Workload workload;
  const uint64_t now_ms = boot_ms();
  if (!try_start(plan, &workload, &failure_)) {
    has_result_ = true;
    record_due_ms_ = now_ms;
    return true;
  }
  main_ = workload.pid;
  const Line started = started_line(workload);
  record_.add(started);
  notices_.send(started, now_ms);
  stop_.watch(main_, plan.stop_signal, plan.grace_ms, &cgroup_);
  logs_.start({plan.log_dir,
               {plan.log_first[0], plan.log_first[1]},
               plan.log_max_bytes,
               plan.log_files,
               static_cast<uint32_t>(plan.generation),
               static_cast<uint32_t>(plan.run)},
              workload.output);
  scratch::used(now_ms);  // the stack, by the start
  return true;
}

bool Shim::try_start(const Plan& plan, Workload* workload, Failure* failure) {
  signals_ = sys::signalfd(&kAllSignals, SFD_CLOEXEC | SFD_NONBLOCK);
  *failure = {"signalfd", -signals_};
  if (signals_ < 0) return false;
  *failure = {"timerfd_create", -timer_.open()};
  if (timer_.fd() < 0) return false;
  failure->step = "open";
  if (!cgroup_.open(plan.cgroup, &failure->error)) return false;
  if (!lease_.open(plan, failure)) return false;
  *failure = {"fence", ETIME};
  if (is_late(plan)) return false;
  return start_workload(plan, cgroup_.directory(), workload, failure);
}

// The agent has asked itself the same, but may have stood still since.
bool Shim::is_late(const Plan& plan) const {
  const uint64_t now_ms = boot_ms();
  const bool is_over = plan.start_until_ms != 0 && now_ms >= plan.start_until_ms;
  return is_over || lease_.judge(now_ms).stop;
}

void Shim::wait() {
  // A negative descriptor is passed over: a stream that the workload has closed.
  struct pollfd events[] = {{signals_, POLLIN, 0},
                            {timer_.fd(), POLLIN, 0},
                            {logs_.stream(0).pipe(), POLLIN, 0},
                            {logs_.stream(1).pipe(), POLLIN, 0}};
  sys::ppoll(events, sizeof(events) / sizeof(events[0]), nullptr);
  has_signal_ = events[0].revents != 0;
  has_output_[0] = events[2].revents != 0;
  has_output_[1] = events[3].revents != 0;
}

void Shim::take_signals() {
  if (stop_.phase() == Phase::kKilling) reap();
  if (!has_signal_) return;
  struct signalfd_siginfo infos[4];
  long length;
  bool child = false;
  while ((length = sys::read(signals_, infos, sizeof(infos))) > 0) {
    for (size_t i = 0; i < static_cast<size_t>(length) / sizeof(infos[0]); ++i) {
      const struct signalfd_siginfo& info = infos[i];
      const uint64_t now_ms = boot_ms();
      switch (info.ssi_signo) {
        case SIGCHLD:
          child = true;
          break;
        case SIGTERM: {
          const bool has_grace = info.ssi_code == SI_QUEUE && info.ssi_int >= 0;
          const uint64_t grace_ms =
              has_grace ? static_cast<uint64_t>(info.ssi_int) : stop_.grace_ms();
          if (main_ != 0) stop_.ask(now_ms, later(now_ms, grace_ms));
          break;
        }
        case SIGUSR1:
          notices_.send_again(now_ms);
          break;
        case SIGUSR2:
          acknowledged_ = has_result_;
          break;
        default:
          break;
      }
    }
  }
  if (child) reap();
}

void Shim::reap() {
  Exit exit;
  Exit main = {};
  for (;;) {
    const Reaped reaped = reap_one(&exit);
    if (reaped == Reaped::kNoChildren) stop_.children_ended();
    if (reaped != Reaped::kOne) break;
    stop_.child_ended();
    if (exit.pid == main_ && !main_ended_) {
      main_ended_ = true;
      main = exit;
    }
  }
  if (main.pid != 0) main_ended(main);
}

void Shim::main_ended(const Exit& exit) {
  exit_ = exit;
  exited_at_ms_ = wall_us() / kUsPerMs;
  out_of_memory_ = exit.signal == SIGKILL && cgroup_.had_oom_kill();
  has_result_ = true;
  record_due_ms_ = 0;
  stop_.main_ended(boot_ms());
}

void Shim::act() {
  const uint64_t now_ms = boot_ms();
  uint64_t next_ms = kNever;
  if (main_ != 0) {
    // Before the output: a write may have to wait for the disk.
    next_ms = act_fence(now_ms);
    next_ms = earliest(next_ms, stop_.act(now_ms));
    for (int stream = 0; stream < 2; ++stream) {
      if (has_output_[stream]) logs_.pump(stream);
    }
  }
  next_ms = earliest(next_ms, act_record(now_ms));
  tell_unrecorded_end(now_ms);
  next_ms = earliest(next_ms, notices_.act(now_ms));
  if (hand_over_ms_ > 0 && is_final_ && notices_.is_unheard()) {
    hand_over_ms_ = 0;
    record_due_ms_ = next_ms = now_ms;
  }
  next_ms = earliest(next_ms, scratch::release_when_idle(now_ms));
  timer_.set(next_ms);
}

uint64_t Shim::act_fence(uint64_t now_ms) {
  const bool may_live_on = stop_.phase() == Phase::kRunning || stop_.phase() == Phase::kStopping;
  if (!may_live_on) return kNever;
  if (now_ms < look_at_lease_ms_) return look_at_lease_ms_;
  const Verdict verdict = lease_.judge(now_ms);
  if (verdict.stop) {
    fenced_ = fenced_ || (stop_.phase() == Phase::kRunning && !main_ended_);
    stop_.ask(now_ms, verdict.kill_at_ms);
  }
  look_at_lease_ms_ = verdict.stop ? kNever : verdict.look_again_ms;
  return look_at_lease_ms_;
}

uint64_t Shim::act_record(uint64_t now_ms) {
  if (!has_result_ || durable_ || acknowledged_) return kNever;
  if (now_ms < record_due_ms_) return record_due_ms_;
  if (stop_.phase() == Phase::kKilling) {
    const uint64_t not_before_ms = stop_.killing_since_ms() + kKillBeforeRecordMs;
    if (now_ms < not_before_ms) return not_before_ms;
  }
  if (!is_final_) {
    // What the main process wrote is in its files before its end is told.
    logs_.drain();
    dropped_bytes_ = logs_.dropped_bytes();
    is_final_ = true;
    if (main_ != 0 && hand_over_ms_ > 0) return hand_over(now_ms);
  }
  durable_ = record_.finish(result_line(true));
  if (durable_ || !told_) notices_.send(result_line(durable_), now_ms);
  told_ = true;
  record_due_ms_ = durable_ ? kNever : now_ms + kRecordRetryMs;
  return record_due_ms_;
}

// To the agent, which makes many exits durable at once and says when this one is. Noted for an
// agent that comes after it.
uint64_t Shim::hand_over(uint64_t now_ms) {
  record_.note(exited_line(true));
  // That of the end of the tree repeats it.
  if (stop_.phase() != Phase::kGone) notices_.send(exited_line(false), now_ms);
  told_ = true;
  record_due_ms_ = later(now_ms, hand_over_ms_);
  return record_due_ms_;
}

bool Shim::is_done() const {
  return has_result_ && (durable_ || acknowledged_) &&
         (main_ == 0 || stop_.phase() == Phase::kGone);
}

int Shim::finish() {
  if (main_ == 0) return kExitNotStarted;
  logs_.drain();
  logs_.close();
  if (durable_) record_.add(gone_line());
  return kExitDone;
}

// The shim stays, for the sake of its record: the agent cannot see by its end that the tree is
// gone.
void Shim::tell_unrecorded_end(uint64_t now_ms) {
  if (main_ == 0 || durable_ || told_gone_ || !told_ || stop_.phase() != Phase::kGone) return;
  notices_.send(result_line(false), now_ms);
  notices_.send(gone_line(), now_ms);
  told_gone_ = true;
}

Line Shim::gone_line() const {
  Line line;
  line << "gone " << nonce_.c_str() << ' ' << wall_us() / kUsPerMs << '\n';
  return line;
}

Line Shim::started_line(const Workload& workload) const {
  Line line;
  line << "started " << nonce_.c_str() << ' ' << pid_ << ' ' << start_ticks_ << ' ' << workload.pid
       << ' ' << workload.start_ticks << ' ' << wall_us() / kUsPerMs << '\n';
  return line;
}

Line Shim::failed_line(const Failure& failure) const {
  Line line;
  line << "failed " << nonce_.c_str() << ' ' << failure.step << ' ' << failure.error << '\n';
  return line;
}

Line Shim::exited_line(bool durable) const {
  Line line;
  line << "exited " << nonce_.c_str() << ' ' << (durable ? 1 : 0) << ' ' << exit_.code << ' '
       << exit_.signal << ' ' << exited_at_ms_ << ' ' << exit_.user_us << ' ' << exit_.system_us
       << ' ' << exit_.max_rss_kib << ' ' << (out_of_memory_ ? 1 : 0) << ' ' << dropped_bytes_
       << ' ' << (fenced_ ? 1 : 0) << '\n';
  return line;
}

Line Shim::result_line(bool durable) const {
  return main_ == 0 ? failed_line(failure_) : exited_line(durable);
}

}  // namespace morch::shim
