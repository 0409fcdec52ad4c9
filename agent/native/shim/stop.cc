#include "stop.h"

#include <sys/mman.h>

namespace morch::shim {

namespace {

constexpr uint64_t kFirstPauseMs = 10;
constexpr uint64_t kLongestPauseMs = 1000;  // for what the kernel will not let go
constexpr uint64_t kPollGroupMs = 20;
// Processes in the group that are none of the shim's descendants: somebody else has put them there.
constexpr uint64_t kStrangersInGroupMs = 5000;

constexpr size_t kPidLimit = size_t{1} << 22;  // PID_MAX_LIMIT
constexpr size_t kMarksBytes = kPidLimit / 8;
constexpr uint64_t kMsPerTick = 10;  // of /proc: USER_HZ is 100 on every machine the shim knows

}  // namespace

void Stop::ask(uint64_t now_ms, uint64_t kill_at_ms) {
  kill_at_ms_ = earliest(kill_at_ms_, kill_at_ms);
  if (phase_ == Phase::kRunning) begin(now_ms);
}

void Stop::main_ended(uint64_t now_ms) {
  main_ = 0;
  kill_at_ms_ = earliest(kill_at_ms_, later(now_ms, grace_ms_));
  if (phase_ == Phase::kRunning) {
    begin(now_ms);
  } else if (phase_ == Phase::kStopping) {
    signal_new_ones();
  }
}

void Stop::begin(uint64_t now_ms) {
  phase_ = Phase::kStopping;
  if (kill_at_ms_ > now_ms) signal_new_ones();
}

// The stop signal, and SIGCONT so that stopped ones see it, to those that have not had it.
void Stop::signal_new_ones() {
  if (no_children_) return;
  Descendants found;
  found.find();
  // In one go, so that none of the group escapes by being made just now. The pid is the group's and
  // its leader's as long as the leader is not reaped.
  if (main_ != 0) sys::kill(-main_, signal_);
  for (size_t index = 0; index < found.size(); ++index) {
    const Process& process = found[index];
    if (process.pid == main_) continue;  // in the group as long as it lives
    const bool is_new = mark(process);
    const bool had_it = main_ != 0 && process.group == main_;
    if (is_new && !had_it) found.send(index, signal_, SIGCONT);
  }
  if (main_ != 0) sys::kill(-main_, SIGCONT);
  marked_at_ticks_ = boot_ms() / kMsPerTick;
}

// False when it was marked before.
bool Stop::mark(const Process& process) {
  if (marks_ == nullptr) {
    void* marks = sys::mmap(kMarksBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    // Without: some get the signal twice.
    if (sys::failed(marks)) return true;
    marks_ = static_cast<uint8_t*>(marks);
  }
  uint8_t& byte = marks_[static_cast<size_t>(process.pid) / 8];
  const auto bit = static_cast<uint8_t>(1u << process.pid % 8);
  const bool marked = (byte & bit) != 0 && process.start_ticks <= marked_at_ticks_;
  byte |= bit;
  return !marked;
}

uint64_t Stop::act(uint64_t now_ms) {
  if (phase_ == Phase::kRunning || phase_ == Phase::kGone) return kNever;
  if (is_all_gone(now_ms)) {
    phase_ = Phase::kGone;
    return kNever;
  }
  if (phase_ == Phase::kStopping && now_ms >= kill_at_ms_) {
    phase_ = Phase::kKilling;
    killing_since_ms_ = now_ms;
    next_pass_ms_ = now_ms;
  }
  if (phase_ == Phase::kStopping) {
    return no_children_ ? earliest(kill_at_ms_, now_ms + kPollGroupMs) : kill_at_ms_;
  }
  if (now_ms >= next_pass_ms_) next_pass_ms_ = kill_pass(now_ms);
  return next_pass_ms_;
}

// @returns when the next one is due
uint64_t Stop::kill_pass(uint64_t now_ms) {
  cgroup_->kill();
  if (main_ != 0) sys::kill(-main_, SIGKILL);
  if (!no_children_) {
    const KilledChildren killed = kill_children();
    const bool others = killed.digest != last_digest_;
    last_digest_ = killed.digest;
    if (others) return now_ms;
    // The same ones again: they take their time to die, which may be long (a dead disk). Their
    // children need not wait until they have become the shim's.
    Descendants found;
    found.find();
    for (size_t index = 0; index < found.size(); ++index) found.send(index, SIGKILL);
  }
  const uint64_t pause_ms = (now_ms - killing_since_ms_) / 8;
  if (pause_ms < kFirstPauseMs) return now_ms + kFirstPauseMs;
  return now_ms + earliest(pause_ms, kLongestPauseMs);
}

bool Stop::is_all_gone(uint64_t now_ms) {
  if (!no_children_) return false;
  if (childless_since_ms_ == kNever) childless_since_ms_ = now_ms;
  if (!cgroup_->is_populated()) return true;
  return phase_ == Phase::kKilling && now_ms - killing_since_ms_ >= kStrangersInGroupMs &&
         now_ms - childless_since_ms_ >= kStrangersInGroupMs;
}

}  // namespace morch::shim
