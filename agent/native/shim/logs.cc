#include "logs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "scratch.h"
#include "text.h"
#include "unique_fd.h"

namespace morch::shim {

namespace {

constexpr int kFileMode = 0600;
constexpr int kDirectoryMode = 0700;
constexpr uint64_t kEntryEveryUs = 100'000;
constexpr uint64_t kEntryAfterOtherUs = 1000;

// As it stands in the index; both machines are little-endian.
struct Entry {
  uint64_t at_us;
  uint64_t offset;
  uint64_t dropped_bytes;
  uint32_t generation;
  uint32_t run;
};
static_assert(sizeof(Entry) == 32);

using Name = Text<48>;

Name file_name(const char* stream, uint64_t number, const char* suffix) {
  Name name;
  name << stream << '.' << number << suffix;
  return name;
}

int open_to_append(int directory, const Name& name) {
  // Not to wait for a reader, should somebody have put a FIFO there.
  constexpr int kFlags =
      O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  return sys::openat(directory, name.c_str(), kFlags, kFileMode);
}

// @returns how many bytes were written before the disk refused
size_t write_all(int file, const void* bytes, size_t length) {
  size_t written = 0;
  while (written < length) {
    const long result =
        sys::write(file, static_cast<const uint8_t*>(bytes) + written, length - written);
    if (result <= 0) break;
    written += static_cast<size_t>(result);
  }
  return written;
}

}  // namespace

void LogDirectory::start(const char* path) {
  size_t parent_length = 0;
  for (size_t at = 0; path[at] != '\0'; ++at) {
    if (path[at] == '/') parent_length = at;
  }
  Text<4096> parent;  // PATH_MAX
  for (size_t at = 0; at <= parent_length; ++at) parent << path[at];
  name_ << path + parent_length + 1;
  parent_ = sys::openat(AT_FDCWD, parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int LogDirectory::provide() {
  if (directory_ >= 0 || parent_ < 0) return directory_;
  directory_ = open();
  if (directory_ == -ENOENT) {
    sys::mkdirat(parent_, name_.c_str(), kDirectoryMode);
    directory_ = open();
  }
  if (directory_ < 0) return directory_;
  sys::close(parent_);
  parent_ = -1;
  return directory_;
}

int LogDirectory::open() const {
  return sys::openat(parent_, name_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

void LogStream::start(const LogPlan* plan, const char* name, uint64_t first, int pipe,
                      LogDirectory* directory) {
  plan_ = plan;
  name_ = name;
  number_ = first;
  pipe_ = pipe;
  directory_ = directory;
}

bool LogStream::pump() {
  if (pipe_ < 0) return false;
  const long length = sys::read(pipe_, scratch::bytes, scratch::kBytes);
  if (length == -EAGAIN) return false;
  if (length <= 0) {
    sys::close(pipe_);
    pipe_ = -1;
    return false;
  }
  append(scratch::bytes, static_cast<size_t>(length));
  scratch::used(boot_ms());
  return true;
}

void LogStream::drain() {
  int present = 0;
  if (pipe_ < 0 || sys::ioctl(pipe_, FIONREAD, &present) < 0) return;
  for (auto left = static_cast<size_t>(present); left > 0;) {
    const size_t part = left < scratch::kBytes ? left : scratch::kBytes;
    const long length = sys::read(pipe_, scratch::bytes, part);
    if (length <= 0) return;
    append(scratch::bytes, static_cast<size_t>(length));
    left -= static_cast<size_t>(length);
  }
  scratch::used(boot_ms());
}

void LogStream::close() {
  if (dropped_since_entry_ > 0 && open_files()) write_entry(wall_us());
  close_files();
}

void LogStream::append(const uint8_t* bytes, size_t length) {
  const uint64_t now_us = wall_us();
  while (length > 0) {
    if (!open_files()) return drop(length);
    const bool entry = needs_entry(now_us);
    const uint64_t used = log_bytes_ + index_bytes_ + (entry ? sizeof(Entry) : 0);
    const uint64_t room = used < plan_->max_bytes ? plan_->max_bytes - used : 0;
    const bool full = length > room;
    const size_t part = full ? cut(bytes, room) : length;
    if (part > 0) {
      const uint64_t dropped = dropped_since_entry_;
      if (entry && !write_entry(now_us)) return drop(length);
      const size_t written = write_all(log_, bytes, part);
      if (entry && written == 0) take_back_entry(dropped);
      log_bytes_ += written;
      if (written > 0) at_line_start_ = bytes[written - 1] == '\n';
      if (written < part) return drop(length - written);
      bytes += part;
      length -= part;
    }
    if (full) {
      close_files();
      ++number_;
    }
  }
}

// How many of the bytes still go into this file, which has `room` for fewer than there are: up to
// and with the last newline, so that a line is not cut; a line that is longer than that is.
size_t LogStream::cut(const uint8_t* bytes, uint64_t room) const {
  for (auto end = static_cast<size_t>(room); end > 0; --end) {
    if (bytes[end - 1] == '\n') return end;
  }
  const bool ends_with_line = at_line_start_ && log_bytes_ > 0;
  return ends_with_line ? 0 : static_cast<size_t>(room);
}

bool LogStream::open_files() {
  if (log_ >= 0) return true;
  const int directory = directory_->provide();
  if (directory < 0) return false;
  remove_old(directory);  // first: it may make the room
  UniqueFd log(open_to_append(directory, file_name(name_, number_, ".log")));
  if (!log.valid()) return false;
  UniqueFd index(open_to_append(directory, file_name(name_, number_, ".idx")));
  if (!index.valid()) return false;
  const long log_bytes = sys::lseek(log.get(), 0, SEEK_END);
  const long index_bytes = sys::lseek(index.get(), 0, SEEK_END);
  if (log_bytes < 0 || index_bytes < 0) return false;
  log_bytes_ = static_cast<uint64_t>(log_bytes);
  index_bytes_ = static_cast<uint64_t>(index_bytes);
  // An entry that a crash or a full disk has cut short.
  const uint64_t torn = index_bytes_ % sizeof(Entry);
  if (torn != 0) {
    index_bytes_ -= torn;
    if (sys::ftruncate(index.get(), static_cast<long>(index_bytes_)) < 0) return false;
  }
  log_ = log.release();
  index_ = index.release();
  file_has_entry_ = false;
  at_line_start_ = true;
  return true;
}

void LogStream::close_files() {
  if (log_ < 0) return;
  sys::close(log_);
  sys::close(index_);
  log_ = index_ = -1;
}

void LogStream::remove_old(int directory) const {
  if (number_ <= plan_->files) return;
  sys::unlinkat(directory, file_name(name_, number_ - plan_->files, ".log").c_str());
  sys::unlinkat(directory, file_name(name_, number_ - plan_->files, ".idx").c_str());
}

bool LogStream::needs_entry(uint64_t now_us) const {
  if (!file_has_entry_ || dropped_since_entry_ > 0) return true;
  if (now_us < entry_at_us_) return true;  // the clock was set back
  const uint64_t since_us = now_us - entry_at_us_;
  return since_us >= kEntryEveryUs || (other_wrote_ && since_us >= kEntryAfterOtherUs);
}

bool LogStream::write_entry(uint64_t now_us) {
  const Entry entry = {now_us, log_bytes_, dropped_since_entry_, plan_->generation, plan_->run};
  if (write_all(index_, &entry, sizeof(entry)) != sizeof(entry)) {
    sys::ftruncate(index_, static_cast<long>(index_bytes_));
    return false;
  }
  index_bytes_ += sizeof(entry);
  entry_at_us_ = now_us;
  dropped_since_entry_ = 0;
  other_wrote_ = false;
  file_has_entry_ = true;
  return true;
}

// The room that a full disk leaves in the index is for the entry that tells of all that was
// dropped.
void LogStream::take_back_entry(uint64_t dropped_before) {
  if (sys::ftruncate(index_, static_cast<long>(index_bytes_ - sizeof(Entry))) < 0) return;
  index_bytes_ -= sizeof(Entry);
  dropped_since_entry_ = dropped_before;
}

void LogStream::drop(size_t bytes) {
  dropped_since_entry_ += bytes;
  dropped_bytes_ += bytes;
}

void Logs::start(const LogPlan& plan, const int pipes[2]) {
  plan_ = plan;
  directory_.start(plan.directory);
  streams_[0].start(&plan_, "stdout", plan.first[0], pipes[0], &directory_);
  streams_[1].start(&plan_, "stderr", plan.first[1], pipes[1], &directory_);
}

bool Logs::pump(int index) {
  if (!streams_[index].pump()) return false;
  streams_[1 - index].other_wrote();
  return true;
}

void Logs::drain() {
  streams_[0].drain();
  streams_[1].drain();
}

void Logs::close() {
  streams_[0].close();
  streams_[1].close();
}

}  // namespace morch::shim
