// The kernel as the shim sees it: raw system calls, without a libc below them. Each returns what
// the kernel returns, a negative errno on failure. No EINTR: all signals that do anything are
// blocked and read from a descriptor.
#pragma once

#include <asm/unistd.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <time.h>

#ifndef __NR_close_range
#define __NR_close_range 436
#endif

namespace morch::shim::sys {

// The kernel preserves every register but the result's and, on x86-64, rcx and r11.
#if defined(__x86_64__)

inline long call(long number, long a = 0, long b = 0, long c = 0) {
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "0"(number), "D"(a), "S"(b), "d"(c)
                   : "rcx", "r11", "memory");
  return result;
}

inline long call(long number, long a, long b, long c, long d, long e = 0, long f = 0) {
  register long fourth __asm__("r10") = d;
  register long fifth __asm__("r8") = e;
  register long sixth __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "0"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth), "r"(sixth)
                   : "rcx", "r11", "memory");
  return result;
}

#elif defined(__aarch64__)

inline long call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                 long f = 0) {
  register long number_register __asm__("x8") = number;
  register long result __asm__("x0") = a;
  register long second __asm__("x1") = b;
  register long third __asm__("x2") = c;
  register long fourth __asm__("x3") = d;
  register long fifth __asm__("x4") = e;
  register long sixth __asm__("x5") = f;
  __asm__ volatile("svc #0"
                   : "+r"(result)
                   : "r"(number_register), "r"(second), "r"(third), "r"(fourth), "r"(fifth),
                     "r"(sixth)
                   : "memory");
  return result;
}

#else
#error "the shim knows x86-64 and arm64"
#endif

inline long word(const volatile void* pointer) { return reinterpret_cast<long>(pointer); }

// Files.

inline int openat(int directory, const char* path, int flags, int mode = 0) {
  return static_cast<int>(call(__NR_openat, directory, word(path), flags, mode));
}
inline int close(int fd) { return static_cast<int>(call(__NR_close, fd)); }
inline long read(int fd, void* to, size_t length) {
  return call(__NR_read, fd, word(to), static_cast<long>(length));
}
inline long write(int fd, const void* from, size_t length) {
  return call(__NR_write, fd, word(from), static_cast<long>(length));
}
inline long pread(int fd, void* to, size_t length, long offset) {
  return call(__NR_pread64, fd, word(to), static_cast<long>(length), offset);
}
inline long pwrite(int fd, const void* from, size_t length, long offset) {
  return call(__NR_pwrite64, fd, word(from), static_cast<long>(length), offset);
}
inline long lseek(int fd, long offset, int whence) { return call(__NR_lseek, fd, offset, whence); }
inline long ftruncate(int fd, long length) { return call(__NR_ftruncate, fd, length); }
inline long fallocate(int fd, int mode, long offset, long length) {
  return call(__NR_fallocate, fd, mode, offset, length);
}
inline long fsync(int fd) { return call(__NR_fsync, fd); }
inline long fchown(int fd, uid_t uid, gid_t gid) { return call(__NR_fchown, fd, uid, gid); }
inline long faccessat(int directory, const char* path, int mode) {
  return call(__NR_faccessat, directory, word(path), mode);
}
inline long renameat(int directory, const char* from, const char* to) {
  return call(__NR_renameat, directory, word(from), directory, word(to));
}
inline long mkdirat(int directory, const char* path, int mode) {
  return call(__NR_mkdirat, directory, word(path), mode);
}
inline long unlinkat(int directory, const char* path) {
  return call(__NR_unlinkat, directory, word(path), 0);
}
inline long getdents64(int fd, void* to, size_t length) {
  return call(__NR_getdents64, fd, word(to), static_cast<long>(length));
}
inline long pipe2(int ends[2], int flags) { return call(__NR_pipe2, word(ends), flags); }
inline long dup3(int from, int to) { return call(__NR_dup3, from, to, 0); }
inline long fcntl(int fd, int command, long argument = 0) {
  return call(__NR_fcntl, fd, command, argument);
}
inline long ioctl(int fd, unsigned long request, void* argument) {
  return call(__NR_ioctl, fd, static_cast<long>(request), word(argument));
}
inline long close_range(unsigned first, unsigned last) {
  return call(__NR_close_range, first, last, 0);
}
inline long chdir(const char* path) { return call(__NR_chdir, word(path)); }
inline long umask(unsigned mask) { return call(__NR_umask, mask); }

// Memory. On failure a value from -4095 to -1, which is no address.

inline void* mmap(size_t length, int protection, int flags, int fd) {
  return reinterpret_cast<void*>(
      call(__NR_mmap, 0, static_cast<long>(length), protection, flags, fd, 0));
}
inline void* mremap(void* at, size_t old_length, size_t new_length, int flags) {
  return reinterpret_cast<void*>(call(__NR_mremap, word(at), static_cast<long>(old_length),
                                      static_cast<long>(new_length), flags));
}
inline bool failed(const void* mapping) { return word(mapping) < 0 && word(mapping) >= -4095; }
inline long munmap(void* at, size_t length) {
  return call(__NR_munmap, word(at), static_cast<long>(length));
}
inline long madvise(void* at, size_t length, int advice) {
  return call(__NR_madvise, word(at), static_cast<long>(length), advice);
}

// Processes and signals.

// rt_sigaction(2)'s own structure.
struct Sigaction {
  void (*handler)(int);
  unsigned long flags;
  void (*restorer)();
  uint64_t mask;
};

inline long rt_sigaction(int signal, const Sigaction* action) {
  return call(__NR_rt_sigaction, signal, word(action), 0, sizeof(action->mask));
}
inline long rt_sigprocmask(int how, const uint64_t* mask) {
  return call(__NR_rt_sigprocmask, how, word(mask), 0, sizeof(*mask));
}
inline int signalfd(const uint64_t* mask, int flags) {
  return static_cast<int>(call(__NR_signalfd4, -1, word(mask), sizeof(*mask), flags));
}
inline pid_t getpid() { return static_cast<pid_t>(call(__NR_getpid)); }
inline pid_t getppid() { return static_cast<pid_t>(call(__NR_getppid)); }
inline long kill(pid_t pid, int signal) { return call(__NR_kill, pid, signal); }
inline int pidfd_open(pid_t pid) { return static_cast<int>(call(__NR_pidfd_open, pid, 0)); }
inline long pidfd_send_signal(int pidfd, int signal) {
  return call(__NR_pidfd_send_signal, pidfd, signal, 0, 0);
}
// With the fifth argument that the wrapper of libc lacks: what the reaped child has used.
inline long waitid(int what, pid_t pid, siginfo_t* info, int options, struct rusage* usage) {
  return call(__NR_waitid, what, pid, word(info), options, word(usage));
}
inline long prctl(int option, long argument) { return call(__NR_prctl, option, argument, 0, 0, 0); }
// Of this process, in all three sets: permitted, effective and inheritable; with them goes ambient.
inline long drop_capabilities() {
  struct {
    uint32_t version;
    int pid;
  } header = {0x20080522, 0};  // _LINUX_CAPABILITY_VERSION_3
  const uint32_t none[6] = {};
  return call(__NR_capset, word(&header), word(none));
}
inline long setsid() { return call(__NR_setsid); }
inline long setgroups(size_t count, const uint32_t* groups) {
  return call(__NR_setgroups, static_cast<long>(count), word(groups));
}
inline long setresgid(gid_t gid) { return call(__NR_setresgid, gid, gid, gid); }
inline long setresuid(uid_t uid) { return call(__NR_setresuid, uid, uid, uid); }
inline long setpriority(int nice) { return call(__NR_setpriority, PRIO_PROCESS, 0, nice); }
// 20 less the nice value: 1 to 40.
inline long getpriority() { return call(__NR_getpriority, PRIO_PROCESS, 0); }

struct Limits {
  uint64_t soft, hard;
};
inline long setrlimit(unsigned resource, const Limits* limits) {
  return call(__NR_prlimit64, 0, resource, word(limits), 0);
}
inline long execve(const char* path, char* const* argv, char* const* env) {
  return call(__NR_execve, word(path), word(argv), word(env));
}
[[noreturn]] inline void exit(int code) {
  for (;;) call(__NR_exit_group, code);
}

// Time.

inline long clock_gettime(int clock, struct timespec* to) {
  return call(__NR_clock_gettime, clock, word(to));
}
inline int timerfd_create(int clock, int flags) {
  return static_cast<int>(call(__NR_timerfd_create, clock, flags));
}
inline long timerfd_settime(int fd, int flags, const struct itimerspec* to) {
  return call(__NR_timerfd_settime, fd, flags, word(to), 0);
}
// `timeout` null: for ever.
inline long ppoll(struct pollfd* fds, size_t count, const struct timespec* timeout) {
  return call(__NR_ppoll, word(fds), static_cast<long>(count), word(timeout), 0, 8);
}

}  // namespace morch::shim::sys
