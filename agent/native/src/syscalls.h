// Kernel calls that glibc 2.31 (Debian 11, Ubuntu 20.04) has no wrapper for, with their numbers and
// flags where older headers lack them. Each returns -1 and sets errno on failure, like a wrapper.
#pragma once

#include <linux/memfd.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#endif

namespace morch::sys {

inline constexpr int kWaitByPidfd = 3;  // P_PIDFD, Linux 5.4

inline int pidfd_open(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

// A plain signal, or, with `value`, one as sigqueue(3) sends it.
inline int pidfd_send_signal(int pidfd, int signal, std::optional<int> value) {
  siginfo_t info = {};
  info.si_signo = signal;
  info.si_code = SI_QUEUE;
  info.si_pid = ::getpid();
  info.si_uid = ::getuid();
  info.si_value.sival_int = value.value_or(0);
  siginfo_t* sent = value ? &info : nullptr;  // null: as kill(2) would fill it in
  return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, signal, sent, 0));
}

inline int waitid(int idtype, int id, siginfo_t* info, int options) {
  return static_cast<int>(::syscall(SYS_waitid, idtype, id, info, options, nullptr));
}

inline int memfd_create(const char* name, unsigned flags) {
  return static_cast<int>(::syscall(SYS_memfd_create, name, flags));
}

inline int close_range(unsigned first, unsigned last, unsigned flags) {
  return static_cast<int>(::syscall(SYS_close_range, first, last, flags));
}

// rt_sigprocmask(2) on the whole kernel mask, glibc's two internal signals included, which
// pthread_sigmask would leave out.
inline int set_signal_mask(const unsigned long long* mask, unsigned long long* old_mask) {
  return static_cast<int>(
      ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, mask, old_mask, sizeof(unsigned long long)));
}

}  // namespace morch::sys
