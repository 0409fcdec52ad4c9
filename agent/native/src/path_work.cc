#include "path_work.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "result.h"

namespace morch {

namespace {

constexpr mode_t kOwnMode = 0700;
constexpr mode_t kOpenMode = 0755;

int change(char what, const char* path) {
  switch (what) {
    case 'm':
      return ::mkdir(path, kOwnMode) == 0 ? 0 : errno;
    case 'g':
      return ::mkdir(path, kOpenMode) == 0 ? 0 : errno;
    case 'u':
      return ::unlink(path) == 0 ? 0 : errno;
    case 'r':
      return ::rmdir(path) == 0 ? 0 : errno;
    default:
      return EINVAL;
  }
}

}  // namespace

std::vector<int> change_paths(const std::string& packed) {
  std::vector<int> results;
  const char* const end = packed.data() + packed.size();
  for (const char* at = packed.data(); at < end; at += std::strlen(at) + 1) {
    results.push_back(*at == '\0' ? EINVAL : change(*at, at + 1));
  }
  return results;
}

std::vector<double> look_at_paths(const std::string& packed) {
  constexpr double kMsPerSecond = 1e3, kNsPerMs = 1e6;
  std::vector<double> looks;
  const char* const end = packed.data() + packed.size();
  for (const char* at = packed.data(); at < end; at += std::strlen(at) + 1) {
    struct stat found = {};
    const int error = ::lstat(at, &found) == 0 ? 0 : errno;
    const double changed_ms = static_cast<double>(found.st_mtim.tv_sec) * kMsPerSecond +
                              static_cast<double>(found.st_mtim.tv_nsec) / kNsPerMs;
    looks.insert(looks.end(),
                 {static_cast<double>(error), static_cast<double>(found.st_size), changed_ms});
  }
  return looks;
}

}  // namespace morch
