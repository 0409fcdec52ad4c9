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
  uint64_t own_ticks = 0;     // utime + stime
  uint64_t waited_ticks = 0;  // cutime + cstime: of descendants that ended and were waited for
  int64_t threads = 0;
  uint64_t start_ticks = 0;
  int64_t rss_pages = 0;
};

// /proc/<pid>/<name>, read-only and close-on-exec. Any thread.
Result<UniqueFd> open_process_file(pid_t pid, const char* name);

// Enough for /proc/pid/stat: 52 numbers and a name of at most 64 bytes.
inline constexpr size_t kStatBytes = 1024;

// `text`: a /proc/pid/stat, NUL-terminated. False when it is none. Any thread.
bool parse_process_stat(char* text, ProcessStat* out);

// Re-reads an open /proc/pid/stat. False once the process has been reaped. Any thread.
bool reread_process_stat(int stat_fd, ProcessStat* out);

// False when there is no such process. Any thread.
bool read_process_stat(pid_t pid, ProcessStat* out);

// Reads an open file from its start to its end into `out` (cleared first). Any thread.
bool read_whole(int fd, std::string* out);

// The children of `pid`, appended to `out`: the kernel lists a child under the thread that made it.
// Any thread.
void children_of_main_thread(pid_t pid, std::vector<pid_t>* out);
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
