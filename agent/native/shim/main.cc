// morch-shim: the parent of one run's main process. docs/shim.md says what it promises.
#include <linux/prctl.h>
#include <unistd.h>

#include <new>

#include "plan_input.h"
#include "shim.h"

namespace morch::shim {

namespace {

// From here on the agent may die. SIGCONT has nothing to tell but to the kernel: not blocked, it
// continues a shim that somebody has stopped and does not wake one that waits, to which it is sent
// to be on the safe side.
void become_independent() {
  constexpr uint64_t kAllButCont = ~(uint64_t{1} << (SIGCONT - 1));
  sys::prctl(PR_SET_PDEATHSIG, 0);
  sys::rt_sigprocmask(SIG_SETMASK, &kAllButCont);
}

// What the workload would inherit, or the shim could stumble over.
void shed_inheritance() {
  constexpr int kSignalCount = 64;
  sys::close_range(kPlanDescriptor + 1, ~0U);
  // What the agent ignores stays ignored over an exec; SIGCHLD ignored would reap unseen.
  const sys::Sigaction by_default = {};
  for (int signal = 1; signal <= kSignalCount; ++signal) sys::rt_sigaction(signal, &by_default);
  sys::umask(0);
  sys::chdir("/");
}

}  // namespace

extern "C" [[noreturn]] void shim_main() {
  become_independent();
  shed_inheritance();
  sys::prctl(PR_SET_CHILD_SUBREAPER, 1);

  PlanInput input;
  Plan plan;
  if (!input.read(&plan)) sys::exit(kExitNoPlan);
  // Not on the stack, whose pages below the frame of the event loop are given back while nothing
  // happens.
  alignas(Shim) static uint8_t room[sizeof(Shim)];
  Shim& shim = *new (room) Shim;
  if (!shim.start(plan)) sys::exit(kExitNotStarted);
  input.release();

  // A start that failed has nothing to wait for but its record.
  for (;;) {
    shim.act();
    if (shim.is_done()) sys::exit(shim.finish());
    shim.wait();
    shim.take_signals();
  }
}

}  // namespace morch::shim
