// Finds the shims of an agent by what their command lines say (docs/shim.md).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace morch {

struct FoundShim {
  pid_t pid;
  uint64_t start_ticks;
  std::string key;
  std::string nonce;
};

// Every live shim of this effective user with that data directory. Reads all of /proc/*/cmdline.
// Inspector thread.
std::vector<FoundShim> find_shims(const std::string& data_dir);

}  // namespace morch
