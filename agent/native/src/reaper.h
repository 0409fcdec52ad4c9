// The thread that waits for the ends of processes: epoll over pidfds, and adopted orphans in
// between.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <thread>

#include "orphans.h"
#include "registry.h"
#include "result.h"
#include "unique_fd.h"

namespace morch {

class Reaper {
 public:
  // Creates the epoll set and starts the thread.
  // @param is_starting  whether `pid` is a child that a spawn worker is just making
  static Result<std::unique_ptr<Reaper>> start(std::function<bool(pid_t)> is_starting);

  // Joins the thread. What is under watch lives on.
  ~Reaper();

  Registry& registry() { return registry_; }

 private:
  Reaper(UniqueFd epoll, UniqueFd stop, std::function<bool(pid_t)> is_starting);
  void run();  // the reaper thread

  UniqueFd epoll_;
  UniqueFd stop_;  // eventfd
  Registry registry_;
  Orphans orphans_;
  std::thread thread_;
};

}  // namespace morch
