#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "unique_fd.h"

namespace morch::shim {

namespace {

constexpr int kFileMode = 0600;
constexpr long kRoomBytes = 4096;
constexpr int kKeepSize = 1;  // FALLOC_FL_KEEP_SIZE

// Takes the room, so that a full disk cannot keep the exit from being recorded. 0, or a negative
// errno.
long allocate(int file) {
  const long result = sys::fallocate(file, kKeepSize, 0, kRoomBytes);
  // File systems that cannot: the record is then tried until it can be written.
  return result == -EOPNOTSUPP || result == -ENOSYS ? 0 : result;
}

}  // namespace

bool Record::create(const char* directory, uint64_t run, const Line& first, Failure* failure) {
  open_name_ << "run." << run << ".open";
  ended_name_ << "run." << run << ".ended";
  directory_ = sys::openat(AT_FDCWD, directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (directory_ < 0) {
    *failure = {"open", -directory_};
    return false;
  }
  // A run is started once, ever.
  if (sys::faccessat(directory_, ended_name_.c_str(), F_OK) == 0) {
    *failure = {"open", EEXIST};
    return false;
  }
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  const UniqueFd file(sys::openat(directory_, open_name_.c_str(), kFlags, kFileMode));
  if (!file.valid()) {
    *failure = {"open", file.error()};
    return false;
  }
  *failure = {"fallocate", static_cast<int>(-allocate(file.get()))};
  if (failure->error == 0 && !add(first)) *failure = {"write", ENOSPC};
  if (failure->error == 0) return true;
  sys::unlinkat(directory_, open_name_.c_str());
  return false;
}

bool Record::add(const Line& line) {
  if (!write(line, length_, false)) return false;
  length_ += static_cast<long>(line.size());
  return true;
}

void Record::note(const Line& line) { write(line, length_, false); }

bool Record::finish(const Line& line) {
  if (!written_) written_ = write(line, length_, true);
  if (!written_) return false;
  if (!renamed_) {
    renamed_ = sys::renameat(directory_, open_name_.c_str(), ended_name_.c_str()) == 0;
    if (renamed_) length_ += static_cast<long>(line.size());
  }
  return renamed_ && sys::fsync(directory_) == 0;
}

bool Record::write(const Line& line, long at, bool sync) {
  const Text<32>& name = renamed_ ? ended_name_ : open_name_;
  const UniqueFd file(sys::openat(directory_, name.c_str(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file.valid()) return false;
  const auto length = static_cast<long>(line.size());
  if (sys::pwrite(file.get(), line.c_str(), line.size(), at) != length) return false;
  return !sync || sys::fsync(file.get()) == 0;
}

}  // namespace morch::shim
