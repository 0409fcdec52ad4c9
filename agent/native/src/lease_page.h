// The agent's sign of life, a page that every shim maps (docs/shim.md). JavaScript thread.
#pragma once

#include <cstdint>
#include <string>

#include "result.h"

namespace morch {

// CLOCK_BOOTTIME: since boot, suspension included.
int64_t boot_time_ms();

class LeasePage {
 public:
  static constexpr size_t kBytes = 4096;

  // Maps the file, made with mode 0600 if it is missing. What it says stays until refresh().
  static Result<LeasePage> open(const std::string& path);
  LeasePage(LeasePage&& other) noexcept;
  LeasePage& operator=(LeasePage&&) = delete;
  ~LeasePage() { close(); }

  struct Lease {
    int64_t ends_ms;  // on the clock of boot_time_ms(); 0: none is in force
    uint64_t term;
  };

  // False after close().
  bool refresh(const Lease& lease, bool has_scheduler);
  // What the page says, written by whichever agent was the last; ends_ms is 0 where it says
  // nothing.
  Lease read() const;
  void close();

 private:
  explicit LeasePage(uint64_t* fields) : fields_(fields) {}
  uint64_t* fields_;
};

}  // namespace morch
