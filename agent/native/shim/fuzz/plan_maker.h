// Makes plans that are whole, and damages them field by field. Used by the fuzz target's two
// drivers: bytes at random would hardly ever come past the header.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <vector>

namespace morch::shim::fuzz {

using Bytes = std::vector<uint8_t>;

// SplitMix64 (Steele, Lea, Flood 2014): the same seed, the same run.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  // 0 to `limit` - 1.
  size_t below(size_t limit) { return static_cast<size_t>(next() % limit); }
  bool one_in(size_t count) { return below(count) == 0; }

 private:
  uint64_t state_;
};

// One that the shim must take.
Bytes make_plan(Random* random);

// One change: of a field (there once more, gone, elsewhere, longer, shorter, with another tag,
// length or value), of the header, or of the end. Bytes that are no plan get changes too.
void damage(Bytes* plan, Random* random);

}  // namespace morch::shim::fuzz
