// The processes under watch, our children and others, and the epoll set that watches them. A signal
// goes through a pidfd, which the process's end does not make another's.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "result.h"
#include "watched_process.h"

namespace morch {

class Registry {
 public:
  // @param epoll_fd  outlives the registry; a process's event carries its handle as data
  explicit Registry(int epoll_fd) : epoll_fd_(epoll_fd) {}

  // Takes the process in, gives it a handle, and calls `announce(handle)` before the reaper can see
  // its end. Fails with ECANCELED when its environment is closing. Any thread.
  Result<uint64_t> add(const std::shared_ptr<WatchedProcess>& process,
                       const std::function<void(uint64_t)>& announce);

  // The handle of what `sink` already watches. JavaScript thread.
  std::optional<uint64_t> find(const ExitSink* sink, pid_t pid, uint64_t start_ticks) const;

  struct Ended {
    ExitRecord exit;
    std::shared_ptr<WatchedProcess> process;
  };
  // Waits for the process without blocking, if it is a child, and forgets it. Nothing when it is
  // still alive, or unknown. Reaper thread only.
  std::optional<Ended> take_ended(uint64_t handle);

  // Signals the process, with `value` by SI_QUEUE. False once it has ended. Any thread.
  Result<bool> signal(uint64_t handle, int signal, std::optional<int> value) const;

  // Whether a process of this pid is under watch, and therefore waited for by take_ended. Reaper
  // thread: only it removes processes.
  bool owns(pid_t pid) const;

  // Any thread.
  std::vector<std::shared_ptr<WatchedProcess>> snapshot() const;

  // Reaper thread: whether every environment's event loop has turned since ask_loops() was last
  // called.
  bool loops_answered() const;
  void ask_loops();

  // JavaScript thread of the new environment.
  void open(const std::shared_ptr<ExitSink>& sink);
  // Refuses further processes of `sink`. Those that live go on, and are reaped while this process
  // lives; nobody is told. JavaScript thread of the closing environment.
  void close(const std::shared_ptr<ExitSink>& sink);

 private:
  const int epoll_fd_;
  mutable std::mutex lock_;
  uint64_t last_handle_ = 0;
  std::unordered_map<uint64_t, std::shared_ptr<WatchedProcess>> by_handle_;
  // The latest of each pid: one that is no child may have ended, and its number be in use again,
  // before its end was noticed here.
  std::unordered_map<pid_t, uint64_t> by_pid_;
  std::vector<std::shared_ptr<ExitSink>> sinks_;
};

}  // namespace morch
