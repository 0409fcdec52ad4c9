// The one place that makes a process: clone3(2), with clone(2) where clone3 is missing or forbidden
// (kernels before 5.3, old seccomp profiles answer ENOSYS).
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>

#include "result.h"
#include "unique_fd.h"

namespace morch {

// Stack of the children of one worker thread. CLONE_VFORK suspends the worker until its child has
// exec'd or exited, so one stack per worker is enough. A guard page lies below it.
class ChildStack {
 public:
  static Result<ChildStack> allocate();
  ChildStack(ChildStack&& other) noexcept;
  ChildStack& operator=(ChildStack&&) = delete;
  ~ChildStack();

  void* base() const;
  size_t size() const;

 private:
  explicit ChildStack(void* mapping) : mapping_(mapping) {}
  void* mapping_;
};

struct ClonedChild {
  pid_t pid;
  UniqueFd pidfd;
};

// Runs `entry(arg)` in a new process that shares this one's memory, and returns once that process
// has exec'd or exited. `entry` must not return. Spawn worker thread, all signals blocked.
//
// @param share_descriptors  CLONE_FILES: the child must unshare its table before it changes it;
//   false copies the table instead, which costs time per descriptor
// @param starting  set to the child's pid before the child can exit; the caller clears it
Result<ClonedChild> clone_child(const ChildStack& stack, bool share_descriptors,
                                std::atomic<pid_t>* starting, int (*entry)(void*), void* arg);

}  // namespace morch
