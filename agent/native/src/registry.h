// The live children of this process and the epoll set that watches them; one lock keeps a signal
// from racing with the reaper and thereby from reaching a recycled pid.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "child.h"
#include "result.h"

namespace morch {

class Registry {
 public:
  // @param epoll_fd  outlives the registry; a child's event carries its handle as data
  explicit Registry(int epoll_fd) : epoll_fd_(epoll_fd) {}

  // Takes the child in, gives it a handle, and calls `announce(handle)` before the reaper can see
  // its exit. Fails with ECANCELED when its environment is closing. Spawn worker threads.
  Result<uint64_t> add(const std::shared_ptr<Child>& child,
                       const std::function<void(uint64_t)>& announce);

  struct Reaped {
    ExitRecord exit;
    std::shared_ptr<Child> child;
  };
  // Waits for the child without blocking and forgets it. Nothing when it is still alive, or
  // unknown. Reaper thread only.
  std::optional<Reaped> reap(uint64_t handle);

  // kill(2) of the child's process group; false once the child has been reaped. JavaScript threads.
  Result<bool> signal_group(uint64_t handle, int signal);

  // Whether `pid` is a registered child. Reaper thread: only it removes children.
  bool owns(pid_t pid) const;

  // Any thread.
  std::vector<std::shared_ptr<Child>> snapshot() const;
  bool empty() const;

  // Reaper thread: whether every environment's event loop has turned since ask_loops() was last
  // called.
  bool loops_answered() const;
  void ask_loops();

  // JavaScript thread of the new environment.
  void open(const std::shared_ptr<ExitSink>& sink);
  // Refuses further children of `sink` and kills those that live (the children themselves, as their
  // parent-death signal would). JavaScript thread of the closing environment.
  void close(const std::shared_ptr<ExitSink>& sink);

 private:
  const int epoll_fd_;
  mutable std::mutex lock_;
  uint64_t last_handle_ = 0;
  std::unordered_map<uint64_t, std::shared_ptr<Child>> by_handle_;
  std::unordered_map<pid_t, uint64_t> by_pid_;
  std::vector<std::shared_ptr<ExitSink>> sinks_;
};

}  // namespace morch
