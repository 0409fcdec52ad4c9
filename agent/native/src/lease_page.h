// The agent's sign of life, a page that every shim maps (docs/shim.md). JavaScript thread.
#pragma once

#include <cstdint>
#include <optional>
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

  // @param ends_in_ms  of the lease in force, negative when it is over
  // False after close().
  bool refresh(std::optional<int64_t> ends_in_ms, bool has_scheduler);
  void close();

 private:
  explicit LeasePage(uint64_t* fields) : fields_(fields) {}
  uint64_t* fields_;
};

}  // namespace morch
