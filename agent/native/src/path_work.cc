#include "path_work.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>

#include "result.h"
#include "unique_fd.h"

namespace morch {

namespace {

constexpr mode_t kOwnMode = 0700;
constexpr mode_t kOpenMode = 0755;
// Of linux_dirent64 with a name of one or two letters.
constexpr long kDotEntryBytes = 24;

// Whoever it was given to has no access to it any more when it is looked into.
bool is_as_made(const char* path) {
  const UniqueFd directory(::open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat found = {};
  if (!directory.valid() || ::fstat(directory.get(), &found) != 0) return false;
  if ((found.st_mode & ~S_IFMT) != kOwnMode) return false;
  const bool is_own = found.st_uid == ::geteuid() && found.st_gid == ::getegid();
  if (!is_own && ::fchown(directory.get(), ::geteuid(), ::getegid()) != 0) return false;
  if (::flistxattr(directory.get(), nullptr, 0) != 0) return false;
  // "." and ".." and no third.
  char entries[128];
  const long length = ::syscall(SYS_getdents64, directory.get(), entries, sizeof entries);
  return length > 0 && length <= 2 * kDotEntryBytes &&
         ::syscall(SYS_getdents64, directory.get(), entries, sizeof entries) == 0;
}

int move(const char* path, const char* to) {
  return ::renameat2(AT_FDCWD, path, AT_FDCWD, to, RENAME_NOREPLACE) == 0 ? 0 : errno;
}

int change(char what, const char* path, const char* to) {
  switch (what) {
    case 'm':
      return ::mkdir(path, kOwnMode) == 0 ? 0 : errno;
    case 'g':
      return ::mkdir(path, kOpenMode) == 0 ? 0 : errno;
    case 'u':
      return ::unlink(path) == 0 ? 0 : errno;
    case 'r':
      return ::rmdir(path) == 0 ? 0 : errno;
    case 'v':
      return move(path, to);
    case 's':
      return is_as_made(path) ? move(path, to) : EPERM;
    default:
      return EINVAL;
  }
}

}  // namespace

std::vector<int> change_paths(const std::string& packed) {
  std::vector<int> results;
  const char* const end = packed.data() + packed.size();
  const auto next = [end](const char* at) { return at == end ? at : at + std::strlen(at) + 1; };
  for (const char* at = packed.data(); at < end; at = next(at)) {
    const char what = *at;
    const char* const path = what == '\0' ? at : at + 1;
    if (what == 'v' || what == 's') at = next(at);
    // Beyond the end there is an empty path: that of no file.
    results.push_back(what == '\0' ? EINVAL : change(what, path, at));
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
