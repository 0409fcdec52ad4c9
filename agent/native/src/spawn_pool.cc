#include "spawn_pool.h"

#include "thread_setup.h"

namespace morch {

Result<bool> SpawnPool::start(Registry* registry) {
  registry_ = registry;
  for (size_t i = 0; i < kThreads; ++i) {
    Result<ChildStack> stack = ChildStack::allocate();
    if (!stack.ok()) return stack.failure();
    threads_[i] = start_thread("morch-spawn", [this, i, own = std::move(stack.value())]() mutable {
      run(i, std::move(own));
    });
  }
  return true;
}

void SpawnPool::stop() {
  queue_.close();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

bool SpawnPool::is_starting(pid_t pid) const {
  for (const std::atomic<pid_t>& starting : starting_) {
    if (starting.load() == pid) return true;
  }
  return false;
}

void SpawnPool::run(size_t index, ChildStack stack) {
  while (std::optional<SpawnRequest> request = queue_.pop()) {
    serve(*request, stack, &starting_[index]);
    starting_[index].store(0);
  }
}

void SpawnPool::serve(SpawnRequest& request, const ChildStack& stack,
                      std::atomic<pid_t>* starting) {
  Result<StartedProcess> started = spawn_process(request.plan, stack, starting);
  if (!started.ok()) {
    request.done(started.failure());
    return;
  }
  StartedProcess& process = started.value();
  auto child = std::make_shared<Child>();
  child->pid = process.pid;
  child->start_ticks = process.start_ticks;
  child->inherited_peak_kib = process.inherited_peak_kib;
  child->pidfd = std::move(process.pidfd);
  child->sink = request.sink;
  child->tree = ProcessTree(process.pid, std::move(process.stat));
  const Result<uint64_t> added = registry_->add(child, [&](uint64_t handle) {
    request.done(Spawned{handle, child->pid, child->start_ticks});
  });
  if (!added.ok()) {
    kill_and_reap(child->pidfd);
    request.done(added.failure());
  }
}

}  // namespace morch
