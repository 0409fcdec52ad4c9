#include "file_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include "unique_fd.h"

namespace morch {

Result<bool> lock_file(const std::string& path) {
  UniqueFd fd(
      retry_eintr([&] { return ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600); }));
  if (!fd.valid()) return Failure{"open", errno, path};
  if (retry_eintr([&] { return ::flock(fd.get(), LOCK_EX | LOCK_NB); }) == -1) {
    if (errno == EWOULDBLOCK) return false;
    return Failure{"flock", errno, path};
  }
  fd.release();  // held until the process ends
  return true;
}

}  // namespace morch
