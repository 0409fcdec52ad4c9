// What the plan reader must hold for any bytes, in the shape that libFuzzer calls. Built on a libc,
// with sanitizers, by scripts/fuzz-shim.sh.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "../plan.h"

namespace {

using morch::shim::Plan;
using morch::shim::Repeated;
using morch::shim::RepeatedFields;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

// A string of the plan lies in its bytes, its NUL included.
void require_inside(const Plan& plan, const char* string) {
  const auto* begin = reinterpret_cast<const uint8_t*>(string);
  require(begin >= plan.bytes && begin < plan.bytes + plan.length, "a string begins in the plan");
  const auto left = static_cast<size_t>(plan.bytes + plan.length - begin);
  require(std::memchr(string, 0, left) != nullptr, "a string ends in the plan");
}

size_t count_of(const Plan& plan, Repeated tag, size_t numbers) {
  size_t count = 0;
  RepeatedFields fields(plan, tag);
  while (const uint8_t* value = fields.next()) {
    if (numbers == 0) require_inside(plan, reinterpret_cast<const char*>(value));
    volatile uint64_t sink = 0;
    for (size_t i = 0; i < numbers; ++i) sink = sink + morch::shim::number_in(value, i);
    ++count;
  }
  return count;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t length) {
  // A copy of just this length: the sanitizer sees every byte too far.
  auto* bytes = static_cast<uint8_t*>(std::malloc(length == 0 ? 1 : length));
  if (length > 0) std::memcpy(bytes, input, length);
  Plan plan;
  if (morch::shim::read_plan(bytes, length, &plan)) {
    for (const char* string :
         {plan.file, plan.cwd, plan.state_dir, plan.nonce, plan.notices, plan.log_dir}) {
      require(string != nullptr, "a single field is there");
      require_inside(plan, string);
    }
    for (const char* string : {plan.lease, plan.cgroup}) {
      if (string != nullptr) require_inside(plan, string);
    }
    require(plan.argc >= 1, "there is an argv[0]");
    require(count_of(plan, Repeated::kArgv, 0) == plan.argc, "argc");
    require(count_of(plan, Repeated::kEnv, 0) == plan.envc, "envc");
    require(count_of(plan, Repeated::kGroups, 1) == plan.group_count, "group_count");
    require(count_of(plan, Repeated::kRlimit, 3) == plan.rlimit_count, "rlimit_count");
    require(plan.log_max_bytes >= 4096 && plan.log_files >= 1, "limits of the logs");
    require(plan.stop_signal >= 1 && plan.stop_signal <= 64, "stop signal");
    require(plan.nice >= -20 && plan.nice <= 19 && plan.umask <= 0777, "nice and umask");
    require(plan.fence == morch::shim::Fence::kKeep || plan.lease != nullptr,
            "a fence has its page");
  }
  std::free(bytes);
  return 0;
}
