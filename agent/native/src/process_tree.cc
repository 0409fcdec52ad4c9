#include "process_tree.h"

#include <algorithm>

#include "proc_file.h"

namespace morch {

namespace {

// Children made by other threads than the main one are looked for on every n-th sample only: it
// takes opening a file per thread. Once found, they are read on every sample.
constexpr uint32_t kThreadScanEvery = 4;

}  // namespace

bool ProcessTree::sample(TreeUsage* usage) {
  ProcessStat now;
  if (!read_process_stat(pid_, &now) || now.start_ticks != start_ticks_) return false;
  usage->cpu_ticks += now.waited_ticks;
  add_children(pid_, now.threads, &root_, usage);
  // One that ends between the reading of its parent and its own is in neither.
  highest_cpu_ticks_ = std::max(highest_cpu_ticks_, usage->cpu_ticks);
  usage->cpu_ticks = highest_cpu_ticks_;
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
