// Finds processes by the random number the agent put into their environment at their start.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace morch {

struct FoundProcess {
  pid_t pid;
  uint64_t start_ticks;
  std::string nonce;
};

// Every live process of this machine whose environment, as it was at exec, holds
// MORCH_NONCE=<one of nonces>. Reads all of /proc/*/environ that this user may read. Inspector
// thread.
std::vector<FoundProcess> find_by_nonce(const std::vector<std::string>& nonces);

}  // namespace morch
