#include "plan.h"

#include "text.h"

namespace morch::shim {

namespace {

constexpr char kMagic[] = "MSHPLAN1";
constexpr size_t kMagicBytes = sizeof(kMagic) - 1;
constexpr size_t kHeaderBytes = kMagicBytes + 4;
constexpr size_t kFieldHeaderBytes = 8;

constexpr uint64_t kUint32Max = UINT32_MAX;
constexpr uint64_t kPathMax = 4096;  // PATH_MAX, with the NUL
constexpr uint64_t kSignalMax = 64;
constexpr uint64_t kResourceMax = 15;
constexpr uint64_t kGroupsMax = 65536;  // NGROUPS_MAX
constexpr uint64_t kNiceBias = 20;
constexpr uint64_t kNiceMax = 39;
constexpr uint64_t kLogMinBytes = 4096;

enum Tag : uint32_t {
  kFile = 1,
  kArgv = 2,
  kEnv = 3,
  kCwd = 4,
  kPrivateCwd = 5,
  kStateDir = 6,
  kRun = 7,
  kNonce = 8,
  kNotices = 9,
  kLogDir = 10,
  kGeneration = 11,
  kLogFirst = 12,
  kLogMaxBytes = 13,
  kLogFiles = 14,
  kStopSignal = 15,
  kGraceMs = 16,
  kFence = 17,
  kOrphanAfterMs = 18,
  kLease = 19,
  kCgroup = 20,
  kUser = 21,
  kGroups = 22,
  kRlimit = 23,
  kUmask = 24,
  kNice = 25,
  kNoNewPrivs = 26,
  kShell = 27,
  kLeaseTerm = 28,
  kStartUntilMs = 29,
  kHandOverMs = 30,
};

constexpr uint32_t bit(Tag tag) { return uint32_t{1} << tag; }

constexpr Tag kLastTag = kHandOverMs;
constexpr uint32_t kKnown = (bit(kLastTag) << 1) - 2;  // 1 to 30
constexpr uint32_t kMayRepeat = bit(kArgv) | bit(kEnv) | bit(kGroups) | bit(kRlimit);
constexpr uint32_t kMayLack =
    bit(kEnv) | bit(kLease) | bit(kCgroup) | bit(kUser) | bit(kGroups) | bit(kRlimit);

struct Field {
  uint32_t tag;
  uint32_t length;
  const uint8_t* value;
};

uint32_t read_u32(const uint8_t* at) {
  return uint32_t{at[0]} | uint32_t{at[1]} << 8 | uint32_t{at[2]} << 16 | uint32_t{at[3]} << 24;
}

// Takes the field at `*at` and moves `*at` past it. False when the bytes do not hold it whole.
bool next_field(const uint8_t** at, const uint8_t* end, Field* field) {
  const auto left = static_cast<size_t>(end - *at);
  if (left < kFieldHeaderBytes) return false;
  field->tag = read_u32(*at);
  field->length = read_u32(*at + 4);
  field->value = *at + kFieldHeaderBytes;
  const size_t padded = (size_t{field->length} + 7) / 8 * 8;
  if (padded > left - kFieldHeaderBytes) return false;
  for (size_t i = field->length; i < padded; ++i) {
    if (field->value[i] != 0) return false;
  }
  *at = field->value + padded;
  return true;
}

bool take_string(const Field& field, const char** to) {
  if (field.length == 0) return false;
  for (uint32_t i = 0; i < field.length; ++i) {
    if ((field.value[i] == 0) != (i == field.length - 1)) return false;
  }
  *to = reinterpret_cast<const char*>(field.value);
  return true;
}

bool take_path(const Field& field, const char** to) {
  return field.length <= kPathMax && take_string(field, to) && **to == '/';
}

bool take_nonce(const Field& field, const char** to) {
  constexpr uint32_t kMin = 8, kMax = 64;
  if (field.length < kMin + 1 || field.length > kMax + 1 || !take_string(field, to)) return false;
  for (const char* at = *to; *at != '\0'; ++at) {
    const bool letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z');
    if (!letter && !is_digit(*at) && *at != '-') return false;
  }
  return true;
}

bool has_numbers(const Field& field, uint32_t count) { return field.length == count * 8; }

bool take_number(const Field& field, uint64_t min, uint64_t max, uint64_t* to) {
  if (!has_numbers(field, 1)) return false;
  *to = number_in(field.value, 0);
  return *to >= min && *to <= max;
}

template <typename T>
bool take_small(const Field& field, uint64_t min, uint64_t max, T* to) {
  uint64_t number = 0;
  if (!take_number(field, min, max, &number)) return false;
  *to = static_cast<T>(number);
  return true;
}

// The largest uid or gid means "leave it as it is" to the kernel.
bool is_id(uint64_t number) { return number < kUint32Max; }

bool take(const Field& field, Plan* plan) {
  switch (field.tag) {
    case kFile:
      return take_string(field, &plan->file);
    case kArgv: {
      const char* argument;
      ++plan->argc;
      return take_string(field, &argument);
    }
    case kEnv: {
      const char* entry;
      ++plan->envc;
      return take_string(field, &entry);
    }
    case kCwd:
      return take_string(field, &plan->cwd);
    case kPrivateCwd:
      return take_small(field, 0, 1, &plan->private_cwd);
    case kStateDir:
      return take_path(field, &plan->state_dir);
    case kRun:
      return take_number(field, 0, kUint32Max, &plan->run);
    case kNonce:
      return take_nonce(field, &plan->nonce);
    case kNotices:
      return take_path(field, &plan->notices);
    case kLogDir:
      return take_path(field, &plan->log_dir);
    case kGeneration:
      return take_number(field, 0, kUint32Max, &plan->generation);
    case kLogFirst:
      if (!has_numbers(field, 2)) return false;
      for (size_t i = 0; i < 2; ++i) {
        plan->log_first[i] = number_in(field.value, i);
        if (plan->log_first[i] < 1 || plan->log_first[i] > kUint32Max) return false;
      }
      return true;
    case kLogMaxBytes:
      return take_number(field, kLogMinBytes, INT64_MAX, &plan->log_max_bytes);
    case kLogFiles:
      return take_number(field, 1, kUint32Max, &plan->log_files);
    case kStopSignal:
      return take_small(field, 1, kSignalMax, &plan->stop_signal);
    case kGraceMs:
      return take_number(field, 0, UINT64_MAX, &plan->grace_ms);
    case kFence:
      return take_small(field, 0, 2, &plan->fence);
    case kOrphanAfterMs:
      return take_number(field, 0, UINT64_MAX, &plan->orphan_after_ms);
    case kLease:
      return take_path(field, &plan->lease);
    case kCgroup:
      return take_path(field, &plan->cgroup);
    case kUser: {
      if (!has_numbers(field, 2)) return false;
      const uint64_t uid = number_in(field.value, 0);
      const uint64_t gid = number_in(field.value, 1);
      plan->has_user = true;
      plan->uid = static_cast<uint32_t>(uid);
      plan->gid = static_cast<uint32_t>(gid);
      return is_id(uid) && is_id(gid);
    }
    case kGroups:
      return has_numbers(field, 1) && is_id(number_in(field.value, 0)) &&
             ++plan->group_count <= kGroupsMax;
    case kRlimit:
      ++plan->rlimit_count;
      return has_numbers(field, 3) && number_in(field.value, 0) <= kResourceMax;
    case kUmask:
      return take_small(field, 0, 0777, &plan->umask);
    case kNice: {
      uint64_t biased = 0;
      if (!take_number(field, 0, kNiceMax, &biased)) return false;
      plan->nice = static_cast<int>(biased) - static_cast<int>(kNiceBias);
      return true;
    }
    case kNoNewPrivs:
      return take_small(field, 0, 1, &plan->no_new_privs);
    case kShell:
      return take_small(field, 0, 1, &plan->shell);
    case kLeaseTerm:
      return take_number(field, 0, UINT64_MAX, &plan->lease_term);
    case kStartUntilMs:
      return take_number(field, 0, UINT64_MAX, &plan->start_until_ms);
    case kHandOverMs:
      return take_number(field, 0, UINT64_MAX, &plan->hand_over_ms);
    default:
      return false;
  }
}

}  // namespace

uint64_t number_in(const uint8_t* value, size_t index) {
  const uint8_t* at = value + index * 8;
  return read_u32(at) | uint64_t{read_u32(at + 4)} << 32;
}

bool read_plan(const uint8_t* bytes, size_t length, Plan* plan) {
  *plan = {};
  plan->bytes = bytes;
  plan->length = length;
  if (length < kHeaderBytes || length > kPlanMaxBytes) return false;
  for (size_t i = 0; i < kMagicBytes; ++i) {
    if (bytes[i] != static_cast<uint8_t>(kMagic[i])) return false;
  }
  const uint32_t count = read_u32(bytes + kMagicBytes);
  const uint8_t* at = bytes + kHeaderBytes;
  const uint8_t* end = bytes + length;
  uint32_t seen = 0;
  for (uint32_t i = 0; i < count; ++i) {
    Field field;
    if (!next_field(&at, end, &field)) return false;
    if (field.tag > kLastTag || (kKnown & uint32_t{1} << field.tag) == 0) return false;
    const uint32_t mine = uint32_t{1} << field.tag;
    if ((seen & mine) != 0 && (kMayRepeat & mine) == 0) return false;
    seen |= mine;
    if (!take(field, plan)) return false;
  }
  if (at != end || (seen | kMayLack) != kKnown) return false;
  return plan->fence == Fence::kKeep || plan->lease != nullptr;
}

RepeatedFields::RepeatedFields(const Plan& plan, Repeated tag)
    : at_(plan.bytes + kHeaderBytes),
      end_(plan.bytes + plan.length),
      tag_(static_cast<uint32_t>(tag)) {}

const uint8_t* RepeatedFields::next() {
  Field field;
  while (next_field(&at_, end_, &field)) {
    if (field.tag == tag_) return field.value;
  }
  return nullptr;
}

}  // namespace morch::shim
