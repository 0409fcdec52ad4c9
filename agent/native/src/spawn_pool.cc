#include "spawn_pool.h"

#include "syscalls.h"
#include "thread_setup.h"

namespace morch {

namespace {

// For a shim that cannot be watched: has it kill its tree at once. Killed itself, it might leave a
// workload behind. Reaped later, as an orphan.
void end_shim(const UniqueFd& pidfd) {
  constexpr int kGraceMs = 0;
  sys::pidfd_send_signal(pidfd.get(), SIGTERM, kGraceMs);
}

}  // namespace

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
  auto process = std::make_shared<WatchedProcess>();
  process->pid = started.value().pid;
  process->start_ticks = started.value().start_ticks;
  process->pidfd = std::move(started.value().pidfd);
  process->sink = request.sink;
  process->tree = ProcessTree(process->pid, process->start_ticks);
  const Result<uint64_t> added = registry_->add(process, [&](uint64_t handle) {
    request.done(Spawned{handle, process->pid, process->start_ticks});
  });
  if (added.ok()) return;
  if (added.failure().error != ECANCELED) end_shim(process->pidfd);
  request.done(added.failure());
}

}  // namespace morch
