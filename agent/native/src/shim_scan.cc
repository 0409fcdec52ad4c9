#include "shim_scan.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include <string_view>

#include "proc_file.h"

namespace morch {

namespace {

constexpr std::string_view kName = "morch-shim";
constexpr size_t kArguments = 4;

// Each argument ends with a NUL byte.
std::vector<std::string_view> arguments_in(std::string_view command_line) {
  std::vector<std::string_view> arguments;
  while (!command_line.empty()) {
    const size_t end = command_line.find('\0');
    arguments.push_back(command_line.substr(0, end));
    if (end == std::string_view::npos) break;
    command_line.remove_prefix(end + 1);
  }
  return arguments;
}

// The name may be followed by " (deleted)", after an upgrade.
bool runs_a_shim(pid_t pid) {
  char path[64], target[PATH_MAX];
  snprintf(path, sizeof(path), "/proc/%d/exe", pid);
  const ssize_t length = ::readlink(path, target, sizeof(target));
  if (length <= 0) return false;
  const std::string_view program(target, static_cast<size_t>(length));
  return program.substr(program.rfind('/') + 1).substr(0, kName.size()) == kName;
}

bool is_of_this_user(pid_t pid) {
  const Result<UniqueFd> file = open_process_file(pid, "status");
  std::string status;
  if (!file.ok() || !read_whole(file.value().get(), &status)) return false;
  const size_t at = status.find("\nUid:");
  unsigned real = 0, effective = 0;
  return at != std::string::npos &&
         sscanf(status.c_str() + at, "\nUid: %u %u", &real, &effective) == 2 &&
         effective == ::geteuid();
}

}  // namespace

std::vector<FoundShim> find_shims(const std::string& data_dir) {
  std::vector<FoundShim> found;
  std::string command_line;
  for_each_numeric_entry("/proc", [&](pid_t pid) {
    // stat before everything else, and read again after it: all is then of one process.
    const Result<UniqueFd> stat = open_process_file(pid, "stat");
    const Result<UniqueFd> file = open_process_file(pid, "cmdline");
    if (!stat.ok() || !file.ok() || !read_whole(file.value().get(), &command_line)) return;
    const std::vector<std::string_view> arguments = arguments_in(command_line);
    if (arguments.size() != kArguments || arguments[0] != kName || arguments[1] != data_dir) return;
    ProcessStat now;
    if (!runs_a_shim(pid) || !is_of_this_user(pid)) return;
    if (!reread_process_stat(stat.value().get(), &now)) return;
    found.push_back({pid, now.start_ticks, std::string(arguments[2]), std::string(arguments[3])});
  });
  return found;
}

}  // namespace morch
