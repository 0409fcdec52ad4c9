// CPU and memory of one process and all its descendants, through descriptors that stay open between
// samples: a pread of an open /proc/pid/stat costs a tenth of opening it anew, and it can never
// report a later process under a recycled pid.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "unique_fd.h"

namespace morch {

struct TreeUsage {
  uint64_t cpu_ticks = 0;
  uint64_t rss_pages = 0;  // summed over the tree; shared pages count once per process
};

// Inspector thread only, after construction.
class ProcessTree {
 public:
  ProcessTree() = default;
  ProcessTree(pid_t pid, UniqueFd stat) : pid_(pid), stat_(std::move(stat)) {}

  // Adds the tree's usage to `usage`. False when the root has been reaped.
  // @param own_rss_pages  if not null, receives the root's own RSS
  bool sample(TreeUsage* usage, int64_t* own_rss_pages = nullptr);

 private:
  void refresh_children(int64_t threads);
  bool sample_as_child_of(pid_t parent, TreeUsage* usage);

  pid_t pid_ = 0;
  UniqueFd stat_;
  UniqueFd main_thread_children_;  // opened on first use
  uint32_t samples_ = 0;
  std::map<pid_t, std::unique_ptr<ProcessTree>> children_;
};

}  // namespace morch
