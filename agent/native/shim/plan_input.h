// The plan as it comes from the agent: descriptor 3, read once, into memory that is given back
// after the start.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>

#include "kernel.h"
#include "plan.h"

namespace morch::shim {

inline constexpr int kPlanDescriptor = 3;

class PlanInput {
 public:
  // False when there is no plan, or what there is is none.
  bool read(Plan* plan) {
    // One byte more than a plan may have, so that a longer one shows.
    void* room = sys::mmap(kRoomBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (sys::failed(room)) return false;
    bytes_ = static_cast<uint8_t*>(room);
    size_t length = 0;
    while (length < kRoomBytes) {
      const long part = sys::read(kPlanDescriptor, bytes_ + length, kRoomBytes - length);
      if (part < 0) return false;
      if (part == 0) break;
      length += static_cast<size_t>(part);
    }
    sys::close(kPlanDescriptor);
    return read_plan(bytes_, length, plan);
  }

  // Every string of the plan goes with it.
  void release() { sys::munmap(bytes_, kRoomBytes); }

 private:
  static constexpr size_t kRoomBytes = kPlanMaxBytes + 1;
  uint8_t* bytes_ = nullptr;
};

}  // namespace morch::shim
