#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "clock.h"
#include "process_stat.h"
#include "scratch.h"
#include "text.h"
#include "unique_fd.h"

namespace morch::shim {

namespace {

constexpr size_t kManyCapacity = 512;

// The scratch room in two: the lists of /proc directories, and of children, which are read while a
// directory is.
constexpr size_t kHalf = scratch::kBytes / 2;

// The head of the kernel's struct linux_dirent64.
struct DirectoryEntry {
  uint64_t inode;
  int64_t offset;
  unsigned short length;
  unsigned char type;
  char name[1];
};

template <typename Visit>
void for_each_number_in(const char* directory, Visit visit) {
  const UniqueFd list(sys::openat(AT_FDCWD, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!list.valid()) return;
  for (;;) {
    const long length = sys::getdents64(list.get(), scratch::bytes, kHalf);
    if (length <= 0) return;
    for (long at = 0; at < length;) {
      const auto* entry = reinterpret_cast<const DirectoryEntry*>(scratch::bytes + at);
      const char* cursor = entry->name;
      if (is_digit(*cursor)) visit(static_cast<pid_t>(read_number(&cursor)));
      at += entry->length;
    }
  }
}

// The children that one thread has made, or inherited. False when the kernel does not tell (no
// CONFIG_PROC_CHILDREN), or the thread is gone.
template <typename Visit>
bool for_each_child_of_thread(pid_t pid, pid_t thread, Visit visit) {
  Text<64> path;
  path << "/proc/" << pid << "/task/" << thread << "/children";
  const UniqueFd file(sys::openat(AT_FDCWD, path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return false;
  const uint8_t* text = scratch::bytes + kHalf;
  pid_t child = 0;
  for (;;) {
    const long length = sys::read(file.get(), scratch::bytes + kHalf, kHalf);
    if (length <= 0) return true;
    for (long at = 0; at < length; ++at) {
      if (text[at] != ' ') {
        child = child * 10 + (text[at] - '0');
      } else if (child != 0) {
        visit(child);
        child = 0;
      }
    }
  }
}

// `visit` may use neither half of the scratch room.
template <typename Visit>
void for_each_child(pid_t pid, uint64_t threads, Visit visit) {
  if (threads <= 1) {
    if (for_each_child_of_thread(pid, pid, visit)) return;
  } else {
    Text<32> tasks;
    tasks << "/proc/" << pid << "/task";
    bool told = false;
    for_each_number_in(tasks.c_str(), [&](pid_t thread) {
      if (for_each_child_of_thread(pid, thread, visit)) told = true;
    });
    if (told) return;
  }
  for_each_number_in("/proc", [&](pid_t other) {
    ProcessStat stat;
    if (read_process_stat(other, &stat) && stat.parent == pid) visit(other);
  });
}

void send_to(const UniqueFd& pidfd, pid_t pid, int signal) {
  if (pidfd.valid()) {
    sys::pidfd_send_signal(pidfd.get(), signal);
  } else {
    sys::kill(pid, signal);  // before Linux 5.3 there is nothing closer
  }
}

}  // namespace

Descendants::~Descendants() {
  if (list_ != few_) sys::munmap(list_, capacity_ * sizeof(Process));
}

void Descendants::find() {
  size_ = 0;
  add_children_of(sys::getpid(), 1, -1);
  for (size_t index = 0; index < size_; ++index) {
    const Process parent = list_[index];
    const size_t before = size_;
    add_children_of(parent.pid, parent.threads, static_cast<int32_t>(index));
    // It was this process all the time, so they are its children; else they may be a stranger's.
    const bool is_direct = parent.parent < 0;
    if (size_ > before && !is_direct && !is_as_found(parent)) size_ = before;
  }
  scratch::used(boot_ms());
}

void Descendants::add_children_of(pid_t pid, uint32_t threads, int32_t index) {
  for_each_child(pid, threads, [&](pid_t child) {
    ProcessStat stat;
    if (!read_process_stat(child, &stat) || stat.parent != pid) return;
    add({child, stat.group, index, static_cast<uint32_t>(stat.threads), stat.start_ticks});
  });
}

// False when there is no memory for it.
bool Descendants::add(const Process& process) {
  if (size_ == capacity_) {
    const bool was_few = list_ == few_;
    const size_t capacity = was_few ? kManyCapacity : capacity_ * 2;
    void* list = was_few ? sys::mmap(capacity * sizeof(Process), PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS, -1)
                         : sys::mremap(list_, capacity_ * sizeof(Process),
                                       capacity * sizeof(Process), MREMAP_MAYMOVE);
    if (sys::failed(list)) return false;
    auto* processes = static_cast<Process*>(list);
    for (size_t index = 0; was_few && index < size_; ++index) processes[index] = few_[index];
    list_ = processes;
    capacity_ = capacity;
  }
  list_[size_++] = process;
  return true;
}

bool Descendants::is_as_found(const Process& process) const {
  ProcessStat stat;
  return read_process_stat(process.pid, &stat) && stat.start_ticks == process.start_ticks;
}

void Descendants::send(size_t index, int signal, int then) const {
  const Process& process = list_[index];
  if (process.parent < 0) {
    sys::kill(process.pid, signal);
    if (then != 0) sys::kill(process.pid, then);
    return;
  }
  const UniqueFd pidfd(sys::pidfd_open(process.pid));
  if (!pidfd.valid() && pidfd.error() != ENOSYS) return;
  ProcessStat stat;
  if (!read_process_stat(process.pid, &stat) || stat.start_ticks != process.start_ticks) return;
  // Its parent may have ended meanwhile; then it is the shim's own child.
  const Process& parent = list_[process.parent];
  if (stat.parent != sys::getpid() && (stat.parent != parent.pid || !is_as_found(parent))) return;
  send_to(pidfd, process.pid, signal);
  if (then != 0) send_to(pidfd, process.pid, then);
}

KilledChildren kill_children() {
  KilledChildren killed = {0, 0};
  for_each_child(sys::getpid(), 1, [&](pid_t child) {
    sys::kill(child, SIGKILL);
    ++killed.count;
    killed.digest = (killed.digest ^ static_cast<uint64_t>(child)) * 0x100000001b3;
  });
  scratch::used(boot_ms());
  return killed;
}

}  // namespace morch::shim
