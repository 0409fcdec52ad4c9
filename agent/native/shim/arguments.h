// argv, environment and groups of a plan as the kernel wants them, and the paths that execvp(3)
// would try.
#pragma once

#include "failure.h"
#include "kernel.h"
#include "plan.h"

namespace morch::shim {

class Arguments {
 public:
  // Room and contents. False with `failure` set when there is no memory.
  bool lay_out(const Plan& plan, Failure* failure);
  void release();

  // Tries the candidates in turn, like execvp(3), over the PATH of the workload's environment; a
  // file that the kernel answers with ENOEXEC is run by /bin/sh where the plan says so. Returns
  // only on failure, with the errno to report. No allocation.
  int exec() const;

  const uint32_t* groups() const { return groups_; }

 private:
  int exec_one(const char* path) const;

  const char* file_ = nullptr;
  bool shell_ = false;
  const char* search_path_ = nullptr;
  // One free place, then argv[0] and so on: /bin/sh and the candidate take the first two places.
  char** argv_ = nullptr;
  char** env_ = nullptr;
  uint32_t* groups_ = nullptr;
  char* candidate_ = nullptr;
  void* mapping_ = nullptr;
  size_t mapped_bytes_ = 0;
};

}  // namespace morch::shim
