#include "registry.h"

#include <signal.h>
#include <sys/epoll.h>
#include <time.h>

#include <algorithm>

#include "syscalls.h"

namespace morch {

namespace {

double wall_clock_ms() {
  timespec now = {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec / 1'000'000);
}

double milliseconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_usec) / 1e3;
}

ExitRecord exit_record(const Child& child, const siginfo_t& info, const rusage& usage) {
  const bool exited = info.si_code == CLD_EXITED;
  const auto waited_peak_kib = static_cast<uint64_t>(usage.ru_maxrss);
  const uint64_t peak_kib =
      waited_peak_kib > child.inherited_peak_kib ? waited_peak_kib : child.sampled_peak_kib.load();
  return {child.handle,
          child.pid,
          exited ? info.si_status : -1,
          exited ? 0 : info.si_status,
          milliseconds(usage.ru_utime),
          milliseconds(usage.ru_stime),
          static_cast<double>(peak_kib) * 1024,
          wall_clock_ms()};
}

}  // namespace

Result<uint64_t> Registry::add(const std::shared_ptr<Child>& child,
                               const std::function<void(uint64_t)>& announce) {
  const std::lock_guard<std::mutex> guard(lock_);
  if (child->sink->closed) return Failure{"spawn", ECANCELED, "the environment is closing"};
  const uint64_t handle = ++last_handle_;
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = handle;
  if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, child->pidfd.get(), &event) == -1) {
    return Failure{"epoll_ctl", errno, "watching a child"};
  }
  child->handle = handle;
  by_handle_.emplace(handle, child);
  by_pid_.emplace(child->pid, handle);
  child->sink->live++;
  announce(handle);
  return handle;
}

std::optional<Registry::Reaped> Registry::reap(uint64_t handle) {
  const std::lock_guard<std::mutex> guard(lock_);
  const auto found = by_handle_.find(handle);
  if (found == by_handle_.end()) return std::nullopt;
  const std::shared_ptr<Child> child = found->second;

  siginfo_t info = {};
  rusage usage = {};
  const int result = retry_eintr([&] {
    return sys::waitid(sys::kWaitByPidfd, child->pidfd.get(), &info, WEXITED | WNOHANG, &usage);
  });
  if (result == 0 && info.si_pid == 0) return std::nullopt;
  if (result == -1) {
    // ECHILD: something in this process waited for a child it did not start. The process is gone,
    // and how it ended is lost; report what is certain.
    info.si_code = CLD_KILLED;
    info.si_status = 0;
  }
  ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, child->pidfd.get(), nullptr);
  by_pid_.erase(child->pid);
  by_handle_.erase(found);
  child->sink->live--;
  return Reaped{exit_record(*child, info, usage), child};
}

Result<bool> Registry::signal_group(uint64_t handle, int signal) {
  const std::lock_guard<std::mutex> guard(lock_);
  const auto found = by_handle_.find(handle);
  if (found == by_handle_.end()) return false;
  const pid_t pid = found->second->pid;
  // The child leads its session, so it cannot leave its group; unreaped, it keeps the number taken.
  if (::kill(-pid, signal) == 0) return true;
  return Failure{"kill", errno, "process group " + std::to_string(pid)};
}

bool Registry::owns(pid_t pid) const {
  const std::lock_guard<std::mutex> guard(lock_);
  return by_pid_.count(pid) != 0;
}

std::vector<std::shared_ptr<Child>> Registry::snapshot() const {
  const std::lock_guard<std::mutex> guard(lock_);
  std::vector<std::shared_ptr<Child>> children;
  children.reserve(by_handle_.size());
  for (const auto& [handle, child] : by_handle_) children.push_back(child);
  return children;
}

bool Registry::empty() const {
  const std::lock_guard<std::mutex> guard(lock_);
  return by_handle_.empty();
}

bool Registry::loops_answered() const {
  const std::lock_guard<std::mutex> guard(lock_);
  return std::all_of(sinks_.begin(), sinks_.end(), [](const std::shared_ptr<ExitSink>& sink) {
    return sink->answered.load() == sink->asked.load();
  });
}

void Registry::ask_loops() {
  const std::lock_guard<std::mutex> guard(lock_);
  for (const std::shared_ptr<ExitSink>& sink : sinks_) sink->ask();
}

void Registry::open(const std::shared_ptr<ExitSink>& sink) {
  const std::lock_guard<std::mutex> guard(lock_);
  sinks_.push_back(sink);
}

void Registry::close(const std::shared_ptr<ExitSink>& sink) {
  const std::lock_guard<std::mutex> guard(lock_);
  sink->closed = true;
  sinks_.erase(std::remove(sinks_.begin(), sinks_.end(), sink), sinks_.end());
  for (const auto& [handle, child] : by_handle_) {
    if (child->sink == sink) sys::pidfd_send_signal(child->pidfd.get(), SIGKILL);
  }
}

}  // namespace morch
