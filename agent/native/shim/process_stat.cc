#include "process_stat.h"

#include <fcntl.h>

#include "text.h"
#include "unique_fd.h"

namespace morch::shim {

bool read_process_stat(pid_t pid, ProcessStat* stat) {
  Text<32> path;
  path << "/proc/" << pid << "/stat";
  const UniqueFd file(sys::openat(AT_FDCWD, path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return false;
  char text[512];  // the fields up to the 22nd, and a name of at most 64 bytes
  const long length = sys::read(file.get(), text, sizeof(text) - 1);
  if (length <= 0) return false;
  text[length] = '\0';

  // The name, field 2, may itself hold parentheses and spaces; the last ')' ends it.
  const char* cursor = text + length;
  while (cursor > text && *cursor != ')') --cursor;
  if (*cursor != ')' || cursor[1] == '\0') return false;
  cursor += 2;
  stat->state = *cursor;
  constexpr int kFirstField = 4, kLastField = 22;
  uint64_t fields[kLastField + 1];
  for (int field = kFirstField; field <= kLastField; ++field) {
    while (*cursor != '\0' && *cursor != ' ') ++cursor;
    if (*cursor == '\0') return false;
    ++cursor;
    const char* digits = *cursor == '-' ? cursor + 1 : cursor;
    fields[field] = read_number(&digits);
  }
  stat->parent = static_cast<pid_t>(fields[4]);
  stat->group = static_cast<pid_t>(fields[5]);
  stat->threads = fields[20];
  stat->start_ticks = fields[22];
  return true;
}

}  // namespace morch::shim
