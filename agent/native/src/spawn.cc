#include "spawn.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <cstdlib>

#include "proc_file.h"
#include "syscalls.h"

namespace morch {

namespace {

constexpr unsigned long long kNoSignals = 0;
constexpr unsigned long long kAllSignals = ~0ULL;
constexpr int kSignalCount = 64;

enum class Step : int {
  kNone,
  kCloseRange,
  kOpenStdin,
  kOpenStdout,
  kOpenStderr,
  kSetsid,
  kParentDeathSignal,
  kParentGone,
  kChdir,
  kExec,
};

// Shared with the child by CLONE_VM; the worker reads `failed_step` and `error` after the clone
// returned, when the child has exec'd or exited.
struct ChildContext {
  SpawnPlan* plan;
  std::atomic<pid_t>* starting;
  pid_t agent_pid;
  bool shares_descriptors;
  volatile Step failed_step;
  volatile int error;
};

// Everything below, down to run_child, runs in the child on the worker's spare stack, in the
// agent's memory: system calls and writes to ChildContext only. No allocation, no locks, no
// logging.

[[noreturn]] void give_up(ChildContext* context, Step step, int error) {
  context->error = error;
  context->failed_step = step;
  ::_exit(127);
}

// Copy of the kernel's struct linux_dirent64 header.
struct DirectoryEntry {
  uint64_t inode;
  int64_t offset;
  unsigned short length;
  unsigned char type;
  char name[];
};

// For kernels before 5.9, in a child that owns a copy of the descriptor table.
void close_all_by_listing() {
  const int directory = ::open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory == -1) return;  // descriptors of the agent are close-on-exec anyway
  alignas(DirectoryEntry) char buffer[4096];
  for (;;) {
    const long length = ::syscall(SYS_getdents64, directory, buffer, sizeof(buffer));
    if (length <= 0) break;
    for (long at = 0; at < length;) {
      const auto* entry = reinterpret_cast<DirectoryEntry*>(buffer + at);
      int fd = 0;
      bool numeric = true;
      for (const char* c = entry->name; *c != '\0'; ++c) {
        if (*c < '0' || *c > '9') numeric = false;
        fd = fd * 10 + (*c - '0');
      }
      if (numeric && fd != directory) ::close(fd);
      at += entry->length;
    }
  }
  ::close(directory);
}

// Every disposition to its default. CLONE_CLEAR_SIGHAND has removed the handlers but leaves ignored
// signals ignored, and those survive exec: SIGPIPE, which Node ignores, or SIGHUP under nohup.
void reset_signals() {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal <= kSignalCount; ++signal) {
    if (signal != SIGKILL && signal != SIGSTOP) ::sigaction(signal, &action, nullptr);
  }
}

// execvp(3), over the prepared candidates: a missing file means the next one, a forbidden one is
// remembered, anything else ends the search. Returns the error to report.
int exec_candidates(SpawnPlan& plan) {
  bool forbidden = false;
  for (const char* const* path = plan.candidates.data(); *path != nullptr; ++path) {
    ::execve(*path, plan.argv.data(), plan.env.data());
    if (errno == ENOEXEC) {
      plan.shell_argv[1] = const_cast<char*>(*path);
      ::execve(plan.shell_argv[0], plan.shell_argv.data(), plan.env.data());
      return errno;
    }
    switch (errno) {
      case EACCES:
        forbidden = true;
        break;
      case ENOENT:
      case ENOTDIR:
      case ESTALE:
      case ENODEV:
      case ETIMEDOUT:
        break;
      default:
        return errno;
    }
  }
  return forbidden ? EACCES : errno;
}

int run_child(void* arg) {
  auto* context = static_cast<ChildContext*>(arg);
  SpawnPlan& plan = *context->plan;
  context->starting->store(::getpid());

  reset_signals();

  // Shared table: one call that takes a private, empty copy (nothing is copied, however many
  // descriptors the agent has) and leaves the agent's table alone. The three opens below then get
  // 0, 1 and 2, the lowest free numbers.
  if (!context->shares_descriptors) {
    close_all_by_listing();
  } else if (sys::close_range(0, ~0U, CLOSE_RANGE_UNSHARE) == -1) {
    give_up(context, Step::kCloseRange, errno);
  }

  if (::setsid() == -1) give_up(context, Step::kSetsid, errno);
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) == -1) {
    give_up(context, Step::kParentDeathSignal, errno);
  }
  // The agent may have died before the line above; then no signal will come.
  if (::getppid() != context->agent_pid) give_up(context, Step::kParentGone, ESRCH);

  ::umask(022);
  if (::open("/dev/null", O_RDONLY) == -1) give_up(context, Step::kOpenStdin, errno);
  constexpr int kLogFlags = O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY;
  if (::open(plan.stdout_path, kLogFlags, 0640) == -1) {
    give_up(context, Step::kOpenStdout, errno);
  }
  if (::open(plan.stderr_path, kLogFlags, 0640) == -1) {
    give_up(context, Step::kOpenStderr, errno);
  }
  if (::chdir(plan.cwd) == -1) give_up(context, Step::kChdir, errno);

  sys::set_signal_mask(&kNoSignals, nullptr);
  give_up(context, Step::kExec, exec_candidates(plan));
}

// From here on: the worker thread again.

Failure describe(const ChildContext& context) {
  const SpawnPlan& plan = *context.plan;
  switch (context.failed_step) {
    case Step::kCloseRange:
      return {"close_range", context.error, "descriptors of the agent"};
    case Step::kOpenStdin:
      return {"open", context.error, "/dev/null"};
    case Step::kOpenStdout:
      return {"open", context.error, plan.stdout_path};
    case Step::kOpenStderr:
      return {"open", context.error, plan.stderr_path};
    case Step::kSetsid:
      return {"setsid", context.error, ""};
    case Step::kParentDeathSignal:
      return {"prctl", context.error, "PR_SET_PDEATHSIG"};
    case Step::kParentGone:
      return {"getppid", context.error, "the agent died during the start"};
    case Step::kChdir:
      return {"chdir", context.error, plan.cwd};
    case Step::kExec:
    case Step::kNone:
      break;
  }
  return {"execve", context.error, plan.file};
}

// Whether close_range(2) is there (Linux 5.9, and not forbidden by a seccomp profile). On an empty
// range above every descriptor it does nothing.
bool can_close_range() {
  static const bool answer = sys::close_range(~0U, ~0U, 0) == 0;
  return answer;
}

uint64_t agent_peak_kib() {
  struct rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss);
}

}  // namespace

void kill_and_reap(const UniqueFd& pidfd) {
  sys::pidfd_send_signal(pidfd.get(), SIGKILL);
  siginfo_t info = {};
  retry_eintr([&] { return sys::waitid(sys::kWaitByPidfd, pidfd.get(), &info, WEXITED, nullptr); });
}

Result<StartedProcess> spawn_process(SpawnPlan& plan, const ChildStack& stack,
                                     std::atomic<pid_t>* starting) {
  plan.prepare();
  ChildContext context = {&plan, starting, ::getpid(), can_close_range(), Step::kNone, 0};

  // No signal may reach the child while it still has the agent's handlers and memory.
  unsigned long long old_mask = 0;
  sys::set_signal_mask(&kAllSignals, &old_mask);
  Result<ClonedChild> cloned =
      clone_child(stack, context.shares_descriptors, starting, run_child, &context);
  sys::set_signal_mask(&old_mask, nullptr);
  if (!cloned.ok()) return cloned.failure();

  ClonedChild child = std::move(cloned.value());
  if (context.failed_step != Step::kNone) {
    kill_and_reap(child.pidfd);
    return describe(context);
  }
  Result<UniqueFd> stat = open_process_file(child.pid, "stat");
  ProcessStat now;
  if (!stat.ok() || !read_process_stat(stat.value().get(), &now)) {
    const int error = stat.ok() ? ESRCH : stat.failure().error;
    kill_and_reap(child.pidfd);
    return Failure{"open", error, "/proc/" + std::to_string(child.pid) + "/stat"};
  }
  return StartedProcess{child.pid, now.start_ticks, agent_peak_kib(), std::move(child.pidfd),
                        std::move(stat.value())};
}

}  // namespace morch
