#include "lease_page.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <utility>

#include "unique_fd.h"

namespace morch {

namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the page is little-endian");

constexpr uint64_t kVersion = 1;
enum Field { kVersionField, kRefreshedField, kEndField, kSchedulerField, kTermField };

// One aligned store of 8 bytes: a reader sees the old number or the new one.
void store(uint64_t* fields, Field field, uint64_t value) {
  __atomic_store_n(fields + field, value, __ATOMIC_RELEASE);
}

uint64_t load(const uint64_t* fields, Field field) {
  return __atomic_load_n(fields + field, __ATOMIC_ACQUIRE);
}

}  // namespace

int64_t boot_time_ms() {
  timespec now = {};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

Result<LeasePage> LeasePage::open(const std::string& path) {
  const UniqueFd fd(retry_eintr(
      [&] { return ::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600); }));
  if (!fd.valid()) return Failure{"open", errno, path};
  // Its block is there from now on: a store to a hole ends with SIGBUS when the disk is full.
  const int error = ::posix_fallocate(fd.get(), 0, kBytes);
  if (error != 0) return Failure{"posix_fallocate", error, path};
  void* mapping = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (mapping == MAP_FAILED) return Failure{"mmap", errno, path};
  return LeasePage(static_cast<uint64_t*>(mapping));
}

LeasePage::LeasePage(LeasePage&& other) noexcept : fields_(std::exchange(other.fields_, nullptr)) {}

bool LeasePage::refresh(const Lease& lease, bool has_scheduler) {
  if (fields_ == nullptr) return false;
  store(fields_, kVersionField, kVersion);
  store(fields_, kSchedulerField, has_scheduler ? 1 : 0);
  // The term before the end: whoever sees the end of a new lease sees that it is another one.
  store(fields_, kTermField, lease.term);
  store(fields_, kEndField, static_cast<uint64_t>(std::max<int64_t>(lease.ends_ms, 0)));
  store(fields_, kRefreshedField, static_cast<uint64_t>(boot_time_ms()));
  return true;
}

LeasePage::Lease LeasePage::read() const {
  if (fields_ == nullptr || load(fields_, kVersionField) != kVersion) return {0, 0};
  return {static_cast<int64_t>(load(fields_, kEndField)), load(fields_, kTermField)};
}

void LeasePage::close() {
  if (fields_ != nullptr) ::munmap(std::exchange(fields_, nullptr), kBytes);
}

}  // namespace morch
