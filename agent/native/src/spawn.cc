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

// Shared with the child by CLONE_VM; the worker reads what the child wrote after the clone
// returned, when the child has exec'd or exited.
struct ChildContext {
  const SpawnPlan* plan;
  std::atomic<pid_t>* starting;
  pid_t agent_pid;
  bool shares_descriptors;
  char stat[kStatBytes];    // the child's /proc/self/stat
  const char* failed_call;  // null: it runs
  const char* failed_on;
  int error;
};

// Everything below, down to run_child, runs in the child on the worker's spare stack, in the
// agent's memory: system calls and writes to ChildContext only. No allocation, no locks, no
// logging.

[[noreturn]] void give_up(ChildContext* context, const char* call, const char* on) {
  context->error = errno;
  context->failed_call = call;
  context->failed_on = on;
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

// Its own start time, read here because the agent may have no descriptor left when the program
// runs.
void read_own_stat(ChildContext* context) {
  static constexpr char kPath[] = "/proc/self/stat";
  const int fd = ::open(kPath, O_RDONLY);
  if (fd == -1) give_up(context, "open", kPath);
  const ssize_t length = ::read(fd, context->stat, sizeof(context->stat) - 1);
  if (length <= 0) give_up(context, "read", kPath);
  context->stat[length] = '\0';
  ::close(fd);
}

// The descriptor table is empty: what is opened here gets 0 to 3, the lowest free numbers.
void open_descriptors(ChildContext* context) {
  static constexpr char kNull[] = "/dev/null";
  if (::open(kNull, O_RDWR) == -1) give_up(context, "open", kNull);
  if (::dup(0) == -1 || ::dup(0) == -1) give_up(context, "dup", kNull);
  // Linux 6.3 wants to be told that nobody will execute it; older kernels do not know the flag.
  static constexpr char kName[] = "morch-input";
  int input = sys::memfd_create(kName, MFD_NOEXEC_SEAL);
  if (input == -1 && errno == EINVAL) input = sys::memfd_create(kName, 0);
  if (input == -1) give_up(context, "memfd_create", "");
  const std::string& bytes = context->plan->input;
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t written =
        ::pwrite(input, bytes.data() + at, bytes.size() - at, static_cast<off_t>(at));
    if (written == -1) give_up(context, "pwrite", "the input of the program");
    at += static_cast<size_t>(written);
  }
}

int run_child(void* arg) {
  auto* context = static_cast<ChildContext*>(arg);
  const SpawnPlan& plan = *context->plan;
  context->starting->store(::getpid());

  reset_signals();

  // Shared table: one call that takes a private, empty copy (nothing is copied, however many
  // descriptors the agent has) and leaves the agent's table alone.
  if (!context->shares_descriptors) {
    close_all_by_listing();
  } else if (sys::close_range(0, ~0U, CLOSE_RANGE_UNSHARE) == -1) {
    give_up(context, "close_range", "descriptors of the agent");
  }

  if (::setsid() == -1) give_up(context, "setsid", "");
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) == -1) give_up(context, "prctl", "PR_SET_PDEATHSIG");
  // The agent may have died before the line above; then no signal will come.
  if (::getppid() != context->agent_pid) {
    errno = ESRCH;
    give_up(context, "getppid", "the agent died during the start");
  }

  ::umask(022);
  read_own_stat(context);
  open_descriptors(context);
  if (::chdir(plan.cwd) == -1) give_up(context, "chdir", plan.cwd);

  sys::set_signal_mask(&kNoSignals, nullptr);
  char* const no_environment[] = {nullptr};
  ::execve(plan.file, plan.argv.data(), no_environment);
  give_up(context, "execve", plan.file);
}

// From here on: the worker thread again.

// Whether close_range(2) is there (Linux 5.9, and not forbidden by a seccomp profile). On an empty
// range above every descriptor it does nothing.
bool can_close_range() {
  static const bool answer = sys::close_range(~0U, ~0U, 0) == 0;
  return answer;
}

}  // namespace

Result<StartedProcess> spawn_process(const SpawnPlan& plan, const ChildStack& stack,
                                     std::atomic<pid_t>* starting) {
  ChildContext context = {};
  context.plan = &plan;
  context.starting = starting;
  context.agent_pid = ::getpid();
  context.shares_descriptors = can_close_range();

  // No signal may reach the child while it still has the agent's handlers and memory.
  unsigned long long old_mask = 0;
  sys::set_signal_mask(&kAllSignals, &old_mask);
  Result<ClonedChild> cloned =
      clone_child(stack, context.shares_descriptors, starting, run_child, &context);
  sys::set_signal_mask(&old_mask, nullptr);
  if (!cloned.ok()) return cloned.failure();

  ClonedChild child = std::move(cloned.value());
  if (context.failed_call != nullptr) {
    siginfo_t info = {};
    retry_eintr([&] { return sys::waitid(sys::kWaitByPidfd, child.pidfd.get(), &info, WEXITED); });
    return Failure{context.failed_call, context.error, context.failed_on};
  }
  ProcessStat own;
  if (!parse_process_stat(context.stat, &own)) return Failure{"read", EPROTO, "/proc/self/stat"};
  return StartedProcess{child.pid, own.start_ticks, std::move(child.pidfd)};
}

}  // namespace morch
