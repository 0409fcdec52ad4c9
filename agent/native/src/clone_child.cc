#include "clone_child.h"

#include <sched.h>
#include <sys/mman.h>

#include <cstdint>

#include "syscalls.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace morch {

namespace {

constexpr size_t kGuardBytes = 4096 * 16;  // a page on every page size Linux uses
constexpr size_t kStackBytes = 4096 * 16;

// struct clone_args up to `tls` (CLONE_ARGS_SIZE_VER0): all that is needed, on every kernel.
struct CloneArgs {
  uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
};

static_assert(std::atomic<pid_t>::is_always_lock_free &&
                  sizeof(std::atomic<pid_t>) == sizeof(pid_t),
              "the kernel writes the pid into it");

#if defined(__x86_64__)
#define MORCH_HAS_CLONE3 1
// The child starts on its own, empty stack, so it cannot return through this frame: it calls
// `entry` straight from the instruction after the system call.
long clone3_call(CloneArgs* args, int (*entry)(void*), void* arg) {
  long result;
  register int (*entry_register)(void*) __asm__("r8") = entry;
  register void* arg_register __asm__("r9") = arg;
  __asm__ volatile(
      "syscall\n\t"
      "testq %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xorl %%ebp, %%ebp\n\t"
      "movq %%r9, %%rdi\n\t"
      "callq *%%r8\n\t"
      "hlt\n"
      "1:"
      : "=a"(result)
      : "0"(static_cast<long>(SYS_clone3)), "D"(args), "S"(sizeof(*args)), "r"(entry_register),
        "r"(arg_register)
      : "rcx", "r11", "cc", "memory");
  return result;
}
#elif defined(__aarch64__)
#define MORCH_HAS_CLONE3 1
long clone3_call(CloneArgs* args, int (*entry)(void*), void* arg) {
  register long number __asm__("x8") = SYS_clone3;
  register long result __asm__("x0") = reinterpret_cast<long>(args);
  register long size __asm__("x1") = sizeof(*args);
  register int (*entry_register)(void*) __asm__("x10") = entry;
  register void* arg_register __asm__("x11") = arg;
  __asm__ volatile(
      "svc #0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x29, #0\n\t"
      "mov x0, x11\n\t"
      "blr x10\n\t"
      "brk #1\n"
      "1:"
      : "+r"(result)
      : "r"(number), "r"(size), "r"(entry_register), "r"(arg_register)
      : "cc", "memory");
  return result;
}
#endif

}  // namespace

Result<ChildStack> ChildStack::allocate() {
  void* mapping = ::mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (mapping == MAP_FAILED) return Failure{"mmap", errno, "stack of the spawn worker"};
  ChildStack stack(mapping);
  if (::mprotect(mapping, kGuardBytes, PROT_NONE) == -1) {
    return Failure{"mprotect", errno, "stack of the spawn worker"};
  }
  return stack;
}

ChildStack::ChildStack(ChildStack&& other) noexcept
    : mapping_(std::exchange(other.mapping_, nullptr)) {}

ChildStack::~ChildStack() {
  if (mapping_ != nullptr) ::munmap(mapping_, kGuardBytes + kStackBytes);
}

void* ChildStack::base() const { return static_cast<char*>(mapping_) + kGuardBytes; }
size_t ChildStack::size() const { return kStackBytes; }

Result<ClonedChild> clone_child(const ChildStack& stack, bool share_descriptors,
                                std::atomic<pid_t>* starting, int (*entry)(void*), void* arg) {
#ifdef __SANITIZE_ADDRESS__
  // The last child left without returning, its frames still marked as in use.
  __asan_unpoison_memory_region(stack.base(), stack.size());
#endif
  const uint64_t flags =
      CLONE_VM | CLONE_VFORK | CLONE_PIDFD | (share_descriptors ? CLONE_FILES : 0);
  int pidfd = -1;
#ifdef MORCH_HAS_CLONE3
  CloneArgs args = {};
  args.flags = flags | CLONE_CLEAR_SIGHAND | CLONE_PARENT_SETTID;
  args.pidfd = reinterpret_cast<uintptr_t>(&pidfd);
  args.parent_tid = reinterpret_cast<uintptr_t>(starting);
  args.exit_signal = SIGCHLD;
  args.stack = reinterpret_cast<uintptr_t>(stack.base());
  args.stack_size = stack.size();
  const long result = clone3_call(&args, entry, arg);
  if (result > 0) return ClonedChild{static_cast<pid_t>(result), UniqueFd(pidfd)};
  // ENOSYS: no clone3. EINVAL: no CLONE_CLEAR_SIGHAND (before 5.5). EPERM: some container runtimes.
  if (result != -ENOSYS && result != -EINVAL && result != -EPERM) {
    return Failure{"clone3", static_cast<int>(-result), ""};
  }
#endif
  // clone(2) returns the pidfd through the pointer CLONE_PARENT_SETTID would use, so here the child
  // itself publishes its pid first thing (see run_child).
  void* top = static_cast<char*>(stack.base()) + stack.size();
  const int pid = ::clone(entry, top, static_cast<int>(flags) | SIGCHLD, arg, &pidfd);
  if (pid == -1) return Failure{"clone", errno, ""};
  starting->store(pid);
  return ClonedChild{pid, UniqueFd(pidfd)};
}

}  // namespace morch
