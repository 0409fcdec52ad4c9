// One measurement of the node and of the tree below every process under watch.
#pragma once

#include <cstdint>
#include <vector>

#include "registry.h"
#include "result.h"
#include "unique_fd.h"

namespace morch {

// Inspector thread only.
class Sampler {
 public:
  explicit Sampler(const Registry* registry) : registry_(registry) {}

  // Layout, read by agent/native/index.ts: total CPU ticks, idle CPU ticks, total memory bytes,
  // available memory bytes, load averages over 1, 5 and 15 minutes, CPU count, ticks per second;
  // then for each process of `sink`: handle, CPU ticks and RSS bytes of its descendants, and the
  // total CPU ticks when these were looked at. What was not looked at this time has done nothing.
  enum class Which { kAll, kLookedAtNow };
  Result<std::vector<double>> sample(const ExitSink* sink, Which which);

 private:
  const Registry* registry_;
  UniqueFd stat_, meminfo_, loadavg_;  // opened on first use
};

}  // namespace morch
