// The shim's descendants: finding them, and signalling them and nobody else.
//
// A direct child may be signalled by its pid, for only the shim reaps it and until then the pid is
// its own. Anything deeper could end at any moment and its pid become a stranger's: it is signalled
// through a pidfd, after its start time and its parent have been found to be what they were when it
// was found.
#pragma once

#include "kernel.h"

namespace morch::shim {

struct Process {
  pid_t pid;
  pid_t group;
  int32_t parent;  // index in the list; negative: the shim
  uint32_t threads;
  uint64_t start_ticks;
};

// The descendants at one moment, parents before their children. Some that are just being made or
// lose their parent may be missing: whoever needs all looks again.
class Descendants {
 public:
  Descendants() {}
  Descendants(const Descendants&) = delete;
  Descendants& operator=(const Descendants&) = delete;
  ~Descendants();

  void find();
  size_t size() const { return size_; }
  const Process& operator[](size_t index) const { return list_[index]; }

  // Sends `signal` to the `index`th, then `then` when it is not 0. Nothing happens when it has
  // ended. To be called before any child is reaped.
  void send(size_t index, int signal, int then = 0) const;

 private:
  void add_children_of(pid_t pid, uint32_t threads, int32_t index);
  bool add(const Process& process);
  bool is_as_found(const Process& process) const;

  static constexpr size_t kFew = 8;

  Process few_[kFew];  // most trees are no larger
  Process* list_ = few_;
  size_t size_ = 0;
  size_t capacity_ = kFew;
};

struct KilledChildren {
  size_t count;
  uint64_t digest;  // of their pids: differs when others were there
};

// SIGKILL to every direct child, each at once when it is found: a child that forks and ends over
// and over is caught only so. Their children then become the shim's, and the next call's.
KilledChildren kill_children();

}  // namespace morch::shim
