#include "clone.h"

#include <errno.h>
#include <linux/sched.h>

namespace morch::shim {

namespace {

// struct clone_args as of Linux 5.7, which older headers lack.
struct CloneArgs {
  uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
  uint64_t set_tid, set_tid_size, cgroup;
};

constexpr uint64_t kVforkFlags = CLONE_VM | CLONE_VFORK;
constexpr uint64_t kIntoCgroup = 0x200000000;  // CLONE_INTO_CGROUP

}  // namespace

// call(number, first, second, 0, 0, 0); the child goes on in entry(arg). It shares the stack: what
// it pushes lies below this frame, which the suspended parent finds as it left it. Registers are
// the child's own.
extern "C" long clone_call(long number, long first, long second, void (*entry)(void*), void* arg);

#if defined(__x86_64__)
__asm__(
    ".text\n"
    ".globl clone_call\n"
    ".type clone_call, @function\n"
    "clone_call:\n\t"
    "pushq %rbx\n\t"  // which also aligns the stack for the call of entry
    "movq %rdi, %rax\n\t"
    "movq %rsi, %rdi\n\t"
    "movq %rdx, %rsi\n\t"
    "movq %rcx, %r9\n\t"
    "movq %r8, %rbx\n\t"
    "xorl %edx, %edx\n\t"
    "xorl %r10d, %r10d\n\t"
    "xorl %r8d, %r8d\n\t"
    "syscall\n\t"
    "testq %rax, %rax\n\t"
    "jnz 1f\n\t"
    "xorl %ebp, %ebp\n\t"
    "movq %rbx, %rdi\n\t"
    "call *%r9\n\t"
    "hlt\n"
    "1:\n\t"
    "popq %rbx\n\t"
    "ret\n");
#elif defined(__aarch64__)
__asm__(
    ".text\n"
    ".globl clone_call\n"
    ".type clone_call, %function\n"
    "clone_call:\n\t"
    "mov x8, x0\n\t"
    "mov x9, x3\n\t"
    "mov x10, x4\n\t"
    "mov x0, x1\n\t"
    "mov x1, x2\n\t"
    "mov x2, #0\n\t"
    "mov x3, #0\n\t"
    "mov x4, #0\n\t"
    "svc #0\n\t"
    "cbnz x0, 1f\n\t"
    "mov x29, #0\n\t"
    "mov x0, x10\n\t"
    "blr x9\n\t"
    "brk #1\n"
    "1:\n\t"
    "ret\n");
#endif

long clone_running(void (*entry)(void*), void* arg, int cgroup, bool* joined) {
  *joined = false;
  if (cgroup >= 0) {
    CloneArgs args = {};
    args.flags = kVforkFlags | kIntoCgroup;
    args.exit_signal = SIGCHLD;
    args.cgroup = static_cast<uint64_t>(cgroup);
    *joined = true;  // before the call: the child reads it
    const long pid =
        clone_call(__NR_clone3, sys::word(&args), static_cast<long>(sizeof(args)), entry, arg);
    // No clone3, or none that knows of groups (before 5.7), or a filter forbids it. What else is
    // wrong with the group shows again when the child enters it.
    if (pid != -ENOSYS && pid != -EINVAL && pid != -E2BIG && pid != -EPERM && pid != -EACCES) {
      return pid;
    }
    *joined = false;
  }
  return clone_call(__NR_clone, static_cast<long>(kVforkFlags | SIGCHLD), 0, entry, arg);
}

}  // namespace morch::shim
