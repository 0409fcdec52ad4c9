#include "fifo.h"

#include <fcntl.h>
#include <sys/stat.h>

namespace morch {

namespace {

constexpr int kRoomBytes = 1 << 20;  // what an unprivileged process may have at most, unless set

}  // namespace

Result<UniqueFd> open_fifo(const std::string& path) {
  const bool is_made = ::mkfifo(path.c_str(), 0600) == 0;
  if (!is_made && errno != EEXIST) return Failure{"mkfifo", errno, path};
  // Looked at before it is opened: opening a device may have effects of its own.
  struct stat found = {};
  if (::lstat(path.c_str(), &found) == -1) return Failure{"lstat", errno, path};
  if (!S_ISFIFO(found.st_mode)) return Failure{"mkfifo", EEXIST, path};
  // Also open for writing, it never shows end of file, and no writer is told that nobody reads.
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return Failure{"open", errno, path};
  // EPERM when the pipes of this user hold too much already: then the usual 64 KiB must do.
  ::fcntl(fd.get(), F_SETPIPE_SZ, kRoomBytes);
  return fd;
}

}  // namespace morch
