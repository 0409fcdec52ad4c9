// CPU and memory of all descendants of one process. Keeps no descriptor between samples: an open
// file of /proc holds over 4 KiB of kernel memory once it was read, opening one anew costs less
// than 10 µs.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace morch {

struct TreeUsage {
  // Of the living descendants, and of those that ended and were waited for, in clock ticks.
  uint64_t cpu_ticks = 0;
  uint64_t rss_pages = 0;  // summed; shared pages count once per process
  // What `now` was as the processes were looked at last.
  uint64_t looked_at = 0;
};

// Inspector thread only, after construction.
class ProcessTree {
 public:
  ProcessTree() = default;
  ProcessTree(pid_t pid, uint64_t start_ticks) : pid_(pid), start_ticks_(start_ticks) {}

  // Nothing of the root's own counts: it is a shim. CPU ticks never fall from one call to the next.
  // A tree that used no CPU and no other memory since it was looked at before is looked at ever
  // more seldom, `most_skipped` calls and 15 apart at most: most processes do nothing most of the
  // time, and looking at one takes opening four files. False when the root is found to be gone.
  bool sample(uint64_t now, uint32_t most_skipped, TreeUsage* usage);

 private:
  // A process below the root.
  struct Branch {
    uint32_t samples = 0;
    std::map<pid_t, std::unique_ptr<Branch>> children;
  };

  static void add_children(pid_t pid, int64_t threads, Branch* branch, TreeUsage* usage);
  static bool add_child(pid_t pid, pid_t parent, Branch* branch, TreeUsage* usage);

  pid_t pid_ = 0;
  uint64_t start_ticks_ = 0;
  TreeUsage latest_;
  uint32_t unchanged_ = 0;  // looks in a row, as far as they are counted
  uint32_t to_skip_ = 0;    // calls
  Branch root_;
};

}  // namespace morch
