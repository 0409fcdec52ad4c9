// What the addon keeps about one process under watch, and where its end goes.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "process_tree.h"
#include "unique_fd.h"

namespace morch {

// Code -1 and signal 0: how it ended is not known, as it was not, or no longer, ours to wait for.
struct ExitRecord {
  uint64_t handle;
  pid_t pid;
  int code;      // -1 when killed by a signal
  int signal;    // 0 when it exited
  double at_ms;  // wall clock
};

// One per JavaScript environment: receives the ends of the processes that environment watches.
class ExitSink {
 public:
  virtual ~ExitSink() = default;
  // Reaper thread.
  virtual void exited(const std::vector<ExitRecord>& exits) = 0;
  // Asks the environment's event loop for a sign of life: a later turn of it sets `answered` to
  // what `asked` was. Reaper thread.
  virtual void ask() = 0;

  std::atomic<uint64_t> asked{0};
  std::atomic<uint64_t> answered{0};
  std::atomic<uint32_t> live{0};  // processes registered whose end was not noticed
  bool closed = false;            // guarded by the registry's lock
};

// Costs the kernel one descriptor: there may be thousands.
struct WatchedProcess {
  uint64_t handle = 0;  // set by Registry::add
  pid_t pid = 0;
  uint64_t start_ticks = 0;
  UniqueFd pidfd;
  std::shared_ptr<ExitSink> sink;
  ProcessTree tree;  // inspector thread only
};

}  // namespace morch
