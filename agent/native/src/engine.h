// The threads of the addon. One set per process, shared by all JavaScript environments that loaded
// it (the main one, worker threads, contexts of a test runner): the children of a process and its
// subreaper flag are process-wide, so the thread that waits for them must be too.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "reaper.h"
#include "result.h"
#include "sampler.h"
#include "spawn_pool.h"
#include "task_queue.h"
#include "worker.h"

namespace morch {

class Engine {
 public:
  // The first call starts the threads and makes this process a child subreaper. Each successful
  // call is matched by one release(); the last release joins the threads. JavaScript threads.
  static Result<Engine*> acquire();
  static void release();

  Registry& registry() { return reaper_->registry(); }
  void spawn(SpawnRequest request) { pool_.submit(std::move(request)); }  // any thread

  // Runs `job` on the inspector thread, where sampling and scanning happen. Any thread.
  void inspect(std::function<void(Sampler&)> job) { inspections_.push(std::move(job)); }

  // Runs `job`, which may wait for the name service of the machine, on the look-up thread: nothing
  // else has to wait for it. Any thread.
  void look_up(std::function<void()> job) { look_ups_.run(std::move(job)); }

  // Runs `job`, which may wait for the disk, on the disk thread, one after the other. Any thread.
  void change(std::function<void()> job) { changes_.run(std::move(job)); }

  // Runs `job`, which wakes other processes that then want the CPU, on the signal thread. Any
  // thread.
  void signal(std::function<void()> job) { signals_.run(std::move(job)); }

 private:
  friend std::default_delete<Engine>;
  Engine() = default;
  ~Engine();
  static Result<std::unique_ptr<Engine>> start();
  void run_inspector();

  std::unique_ptr<Reaper> reaper_;
  SpawnPool pool_;
  TaskQueue<std::function<void(Sampler&)>> inspections_;
  std::thread inspector_;
  Worker look_ups_{"morch-users"};
  Worker changes_{"morch-disk"};
  Worker signals_{"morch-signals"};
};

}  // namespace morch
