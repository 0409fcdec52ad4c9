#include "proc_file.h"

#include <fcntl.h>

#include <cstdio>
#include <cstring>

namespace morch {

Result<UniqueFd> open_process_file(pid_t pid, const char* name) {
  char path[64];
  std::snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
  UniqueFd fd(retry_eintr([&] { return ::open(path, O_RDONLY | O_CLOEXEC); }));
  if (!fd.valid()) return Failure{"open", errno, path};
  return fd;
}

bool parse_process_stat(char* text, ProcessStat* out) {
  // The name, field 2, may itself hold parentheses and spaces; the last ')' ends it.
  char* cursor = std::strrchr(text, ')');
  if (cursor == nullptr || cursor[1] == '\0' || cursor[2] == '\0') return false;
  out->state = cursor[2];
  cursor += 3;
  constexpr int kFirstField = 4, kLastField = 24;
  int64_t fields[kLastField + 1] = {};
  for (int field = kFirstField; field <= kLastField; ++field) {
    fields[field] = static_cast<int64_t>(std::strtoull(cursor, &cursor, 10));
  }
  out->parent = static_cast<pid_t>(fields[4]);
  out->session = static_cast<pid_t>(fields[6]);
  out->own_ticks = static_cast<uint64_t>(fields[14] + fields[15]);
  out->waited_ticks = static_cast<uint64_t>(fields[16] + fields[17]);
  out->threads = fields[20];
  out->start_ticks = static_cast<uint64_t>(fields[22]);
  out->rss_pages = fields[24];
  return true;
}

bool reread_process_stat(int stat_fd, ProcessStat* out) {
  char buffer[kStatBytes];
  const ssize_t length =
      retry_eintr([&] { return ::pread(stat_fd, buffer, sizeof(buffer) - 1, 0); });
  if (length <= 0) return false;
  buffer[length] = '\0';
  return parse_process_stat(buffer, out);
}

bool read_process_stat(pid_t pid, ProcessStat* out) {
  const Result<UniqueFd> stat = open_process_file(pid, "stat");
  return stat.ok() && reread_process_stat(stat.value().get(), out);
}

bool read_whole(int fd, std::string* out) {
  out->clear();
  char buffer[8192];
  for (off_t at = 0;;) {
    const ssize_t length = retry_eintr([&] { return ::pread(fd, buffer, sizeof(buffer), at); });
    if (length == -1) return false;
    if (length == 0) return true;
    out->append(buffer, static_cast<size_t>(length));
    at += length;
  }
}

namespace {

void children_of_thread(pid_t pid, pid_t thread, std::vector<pid_t>* out) {
  char name[64];
  std::snprintf(name, sizeof(name), "task/%d/children", thread);
  const Result<UniqueFd> children = open_process_file(pid, name);
  std::string text;
  if (!children.ok() || !read_whole(children.value().get(), &text)) return;
  for (char* cursor = text.data(); *cursor != '\0';) {
    char* end = nullptr;
    const long child = std::strtol(cursor, &end, 10);
    if (end == cursor) break;
    out->push_back(static_cast<pid_t>(child));
    cursor = *end == ' ' ? end + 1 : end;
  }
}

}  // namespace

void children_of_main_thread(pid_t pid, std::vector<pid_t>* out) {
  children_of_thread(pid, pid, out);
}

void children_of_all_threads(pid_t pid, std::vector<pid_t>* out) {
  char path[64];
  std::snprintf(path, sizeof(path), "/proc/%d/task", pid);
  for_each_numeric_entry(path, [&](pid_t thread) { children_of_thread(pid, thread, out); });
}

}  // namespace morch
