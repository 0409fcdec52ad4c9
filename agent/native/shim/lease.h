// The agent's lease page, and the fence that goes by it: docs/shim.md, "Lease page".
#pragma once

#include "clock.h"
#include "failure.h"
#include "plan.h"

namespace morch::shim {

// What the fence asks for now.
struct Verdict {
  bool stop;
  uint64_t kill_at_ms;     // of a stop
  uint64_t look_again_ms;  // otherwise; or kNever
};

class Lease {
 public:
  // False when the page cannot be mapped. Fence keep needs none.
  bool open(const Plan& plan, Failure* failure);

  Verdict judge(uint64_t now_ms) const;

 private:
  Verdict judge_lease(uint64_t now_ms) const;
  Verdict judge_absence(uint64_t now_ms) const;

  const uint64_t* page_ = nullptr;
  Fence fence_ = Fence::kKeep;
  uint64_t orphan_after_ms_ = 0;
  uint64_t grace_ms_ = 0;
  uint64_t term_ = 0;
};

}  // namespace morch::shim
