#include "lease.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unique_fd.h"

namespace morch::shim {

namespace {

constexpr long kPageBytes = 4096;
constexpr uint64_t kVersion = 1;
constexpr uint64_t kLongestFencedGraceMs = 3000;
// How often a page with no lease in force is looked at, which may get one at any time.
constexpr uint64_t kLookEveryMs = 1000;

enum Word {
  kVersionWord = 0,
  kRefreshedWord = 1,
  kEndsWord = 2,
  kSchedulerWord = 3,
  kTermWord = 4
};

// The agent writes each number in one piece; the compiler must read it anew every time.
uint64_t load(const uint64_t* page, Word word) {
  return __atomic_load_n(page + word, __ATOMIC_ACQUIRE);
}

}  // namespace

bool Lease::open(const Plan& plan, Failure* failure) {
  fence_ = plan.fence;
  orphan_after_ms_ = plan.orphan_after_ms;
  grace_ms_ = plan.grace_ms;
  term_ = plan.lease_term;
  if (fence_ == Fence::kKeep) return true;
  const UniqueFd file(sys::openat(AT_FDCWD, plan.lease, O_RDONLY | O_CLOEXEC));
  *failure = {"open", file.error()};
  if (!file.valid()) return false;
  // A page beyond the end of its file would be SIGBUS to read.
  *failure = {"mmap", EINVAL};
  if (sys::lseek(file.get(), 0, SEEK_END) < kPageBytes) return false;
  const void* page = sys::mmap(kPageBytes, PROT_READ, MAP_SHARED, file.get());
  *failure = {"mmap", static_cast<int>(-sys::word(page))};
  if (sys::failed(page)) return false;
  page_ = static_cast<const uint64_t*>(page);
  return true;
}

Verdict Lease::judge(uint64_t now_ms) const {
  switch (fence_) {
    case Fence::kKeep:
      break;
    case Fence::kStop:
      return judge_lease(now_ms);
    case Fence::kReplace:
      return judge_absence(now_ms);
  }
  return {false, 0, kNever};
}

Verdict Lease::judge_lease(uint64_t now_ms) const {
  const uint64_t ends_ms = load(page_, kEndsWord);
  if (load(page_, kVersionWord) != kVersion || ends_ms == 0) {
    return {false, 0, now_ms + kLookEveryMs};
  }
  // The lease this run lived under is over, though nobody looked at its end in time: another has
  // begun since.
  if (load(page_, kTermWord) != term_) return {true, now_ms, now_ms};
  const uint64_t grace_ms = earliest(grace_ms_, kLongestFencedGraceMs);
  const uint64_t stop_at_ms = ends_ms > grace_ms ? ends_ms - grace_ms : 0;
  return {now_ms >= stop_at_ms, ends_ms, stop_at_ms};
}

Verdict Lease::judge_absence(uint64_t now_ms) const {
  if (orphan_after_ms_ == 0) return {false, 0, kNever};
  const bool counts = load(page_, kVersionWord) == kVersion && load(page_, kSchedulerWord) == 1;
  // An agent that gets a scheduler after this look refreshes the page after it, too.
  if (!counts) return {false, 0, later(now_ms, orphan_after_ms_)};
  const uint64_t stop_at_ms = later(load(page_, kRefreshedWord), orphan_after_ms_);
  return {now_ms >= stop_at_ms, later(now_ms, grace_ms_), stop_at_ms};
}

}  // namespace morch::shim
