#include "sampler.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "proc_file.h"

namespace morch {

namespace {

// Trees that are looked at on every call, whatever they do; of more, those that do nothing have
// their turn as often as keeps to about as many.
constexpr size_t kAlwaysLookedAt = 64;

Result<std::string> read_kept_open(UniqueFd* fd, const char* path) {
  if (!fd->valid()) fd->reset(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd->valid()) return Failure{"open", errno, path};
  std::string text;
  if (!read_whole(fd->get(), &text)) return Failure{"read", errno, path};
  return text;
}

// First line: "cpu  user nice system idle iowait irq softirq steal guest guest_nice" (proc(5));
// guest time is part of user time already.
void append_cpu(const std::string& stat, std::vector<double>* out) {
  constexpr int kFields = 8, kIdle = 3, kIoWait = 4;
  double total = 0, idle = 0;
  char* cursor = const_cast<char*>(stat.c_str()) + std::strcspn(stat.c_str(), " ");
  for (int field = 0; field < kFields; ++field) {
    const auto ticks = static_cast<double>(std::strtoull(cursor, &cursor, 10));
    total += ticks;
    if (field == kIdle || field == kIoWait) idle += ticks;
  }
  out->insert(out->end(), {total, idle});
}

double meminfo_bytes(const std::string& meminfo, const char* name) {
  const size_t at = meminfo.find(name);
  if (at == std::string::npos) return 0;
  return std::strtod(meminfo.c_str() + at + std::strlen(name), nullptr) * 1024;
}

}  // namespace

Result<std::vector<double>> Sampler::sample(const ExitSink* sink, Which which) {
  const Result<std::string> stat = read_kept_open(&stat_, "/proc/stat");
  if (!stat.ok()) return stat.failure();
  const Result<std::string> meminfo = read_kept_open(&meminfo_, "/proc/meminfo");
  if (!meminfo.ok()) return meminfo.failure();
  const Result<std::string> loadavg = read_kept_open(&loadavg_, "/proc/loadavg");
  if (!loadavg.ok()) return loadavg.failure();

  std::vector<double> out;
  constexpr size_t kCpuTotal = 0;
  append_cpu(stat.value(), &out);
  out.push_back(meminfo_bytes(meminfo.value(), "MemTotal:"));
  out.push_back(meminfo_bytes(meminfo.value(), "MemAvailable:"));
  char* cursor = const_cast<char*>(loadavg.value().c_str());
  for (int i = 0; i < 3; ++i) out.push_back(std::strtod(cursor, &cursor));
  out.push_back(static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN)));
  out.push_back(static_cast<double>(::sysconf(_SC_CLK_TCK)));

  const auto now = static_cast<uint64_t>(out[kCpuTotal]);
  const auto page_bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const auto watched = registry_->snapshot();
  const auto most_skipped = static_cast<uint32_t>(watched.size() / kAlwaysLookedAt);
  for (const std::shared_ptr<WatchedProcess>& process : watched) {
    TreeUsage usage;
    if (process->sink.get() != sink || !process->tree.sample(now, most_skipped, &usage)) continue;
    if (which == Which::kLookedAtNow && usage.looked_at != now) continue;
    out.push_back(static_cast<double>(process->handle));
    out.push_back(static_cast<double>(usage.cpu_ticks));
    out.push_back(static_cast<double>(usage.rss_pages * page_bytes));
    out.push_back(static_cast<double>(usage.looked_at));
  }
  return out;
}

}  // namespace morch
