// What the addon keeps about one live workload process, and where its exit goes.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "process_tree.h"
#include "unique_fd.h"

namespace morch {

struct ExitRecord {
  uint64_t handle;
  pid_t pid;
  int code;    // -1 when killed by a signal
  int signal;  // 0 when it exited
  double user_ms;
  double system_ms;
  double max_rss_bytes;  // 0: unknown
  double at_ms;          // wall clock
};

// One per JavaScript environment: receives the exits of the children that environment started.
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
  std::atomic<uint32_t> live{0};  // children registered and not yet reaped
  bool closed = false;            // guarded by the registry's lock
};

struct Child {
  uint64_t handle = 0;  // set by Registry::add
  pid_t pid = 0;
  uint64_t start_ticks = 0;
  // The agent's own peak when the child was made. exec(2) books the memory it replaces, which after
  // a vfork-style clone is the agent's, as the child's peak; a peak no higher than this says
  // nothing.
  uint64_t inherited_peak_kib = 0;
  UniqueFd pidfd;
  std::shared_ptr<ExitSink> sink;
  ProcessTree tree;                           // inspector thread only
  std::atomic<uint64_t> sampled_peak_kib{0};  // largest RSS of the process itself seen in a sample
};

}  // namespace morch
