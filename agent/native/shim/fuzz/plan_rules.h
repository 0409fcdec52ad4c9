// A second reader of plans, written from docs/shim.md and not from plan.cc: slow, allocating, one
// table. The fuzz target holds the shim's reader against it.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <optional>
#include <vector>

namespace morch::shim::fuzz {

inline constexpr uint32_t kFirstTag = 1;
inline constexpr uint32_t kLastTag = 30;

enum class Kind { kString, kPath, kNonce, kNumbers };

struct Rule {
  uint32_t tag;
  Kind kind;
  bool repeated;
  bool optional;
  uint32_t numbers;  // how many
  uint32_t bounded;  // how many of them, from the first on, `min` and `max` hold for
  uint64_t min, max;
};

// Of a tag from kFirstTag to kLastTag.
const Rule& rule_of(uint32_t tag);

struct FieldAt {
  uint32_t tag;
  uint32_t length;
  const uint8_t* value;

  uint64_t number(size_t index) const;
};

// The fields of a plan that the shim is to take; none when it is to refuse it.
std::optional<std::vector<FieldAt>> fields_of_plan(const uint8_t* bytes, size_t length);

}  // namespace morch::shim::fuzz
