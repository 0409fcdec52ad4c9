// Gives libFuzzer a mutator that knows plans; its own works on what comes out of it.
#include <string.h>

#include <algorithm>

#include "plan_maker.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* bytes, size_t length, size_t max_length);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* bytes, size_t length, size_t max_length,
                                          unsigned seed) {
  using namespace morch::shim::fuzz;
  Random random(seed);
  constexpr size_t kHeaderBytes = 12;
  const bool fresh = length < kHeaderBytes || random.one_in(100);
  if (!fresh && random.one_in(4)) return LLVMFuzzerMutate(bytes, length, max_length);
  Bytes plan = fresh ? make_plan(&random) : Bytes(bytes, bytes + length);
  if (!fresh) damage(&plan, &random);
  const size_t size = std::min(plan.size(), max_length);
  if (size > 0) memcpy(bytes, plan.data(), size);
  return size;
}
