#include "plan_rules.h"

#include <string.h>

#include <algorithm>

namespace morch::shim::fuzz {

namespace {

constexpr uint64_t k32 = UINT32_MAX;
constexpr uint64_t k64 = UINT64_MAX;

constexpr bool kSingle = false, kRepeated = true;
constexpr bool kNeeded = false, kOptional = true;

constexpr Rule text(uint32_t tag, Kind kind, bool repeated = kSingle, bool optional = kNeeded) {
  return {tag, kind, repeated, optional, 0, 0, 0, 0};
}

constexpr Rule number(uint32_t tag, uint64_t min, uint64_t max) {
  return {tag, Kind::kNumbers, kSingle, kNeeded, 1, 1, min, max};
}

constexpr Rule kRules[] = {
    text(1, Kind::kString),
    text(2, Kind::kString, kRepeated),
    text(3, Kind::kString, kRepeated, kOptional),
    text(4, Kind::kString),
    number(5, 0, 1),
    text(6, Kind::kPath),
    number(7, 0, k32),
    text(8, Kind::kNonce),
    text(9, Kind::kPath),
    text(10, Kind::kPath),
    number(11, 0, k32),
    {12, Kind::kNumbers, kSingle, kNeeded, 2, 2, 1, k32},
    number(13, 4096, INT64_MAX),
    number(14, 1, k32),
    number(15, 1, 64),
    number(16, 0, k64),
    number(17, 0, 2),
    number(18, 0, k64),
    text(19, Kind::kPath, kSingle, kOptional),
    text(20, Kind::kPath, kSingle, kOptional),
    {21, Kind::kNumbers, kSingle, kOptional, 2, 2, 0, k32 - 1},
    {22, Kind::kNumbers, kRepeated, kOptional, 1, 1, 0, k32 - 1},
    {23, Kind::kNumbers, kRepeated, kOptional, 3, 1, 0, 15},
    number(24, 0, 0777),
    number(25, 0, 39),
    number(26, 0, 1),
    number(27, 0, 1),
    number(28, 0, k64),
    number(29, 0, k64),
    number(30, 0, k64),
};
static_assert(sizeof(kRules) / sizeof(kRules[0]) == kLastTag);

constexpr size_t kMostGroups = 65536;

uint64_t little_endian(const uint8_t* at, size_t bytes) {
  uint64_t number = 0;
  for (size_t i = bytes; i > 0; --i) number = number << 8 | at[i - 1];
  return number;
}

bool is_string(const FieldAt& field) {
  return field.length > 0 && memchr(field.value, 0, field.length) == field.value + field.length - 1;
}

bool is_of_nonce(uint8_t byte) {
  static constexpr char kAllowed[] =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
  return memchr(kAllowed, byte, sizeof(kAllowed) - 1) != nullptr;
}

bool obeys(const FieldAt& field, const Rule& rule) {
  switch (rule.kind) {
    case Kind::kString:
      return is_string(field);
    case Kind::kPath:
      return is_string(field) && field.value[0] == '/' && field.length <= 4096;
    case Kind::kNonce:
      return is_string(field) && field.length - 1 >= 8 && field.length - 1 <= 64 &&
             std::all_of(field.value, field.value + field.length - 1, is_of_nonce);
    case Kind::kNumbers:
      break;
  }
  if (field.length != rule.numbers * 8) return false;
  for (size_t i = 0; i < rule.bounded; ++i) {
    if (field.number(i) < rule.min || field.number(i) > rule.max) return false;
  }
  return true;
}

}  // namespace

const Rule& rule_of(uint32_t tag) { return kRules[tag - kFirstTag]; }

uint64_t FieldAt::number(size_t index) const { return little_endian(value + index * 8, 8); }

std::optional<std::vector<FieldAt>> fields_of_plan(const uint8_t* bytes, size_t length) {
  if (length < 12 || length > size_t{4} << 20 || memcmp(bytes, "MSHPLAN1", 8) != 0) return {};
  const uint64_t count = little_endian(bytes + 8, 4);
  std::vector<FieldAt> fields;
  size_t at = 12;
  while (at < length) {
    if (length - at < 8) return {};
    const FieldAt field = {static_cast<uint32_t>(little_endian(bytes + at, 4)),
                           static_cast<uint32_t>(little_endian(bytes + at + 4, 4)), bytes + at + 8};
    const uint64_t end = at + 8 + uint64_t{field.length};
    const uint64_t next = at + 8 + (uint64_t{field.length} + 7) / 8 * 8;
    if (next > length) return {};
    if (std::any_of(bytes + end, bytes + next, [](uint8_t byte) { return byte != 0; })) return {};
    if (field.tag < kFirstTag || field.tag > kLastTag) return {};
    if (!obeys(field, rule_of(field.tag))) return {};
    fields.push_back(field);
    at = next;
  }
  if (fields.size() != count) return {};

  size_t seen[kLastTag + 1] = {};
  uint64_t fence = 0;
  for (const FieldAt& field : fields) {
    ++seen[field.tag];
    if (field.tag == 17) fence = field.number(0);
  }
  for (const Rule& rule : kRules) {
    if (seen[rule.tag] == 0 && !rule.optional) return {};
    if (seen[rule.tag] > 1 && !rule.repeated) return {};
  }
  if (seen[22] > kMostGroups || (fence != 0 && seen[19] == 0)) return {};
  return fields;
}

}  // namespace morch::shim::fuzz
