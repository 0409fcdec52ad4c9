#include "cgroup.h"

#include <fcntl.h>

#include "text.h"
#include "unique_fd.h"

namespace morch::shim {

bool Cgroup::open(const char* path, int* error) {
  if (path == nullptr) return true;
  directory_ = sys::openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory_ < 0) {
    *error = -directory_;
    return false;
  }
  oom_kills_before_ = read_number_of("memory.events", "oom_kill");
  return true;
}

void Cgroup::kill() const {
  if (directory_ < 0) return;
  const UniqueFd file(sys::openat(directory_, "cgroup.kill", O_WRONLY | O_CLOEXEC));
  if (file.valid()) sys::write(file.get(), "1", 1);
}

bool Cgroup::is_populated() const { return read_number_of("cgroup.events", "populated") != 0; }

bool Cgroup::had_oom_kill() const {
  return read_number_of("memory.events", "oom_kill") > oom_kills_before_;
}

uint64_t Cgroup::read_number_of(const char* name, const char* key) const {
  if (directory_ < 0) return 0;
  const UniqueFd file(sys::openat(directory_, name, O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return 0;
  char text[512];
  const long length = sys::read(file.get(), text, sizeof(text) - 1);
  if (length <= 0) return 0;
  text[length] = '\0';
  return number_after(text, key, 0);
}

}  // namespace morch::shim
