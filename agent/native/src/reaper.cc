#include "reaper.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <array>
#include <chrono>
#include <map>

#include "thread_setup.h"

namespace morch {

namespace {

constexpr uint64_t kStopEvent = 0;  // handles start at 1
constexpr int kEventsPerWait = 256;

using Clock = std::chrono::steady_clock;

}  // namespace

Result<std::unique_ptr<Reaper>> Reaper::start(std::function<bool(pid_t)> is_starting) {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return Failure{"epoll_create1", errno, ""};
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop.valid()) return Failure{"eventfd", errno, ""};
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = kStopEvent;
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, stop.get(), &event) == -1) {
    return Failure{"epoll_ctl", errno, "the stop event"};
  }
  std::unique_ptr<Reaper> reaper(
      new Reaper(std::move(epoll), std::move(stop), std::move(is_starting)));
  reaper->thread_ = start_thread("morch-reaper", [raw = reaper.get()] { raw->run(); });
  return reaper;
}

Reaper::Reaper(UniqueFd epoll, UniqueFd stop, std::function<bool(pid_t)> is_starting)
    : epoll_(std::move(epoll)),
      stop_(std::move(stop)),
      registry_(epoll_.get()),
      orphans_(
          [this, is_starting = std::move(is_starting)](pid_t pid) {
            // In this order: a worker registers a process before it stops calling it "starting".
            return is_starting(pid) || registry_.owns(pid);
          },
          &registry_) {}

Reaper::~Reaper() {
  ::eventfd_write(stop_.get(), 1);
  thread_.join();
}

void Reaper::run() {
  std::array<epoll_event, kEventsPerWait> events;
  Clock::time_point next_orphan_check = Clock::now();
  for (bool stopped = false; !stopped;) {
    const auto wait_ms =
        std::chrono::ceil<std::chrono::milliseconds>(next_orphan_check - Clock::now()).count();
    const int count = ::epoll_wait(epoll_.get(), events.data(), kEventsPerWait,
                                   static_cast<int>(std::max<int64_t>(wait_ms, 0)));
    std::map<std::shared_ptr<ExitSink>, std::vector<ExitRecord>> batches;
    for (int i = 0; i < count; ++i) {  // count is -1 on EINTR
      const uint64_t handle = events[static_cast<size_t>(i)].data.u64;
      if (handle == kStopEvent) {
        stopped = true;
      } else if (auto ended = registry_.take_ended(handle)) {
        batches[ended->process->sink].push_back(ended->exit);
      }
    }
    for (const auto& [sink, exits] : batches) sink->exited(exits);
    if (!batches.empty()) {  // a shim that was killed leaves orphans to this process
      next_orphan_check =
          std::min(next_orphan_check, Clock::now() + std::chrono::milliseconds(kOrphanCheckMs));
    }
    if (Clock::now() >= next_orphan_check) {
      const bool has_zombies = orphans_.reap_zombies();
      next_orphan_check = Clock::now() + std::chrono::milliseconds(
                                             has_zombies ? kOrphanCheckMs : kOrphanIdleCheckMs);
    }
  }
}

}  // namespace morch
