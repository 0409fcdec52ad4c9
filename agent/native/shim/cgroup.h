// The instance's cgroup v2 directory, which the agent has made and will remove. Its files may be
// missing: memory ones without that controller, cgroup.kill before Linux 5.14.
#pragma once

#include "kernel.h"

namespace morch::shim {

class Cgroup {
 public:
  // @param path  null: there is none
  // @returns false when it cannot be opened, with `*error` as in errno(3)
  bool open(const char* path, int* error);
  // Negative: none.
  int directory() const { return directory_; }

  // Kills whatever is in it, at once and for good.
  void kill() const;
  // Whether anything lives in it. False when there is no group or it does not tell.
  bool is_populated() const;
  // Whether the kernel has killed in it, for want of memory, since it was opened: earlier runs
  // share the group.
  bool had_oom_kill() const;

 private:
  uint64_t read_number_of(const char* file, const char* name) const;

  int directory_ = -1;
  uint64_t oom_kills_before_ = 0;
};

}  // namespace morch::shim
