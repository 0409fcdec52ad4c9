#include "registry.h"

#include <poll.h>
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

// A pidfd is readable from the end of the process on, while it is a zombie too (pidfd_open(2)).
bool has_ended(const UniqueFd& pidfd) {
  pollfd state = {pidfd.get(), POLLIN, 0};
  return retry_eintr([&] { return ::poll(&state, 1, 0); }) == 1;
}

}  // namespace

Result<uint64_t> Registry::add(const std::shared_ptr<WatchedProcess>& process,
                               const std::function<void(uint64_t)>& announce) {
  const std::lock_guard<std::mutex> guard(lock_);
  if (process->sink->closed) return Failure{"spawn", ECANCELED, "the environment is closing"};
  const uint64_t handle = ++last_handle_;
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = handle;
  if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, process->pidfd.get(), &event) == -1) {
    return Failure{"epoll_ctl", errno, "pid " + std::to_string(process->pid)};
  }
  process->handle = handle;
  by_handle_.emplace(handle, process);
  by_pid_[process->pid] = handle;
  process->sink->live++;
  announce(handle);
  return handle;
}

std::optional<uint64_t> Registry::find(const ExitSink* sink, pid_t pid,
                                       uint64_t start_ticks) const {
  const std::lock_guard<std::mutex> guard(lock_);
  const auto found = by_pid_.find(pid);
  if (found == by_pid_.end()) return std::nullopt;
  const WatchedProcess& process = *by_handle_.at(found->second);
  if (process.sink.get() != sink || process.start_ticks != start_ticks) return std::nullopt;
  return process.handle;
}

std::optional<Registry::Ended> Registry::take_ended(uint64_t handle) {
  const std::lock_guard<std::mutex> guard(lock_);
  const auto found = by_handle_.find(handle);
  if (found == by_handle_.end()) return std::nullopt;
  const std::shared_ptr<WatchedProcess> process = found->second;

  siginfo_t info = {};
  const int result = retry_eintr([&] {
    return sys::waitid(sys::kWaitByPidfd, process->pidfd.get(), &info, WEXITED | WNOHANG);
  });
  if (result == 0 && info.si_pid == 0) return std::nullopt;
  // ECHILD: not our child, or something else in this process has waited for it.
  const bool is_known = result == 0;
  const bool exited = is_known && info.si_code == CLD_EXITED;
  ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, process->pidfd.get(), nullptr);
  const auto latest = by_pid_.find(process->pid);
  if (latest != by_pid_.end() && latest->second == handle) by_pid_.erase(latest);
  by_handle_.erase(found);
  process->sink->live--;
  const ExitRecord exit = {handle, process->pid, exited ? info.si_status : -1,
                           is_known && !exited ? info.si_status : 0, wall_clock_ms()};
  return Ended{exit, process};
}

Result<bool> Registry::signal(uint64_t handle, int signal, std::optional<int> value) const {
  const std::shared_ptr<WatchedProcess> process = [&]() -> std::shared_ptr<WatchedProcess> {
    const std::lock_guard<std::mutex> guard(lock_);
    const auto found = by_handle_.find(handle);
    return found == by_handle_.end() ? nullptr : found->second;
  }();
  // Without the lock: whom the signal wakes may take this thread's CPU at once.
  if (process == nullptr || has_ended(process->pidfd)) return false;
  if (sys::pidfd_send_signal(process->pidfd.get(), signal, value) == 0) return true;
  if (errno == ESRCH) return false;
  return Failure{"pidfd_send_signal", errno, "pid " + std::to_string(process->pid)};
}

bool Registry::owns(pid_t pid) const {
  const std::lock_guard<std::mutex> guard(lock_);
  return by_pid_.count(pid) != 0;
}

std::vector<std::shared_ptr<WatchedProcess>> Registry::snapshot() const {
  const std::lock_guard<std::mutex> guard(lock_);
  std::vector<std::shared_ptr<WatchedProcess>> processes;
  processes.reserve(by_handle_.size());
  for (const auto& [handle, process] : by_handle_) processes.push_back(process);
  return processes;
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
}

}  // namespace morch
