// Two long-lived threads that start processes. They live as long as the addon: the kernel sends a
// child that has not cleared it its parent-death signal when the *thread* that made it ends.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "registry.h"
#include "spawn.h"
#include "task_queue.h"
#include "watched_process.h"

namespace morch {

struct Spawned {
  uint64_t handle;
  pid_t pid;
  uint64_t start_ticks;
};

struct SpawnRequest {
  SpawnPlan plan;
  std::shared_ptr<ExitSink> sink;
  // Spawn worker thread; before the process's end can reach the sink. Must not call the registry.
  std::function<void(Result<Spawned>)> done;
};

class SpawnPool {
 public:
  static constexpr size_t kThreads = 2;  // measured: a third brings nothing

  // Starts the threads. Fails when their children's stacks cannot be had.
  Result<bool> start(Registry* registry);
  void stop();  // drops waiting requests, joins the threads

  void submit(SpawnRequest request) { queue_.push(std::move(request)); }  // any thread

  // Whether a worker is between the clone of `pid` and its registration. Reaper thread.
  bool is_starting(pid_t pid) const;

 private:
  void run(size_t index, ChildStack stack);  // a spawn worker thread
  void serve(SpawnRequest& request, const ChildStack& stack, std::atomic<pid_t>* starting);

  Registry* registry_ = nullptr;
  TaskQueue<SpawnRequest> queue_;
  std::array<std::atomic<pid_t>, kThreads> starting_{};
  std::array<std::thread, kThreads> threads_;
};

}  // namespace morch
