// Lines to the agent's FIFO: docs/shim.md, "Notices". They only hasten; the state file is what
// counts.
#pragma once

#include "clock.h"
#include "record.h"

namespace morch::shim {

class Notices {
 public:
  // @param fifo  its path, copied; shorter than PATH_MAX
  void open(const char* fifo);

  // The line is sent when act() is next called, together with those that still wait.
  void send(const Line& line, uint64_t now_ms);
  // The last one once more.
  void send_again(uint64_t now_ms);

  // Nobody has read the FIFO when it was last written to.
  bool is_unheard() const { return unheard_; }

  // Sends what is due. @returns when to call again: ms of boot_ms(), or kNever
  uint64_t act(uint64_t now_ms);

 private:
  Text<2048> lines_;  // at most four: started, exited that is not durable, exited again, gone
  uint64_t due_ms_ = kNever;
  bool unheard_ = false;
  char path_[4096];  // PATH_MAX
};

}  // namespace morch::shim
