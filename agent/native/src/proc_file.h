// Reading /proc: small files in one pread, and the fields of /proc/pid/stat (proc(5)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "result.h"
#include "unique_fd.h"

namespace morch {

struct ProcessStat {
  char state = '?';
  pid_t parent = 0;
  pid_t session = 0;
  // utime + stime + cutime + cstime: what a waited-for child used moves to its parent, so that the
  // sum over a tree does not fall when one of its processes ends.
  uint64_t cpu_ticks = 0;
  int64_t threads = 0;
  uint64_t start_ticks = 0;
  int64_t rss_pages = 0;
};

// /proc/<pid>/<name>, read-only and close-on-exec. Any thread.
Result<UniqueFd> open_process_file(pid_t pid, const char* name);

// Re-reads an open /proc/pid/stat. False once the process has been reaped. Any thread.
bool read_process_stat(int stat_fd, ProcessStat* out);

// Reads an open file from its start to its end into `out` (cleared first). Any thread.
bool read_whole(int fd, std::string* out);

// Numbers of an open /proc/pid/task/tid/children, appended to `out`. Any thread.
void read_children(int children_fd, std::vector<pid_t>* out);

// The children of every thread of `pid`, appended to `out`: the kernel lists a child under the
// thread that made it. Any thread.
void children_of_all_threads(pid_t pid, std::vector<pid_t>* out);

// Calls `visit(number)` for each purely numeric name in a directory such as /proc. Any thread.
template <typename Visit>
void for_each_numeric_entry(const char* directory, Visit visit);

}  // namespace morch

#include <dirent.h>

#include <cstdlib>

namespace morch {

template <typename Visit>
void for_each_numeric_entry(const char* directory, Visit visit) {
  DIR* listing = ::opendir(directory);  // opendir sets close-on-exec
  if (listing == nullptr) return;
  while (const dirent* entry = ::readdir(listing)) {
    char* end = nullptr;
    const long number = std::strtol(entry->d_name, &end, 10);
    if (*end == '\0' && number > 0) visit(static_cast<pid_t>(number));
  }
  ::closedir(listing);
}

}  // namespace morch
