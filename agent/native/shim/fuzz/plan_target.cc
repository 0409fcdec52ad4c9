// The fuzz target: gives bytes to the shim's plan reader and aborts when it takes what it must
// refuse, refuses what it must take, or tells something else than the bytes. Called by libFuzzer,
// or by driver.cc.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../plan.h"
#include "plan_rules.h"

namespace morch::shim::fuzz {

namespace {

uint64_t executions = 0;
uint64_t accepted = 0;

void report() {
  printf("plan reader: %" PRIu64 " executions, %" PRIu64 " plans accepted\n", executions, accepted);
}

void require(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "finding: %s\n", what);
  abort();
}

// Text that lies in the plan's own bytes, where the field is, and ends there.
bool is_same(const char* string, const FieldAt& field) {
  return string == reinterpret_cast<const char*>(field.value) && strlen(string) + 1 == field.length;
}

bool is_same(const Plan& plan, const FieldAt& field) {
  const uint64_t number = rule_of(field.tag).kind == Kind::kNumbers ? field.number(0) : 0;
  switch (field.tag) {
    case 1:
      return is_same(plan.file, field);
    case 4:
      return is_same(plan.cwd, field);
    case 5:
      return plan.private_cwd == (number == 1);
    case 6:
      return is_same(plan.state_dir, field);
    case 7:
      return plan.run == number;
    case 8:
      return is_same(plan.nonce, field);
    case 9:
      return is_same(plan.notices, field);
    case 10:
      return is_same(plan.log_dir, field);
    case 11:
      return plan.generation == number;
    case 12:
      return plan.log_first[0] == number && plan.log_first[1] == field.number(1);
    case 13:
      return plan.log_max_bytes == number;
    case 14:
      return plan.log_files == number;
    case 15:
      return static_cast<uint64_t>(plan.stop_signal) == number;
    case 16:
      return plan.grace_ms == number;
    case 17:
      return static_cast<uint64_t>(plan.fence) == number;
    case 18:
      return plan.orphan_after_ms == number;
    case 19:
      return is_same(plan.lease, field);
    case 20:
      return is_same(plan.cgroup, field);
    case 21:
      return plan.has_user && plan.uid == number && plan.gid == field.number(1);
    case 24:
      return plan.umask == number;
    case 25:
      return static_cast<uint64_t>(plan.nice + 20) == number;
    case 26:
      return plan.no_new_privs == (number == 1);
    case 27:
      return plan.shell == (number == 1);
    case 28:
      return plan.lease_term == number;
    case 29:
      return plan.start_until_ms == number;
    case 30:
      return plan.hand_over_ms == number;
    default:
      return rule_of(field.tag).repeated;  // those are looked at one by one
  }
}

void require_repeated(const Plan& plan, Repeated tag, size_t count,
                      const std::vector<FieldAt>& fields) {
  RepeatedFields values(plan, tag);
  size_t found = 0;
  for (const FieldAt& field : fields) {
    if (field.tag != static_cast<uint32_t>(tag)) continue;
    ++found;
    require(values.next() == field.value, "a repeated field is not where it is");
    if (rule_of(field.tag).kind != Kind::kNumbers) continue;
    for (size_t i = 0; i < rule_of(field.tag).numbers; ++i) {
      require(number_in(field.value, i) == field.number(i), "a number is read wrong");
    }
  }
  require(values.next() == nullptr, "there are more repeated fields than there are");
  require(found == count, "the count of a repeated field is wrong");
}

void require_same(const Plan& plan, const std::vector<FieldAt>& fields) {
  bool has[kLastTag + 1] = {};
  for (const FieldAt& field : fields) {
    has[field.tag] = true;
    require(is_same(plan, field), "a field is read wrong");
  }
  require(has[19] == (plan.lease != nullptr), "a lease page from nowhere");
  require(has[20] == (plan.cgroup != nullptr), "a group from nowhere");
  require(has[21] == plan.has_user, "a user from nowhere");
  require_repeated(plan, Repeated::kArgv, plan.argc, fields);
  require_repeated(plan, Repeated::kEnv, plan.envc, fields);
  require_repeated(plan, Repeated::kGroups, plan.group_count, fields);
  require_repeated(plan, Repeated::kRlimit, plan.rlimit_count, fields);
}

}  // namespace

}  // namespace morch::shim::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  using namespace morch::shim;
  if (fuzz::executions++ == 0) atexit(fuzz::report);
  Plan plan;
  const bool taken = read_plan(bytes, length, &plan);
  const auto fields = fuzz::fields_of_plan(bytes, length);
  fuzz::require(!taken || fields.has_value(), "what is no plan is accepted");
  fuzz::require(taken || !fields.has_value(), "a plan is refused");
  if (!taken) return 0;
  ++fuzz::accepted;
  fuzz::require_same(plan, *fields);
  return 0;
}
