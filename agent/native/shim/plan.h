// What the agent wants of a shim: docs/shim.md, "Plan". The reader trusts nothing of its input,
// allocates nothing, and makes no system call, so that it can be fuzzed as it is.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace morch::shim {

inline constexpr size_t kPlanMaxBytes = size_t{4} << 20;

enum class Fence : uint8_t { kKeep = 0, kStop = 1, kReplace = 2 };

// Every string points into the bytes of the plan.
struct Plan {
  const char* file;
  const char* cwd;
  bool private_cwd;
  const char* state_dir;
  uint64_t run;  // below 2^32
  const char* nonce;
  const char* notices;
  const char* log_dir;
  uint64_t generation;    // below 2^32
  uint64_t log_first[2];  // stdout, stderr; 1 to 2^32 - 1
  uint64_t log_max_bytes;
  uint64_t log_files;
  int stop_signal;
  uint64_t grace_ms;
  Fence fence;
  uint64_t orphan_after_ms;  // 0: never
  uint64_t lease_term;       // under which the run was started, see Lease page
  uint64_t start_until_ms;   // of boot_ms(): not to be started later; 0: whenever
  uint64_t hand_over_ms;     // so long the agent may take to record the exit; 0: the shim does
  const char* lease;         // null: none; never with a fence other than kKeep
  const char* cgroup;        // null: none
  bool has_user;
  uint32_t uid, gid;
  uint32_t umask;
  int nice;  // -20 to 19
  bool no_new_privs;
  bool shell;  // runs what execve(2) answers with ENOEXEC

  // How many there are of the repeated fields; read with RepeatedFields.
  size_t argc;  // at least 1
  size_t envc;
  size_t group_count;
  size_t rlimit_count;

  const uint8_t* bytes;
  size_t length;
};

enum class Repeated : uint32_t { kArgv = 2, kEnv = 3, kGroups = 22, kRlimit = 23 };

// False when a tag is unknown, a length or value is wrong, or a single field is missing or there
// twice; then `plan` is not to be used.
bool read_plan(const uint8_t* bytes, size_t length, Plan* plan);

// The values of one repeated field of a plan that was read, in their order.
class RepeatedFields {
 public:
  RepeatedFields(const Plan& plan, Repeated tag);
  // The next value, or null after the last.
  const uint8_t* next();

 private:
  const uint8_t* at_;
  const uint8_t* end_;
  uint32_t tag_;
};

// The `index`th number of a value. Values are not aligned.
uint64_t number_in(const uint8_t* value, size_t index);

}  // namespace morch::shim
