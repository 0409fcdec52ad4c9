#include "workload.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <sys/wait.h>

#include "arguments.h"
#include "clone.h"
#include "process_stat.h"
#include "unique_fd.h"

namespace morch::shim {

namespace {

constexpr uint64_t kNoSignals = 0;
constexpr int kExitNotStarted = 127;

// What the child reads. It shares the shim's memory, or has a copy of it.
struct ChildContext {
  const Plan* plan;
  const Arguments* arguments;
  pid_t shim;
  int output[2];  // the writing ends
  int error;      // closed by a successful exec; else a Failure comes through it
  int cgroup;
  bool joined_cgroup;
};

// Everything below, down to run_child, runs in the child: system calls only.

// The pointer in it is good on the other side too: it points to a constant.
[[noreturn]] void give_up(const ChildContext& context, const char* step, long error) {
  const Failure failure = {step, static_cast<int>(-error)};
  sys::write(context.error, &failure, sizeof(failure));
  sys::exit(kExitNotStarted);
}

void check(const ChildContext& context, const char* step, long result) {
  if (result < 0) give_up(context, step, result);
}

void enter_cgroup(const ChildContext& context) {
  const int procs = sys::openat(context.cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC);
  check(context, "open", procs);
  check(context, "write", sys::write(procs, "0", 1));
}

void set_limits(const ChildContext& context) {
  RepeatedFields rlimits(*context.plan, Repeated::kRlimit);
  while (const uint8_t* value = rlimits.next()) {
    const sys::Limits limits = {number_in(value, 1), number_in(value, 2)};
    check(context, "setrlimit",
          sys::setrlimit(static_cast<unsigned>(number_in(value, 0)), &limits));
  }
  // Left alone when it is as wanted: to lower it again takes a right.
  const int nice = context.plan->nice;
  if (20 - sys::getpriority() != nice) check(context, "setpriority", sys::setpriority(nice));
  sys::umask(context.plan->umask);
}

// What no exec below can give back.
void empty_bounding_set(const ChildContext& context) {
  for (long capability = 0;; ++capability) {
    const long held = sys::prctl(PR_CAPBSET_READ, capability);
    if (held < 0) return;  // EINVAL: there are no more
    if (held > 0) check(context, "capbset", sys::prctl(PR_CAPBSET_DROP, capability));
  }
}

// Any user but root is left without a capability, also those that setuid(2) leaves alone. Where
// programs may gain rights, the bounding set stays: sudo would be nothing without it.
void change_user(const ChildContext& context) {
  const Plan& plan = *context.plan;
  if (!plan.has_user) return;
  check(context, "setgroups", sys::setgroups(plan.group_count, context.arguments->groups()));
  check(context, "setgid", sys::setresgid(plan.gid));
  if (plan.uid != 0 && plan.no_new_privs) empty_bounding_set(context);
  check(context, "setuid", sys::setresuid(plan.uid));
  if (plan.uid != 0) check(context, "capset", sys::drop_capabilities());
}

void run_child(void* arg) {
  const ChildContext& context = *static_cast<const ChildContext*>(arg);
  const Plan& plan = *context.plan;

  check(context, "setsid", sys::setsid());
  if (context.cgroup >= 0 && !context.joined_cgroup) enter_cgroup(context);
  check(context, "dup2", sys::dup3(context.output[0], 1));
  check(context, "dup2", sys::dup3(context.output[1], 2));
  set_limits(context);

  if (plan.private_cwd) check(context, "chdir", sys::chdir(plan.cwd));
  change_user(context);
  if (!plan.private_cwd) check(context, "chdir", sys::chdir(plan.cwd));
  if (plan.no_new_privs) check(context, "prctl", sys::prctl(PR_SET_NO_NEW_PRIVS, 1));

  // Only now: a change of user clears it.
  check(context, "prctl", sys::prctl(PR_SET_PDEATHSIG, SIGKILL));
  // The shim may have died before the line above; then no signal will come.
  if (sys::getppid() != context.shim) give_up(context, "getppid", -ESRCH);

  sys::rt_sigprocmask(SIG_SETMASK, &kNoSignals);
  give_up(context, "execve", -context.arguments->exec());
}

// From here on: the shim again.

bool open_pipe(UniqueFd* reading, UniqueFd* writing, Failure* failure) {
  int ends[2];
  const long result = sys::pipe2(ends, O_CLOEXEC);
  if (result < 0) {
    *failure = {"pipe2", static_cast<int>(-result)};
    return false;
  }
  reading->reset(ends[0]);
  writing->reset(ends[1]);
  return true;
}

// A pipe for the workload's output, which belongs to its user, so that it may open /dev/stdout
// again.
bool open_output(const Plan& plan, UniqueFd* reading, UniqueFd* writing, Failure* failure) {
  if (!open_pipe(reading, writing, failure)) return false;
  // Of this end alone: the workload's own writes wait while the pipe is full.
  sys::fcntl(reading->get(), F_SETFL, O_NONBLOCK);
  if (!plan.has_user) return true;
  const long result = sys::fchown(writing->get(), plan.uid, plan.gid);
  if (result < 0) *failure = {"fchown", static_cast<int>(-result)};
  return result >= 0;
}

void reap(pid_t pid) {
  siginfo_t info;
  sys::waitid(P_PID, pid, &info, WEXITED, nullptr);
}

}  // namespace

bool start_workload(const Plan& plan, int cgroup, Workload* workload, Failure* failure) {
  Arguments arguments;
  if (!arguments.lay_out(plan, failure)) return false;

  UniqueFd reading[2], writing[2], errors, error_end;
  for (int stream = 0; stream < 2; ++stream) {
    if (!open_output(plan, &reading[stream], &writing[stream], failure)) return false;
  }
  if (!open_pipe(&errors, &error_end, failure)) return false;

  ChildContext context = {
      &plan,           &arguments, sys::getpid(), {writing[0].get(), writing[1].get()},
      error_end.get(), cgroup,     false};
  const long pid = clone_running(run_child, &context, cgroup, &context.joined_cgroup);
  if (pid < 0) {
    *failure = {"clone", static_cast<int>(-pid)};
    return false;
  }
  // The end of this pipe is the exec.
  error_end.reset();
  if (sys::read(errors.get(), failure, sizeof(*failure)) > 0) {
    reap(static_cast<pid_t>(pid));
    return false;
  }
  arguments.release();
  ProcessStat stat = {};
  read_process_stat(static_cast<pid_t>(pid), &stat);  // a zombie too has one
  *workload = {
      static_cast<pid_t>(pid), stat.start_ticks, {reading[0].release(), reading[1].release()}};
  return true;
}

}  // namespace morch::shim
