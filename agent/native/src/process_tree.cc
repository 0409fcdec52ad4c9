#include "process_tree.h"

#include <algorithm>

#include "proc_file.h"

namespace morch {

namespace {

// Children made by other threads than the main one are looked for on every n-th sample only: it
// takes opening a file per thread. Once found, they are read on every sample.
constexpr uint32_t kThreadScanEvery = 4;

// Looks without a change after which as many calls are skipped as ever: 4^n - 1.
constexpr uint32_t kUnchangedCounted = 2;

}  // namespace

bool ProcessTree::sample(uint64_t now, uint32_t most_skipped, TreeUsage* usage) {
  if (to_skip_ > 0) {
    --to_skip_;
    *usage = latest_;
    return true;
  }
  ProcessStat root;
  if (!read_process_stat(pid_, &root) || root.start_ticks != start_ticks_) return false;
  usage->looked_at = now;
  usage->cpu_ticks += root.waited_ticks;
  add_children(pid_, root.threads, &root_, usage);
  // One that ends between the reading of its parent and its own is in neither.
  usage->cpu_ticks = std::max(latest_.cpu_ticks, usage->cpu_ticks);
  const bool changed =
      usage->cpu_ticks != latest_.cpu_ticks || usage->rss_pages != latest_.rss_pages;
  unchanged_ = changed ? 0 : std::min(unchanged_ + 1, kUnchangedCounted);
  to_skip_ = std::min((1U << 2 * unchanged_) - 1, most_skipped);
  latest_ = *usage;
  return true;
}

void ProcessTree::add_children(pid_t pid, int64_t threads, Branch* branch, TreeUsage* usage) {
  std::vector<pid_t> listed;
  if (threads > 1 && branch->samples++ % kThreadScanEvery == 0) {
    children_of_all_threads(pid, &listed);
  } else {
    children_of_main_thread(pid, &listed);
  }
  for (const pid_t child : listed) {
    std::unique_ptr<Branch>& known = branch->children[child];
    if (known == nullptr) known = std::make_unique<Branch>();
  }
  for (auto it = branch->children.begin(); it != branch->children.end();) {
    it = add_child(it->first, pid, it->second.get(), usage) ? std::next(it)
                                                            : branch->children.erase(it);
  }
}

// False for what is no child of `parent`: it ended, or its parent did and it belongs elsewhere now,
// or its number is another process's.
bool ProcessTree::add_child(pid_t pid, pid_t parent, Branch* branch, TreeUsage* usage) {
  ProcessStat now;
  if (!read_process_stat(pid, &now) || now.parent != parent) return false;
  usage->cpu_ticks += now.own_ticks + now.waited_ticks;
  usage->rss_pages += static_cast<uint64_t>(now.rss_pages);
  add_children(pid, now.threads, branch, usage);
  return true;
}

}  // namespace morch
