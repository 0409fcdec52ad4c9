#include "engine.h"

#include <sys/prctl.h>

#include <mutex>

#include "heap_memory.h"
#include "thread_setup.h"

namespace morch {

namespace {

// Leaked on purpose, never destroyed: the process may exit while another thread is in here.
std::mutex& engine_lock() {
  static auto* lock = new std::mutex;
  return *lock;
}
Engine* shared_engine = nullptr;  // guarded by engine_lock, like the count
int users = 0;

}  // namespace

Result<Engine*> Engine::acquire() {
  const std::lock_guard<std::mutex> guard(engine_lock());
  if (shared_engine == nullptr) {
    Result<std::unique_ptr<Engine>> started = start();
    if (!started.ok()) return started.failure();
    shared_engine = started.value().release();
  }
  ++users;
  return shared_engine;
}

void Engine::release() {
  const std::lock_guard<std::mutex> guard(engine_lock());
  if (--users > 0) return;
  std::default_delete<Engine>()(shared_engine);
  shared_engine = nullptr;
}

Result<std::unique_ptr<Engine>> Engine::start() {
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) == -1) {
    return Failure{"prctl", errno, "PR_SET_CHILD_SUBREAPER"};
  }
  share_heaps();
  std::unique_ptr<Engine> engine(new Engine);
  Engine* raw = engine.get();
  Result<std::unique_ptr<Reaper>> reaper =
      Reaper::start([raw](pid_t pid) { return raw->pool_.is_starting(pid); });
  if (!reaper.ok()) return reaper.failure();
  engine->reaper_ = std::move(reaper.value());
  const Result<bool> pool = engine->pool_.start(&engine->registry());
  if (!pool.ok()) return pool.failure();
  engine->inspector_ = start_thread("morch-inspect", [raw] { raw->run_inspector(); });
  return engine;
}

Engine::~Engine() {
  inspections_.close();
  if (inspector_.joinable()) inspector_.join();
  look_ups_.stop();
  changes_.stop();
  signals_.stop();
  pool_.stop();
  reaper_.reset();  // asks the pool until it has ended
}

void Engine::run_inspector() {
  Sampler sampler(&registry());
  while (auto job = inspections_.pop()) (*job)(sampler);
}

}  // namespace morch
