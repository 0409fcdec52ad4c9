// The fuzz target's main where there is no libFuzzer: plans made and damaged at random, without
// coverage.
//
//   driver seconds seed finding   tries until the time is over; on a finding the bytes are in the
//   file `finding` driver file                   gives one file to the target
#include <inttypes.h>
#include <sanitizer/common_interface_defs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <memory>

#include "plan_maker.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length);

namespace {

using namespace morch::shim::fuzz;

const char* finding_path = nullptr;
const uint8_t* current = nullptr;
size_t current_length = 0;

// Called by the sanitizer before it ends the process, on abort() too.
void save_finding() {
  FILE* file = finding_path == nullptr ? nullptr : fopen(finding_path, "wb");
  if (file == nullptr) return;
  fwrite(current, 1, current_length, file);
  fclose(file);
}

// In memory of exactly its size, so that a byte read beyond it shows.
void try_plan(const Bytes& plan) {
  const std::unique_ptr<uint8_t[]> copy(new uint8_t[plan.size()]);
  if (!plan.empty()) memcpy(copy.get(), plan.data(), plan.size());
  current = copy.get();
  current_length = plan.size();
  LLVMFuzzerTestOneInput(copy.get(), plan.size());
}

uint64_t now_s() {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec);
}

void try_until(uint64_t end_s, Random* random) {
  constexpr size_t kMostDamages = 4;
  constexpr int kBetweenLooksAtTheClock = 100;
  do {
    for (int i = 0; i < kBetweenLooksAtTheClock; ++i) {
      Bytes plan = make_plan(random);
      try_plan(plan);
      for (size_t left = random->below(kMostDamages + 1); left > 0; --left) {
        damage(&plan, random);
        try_plan(plan);
      }
    }
  } while (now_s() < end_s);
}

int try_file(const char* path) {
  FILE* file = fopen(path, "rb");
  if (file == nullptr) {
    perror(path);
    return 2;
  }
  Bytes plan;
  for (int byte; (byte = fgetc(file)) != EOF;) plan.push_back(static_cast<uint8_t>(byte));
  fclose(file);
  try_plan(plan);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2) return try_file(argv[1]);
  if (argc != 4) {
    fprintf(stderr, "usage: %s seconds seed finding | file\n", argv[0]);
    return 2;
  }
  finding_path = argv[3];
  __sanitizer_set_death_callback(save_finding);
  Random random(strtoull(argv[2], nullptr, 10));
  try_until(now_s() + strtoull(argv[1], nullptr, 10), &random);
  return 0;
}
