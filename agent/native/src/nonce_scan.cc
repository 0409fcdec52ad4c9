#include "nonce_scan.h"

#include <string_view>
#include <unordered_set>

#include "proc_file.h"

namespace morch {

namespace {

constexpr std::string_view kVariable = "MORCH_NONCE=";

// The value of the first MORCH_NONCE entry, or an empty view.
std::string_view nonce_in(std::string_view environment) {
  while (!environment.empty()) {
    const size_t end = environment.find('\0');
    const std::string_view entry = environment.substr(0, end);
    if (entry.substr(0, kVariable.size()) == kVariable) return entry.substr(kVariable.size());
    if (end == std::string_view::npos) break;
    environment.remove_prefix(end + 1);
  }
  return {};
}

}  // namespace

std::vector<FoundProcess> find_by_nonce(const std::vector<std::string>& nonces) {
  const std::unordered_set<std::string> wanted(nonces.begin(), nonces.end());
  std::vector<FoundProcess> found;
  std::string environment;
  for_each_numeric_entry("/proc", [&](pid_t pid) {
    // stat before environ, and read again after it: both then belong to one process.
    const Result<UniqueFd> stat = open_process_file(pid, "stat");
    const Result<UniqueFd> environ_file = open_process_file(pid, "environ");
    if (!stat.ok() || !environ_file.ok()) return;
    if (!read_whole(environ_file.value().get(), &environment)) return;
    const std::string nonce(nonce_in(environment));
    ProcessStat now;
    if (nonce.empty() || wanted.count(nonce) == 0) return;
    if (!reread_process_stat(stat.value().get(), &now)) return;
    found.push_back({pid, now.start_ticks, nonce});
  });
  return found;
}

}  // namespace morch
