#include "process_tree.h"

#include <string>

#include "proc_file.h"

namespace morch {

namespace {

// Children made by other threads than the main one are looked for on every n-th sample only: it
// takes opening a file per thread. Once found, they are read on every sample.
constexpr uint32_t kThreadScanEvery = 4;

}  // namespace

bool ProcessTree::sample(TreeUsage* usage, int64_t* own_rss_pages) {
  ProcessStat now;
  if (!stat_.valid() || !read_process_stat(stat_.get(), &now)) return false;
  usage->cpu_ticks += now.cpu_ticks;
  usage->rss_pages += static_cast<uint64_t>(now.rss_pages);
  if (own_rss_pages != nullptr) *own_rss_pages = now.rss_pages;

  refresh_children(now.threads);
  for (auto it = children_.begin(); it != children_.end();) {
    it = it->second->sample_as_child_of(pid_, usage) ? std::next(it) : children_.erase(it);
  }
  return true;
}

void ProcessTree::refresh_children(int64_t threads) {
  std::vector<pid_t> pids;
  if (threads > 1 && samples_++ % kThreadScanEvery == 0) {
    children_of_all_threads(pid_, &pids);
  } else {
    if (!main_thread_children_.valid()) {
      const std::string name = "task/" + std::to_string(pid_) + "/children";
      Result<UniqueFd> opened = open_process_file(pid_, name.c_str());
      if (!opened.ok()) return;
      main_thread_children_ = std::move(opened.value());
    }
    read_children(main_thread_children_.get(), &pids);
  }
  for (const pid_t pid : pids) {
    if (children_.count(pid) != 0) continue;
    Result<UniqueFd> stat = open_process_file(pid, "stat");
    if (stat.ok()) {
      children_.emplace(pid, std::make_unique<ProcessTree>(pid, std::move(stat.value())));
    }
  }
}

// A descendant whose parent ended belongs to another tree, or to none.
bool ProcessTree::sample_as_child_of(pid_t parent, TreeUsage* usage) {
  ProcessStat now;
  if (!read_process_stat(stat_.get(), &now) || now.parent != parent) return false;
  return sample(usage);
}

}  // namespace morch
