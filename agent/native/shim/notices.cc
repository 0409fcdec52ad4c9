#include "notices.h"

#include <errno.h>
#include <fcntl.h>

#include "unique_fd.h"

namespace morch::shim {

namespace {

constexpr uint64_t kRetryMs = 100;

}  // namespace

void Notices::open(const char* fifo) {
  size_t i = 0;
  for (; i + 1 < sizeof(path_) && fifo[i] != '\0'; ++i) path_[i] = fifo[i];
  path_[i] = '\0';
}

void Notices::send(const Line& line, uint64_t now_ms) {
  if (due_ms_ == kNever) lines_.clear();
  lines_ << line.c_str();
  due_ms_ = now_ms;
}

void Notices::send_again(uint64_t now_ms) {
  if (lines_.size() > 0) due_ms_ = now_ms;
}

uint64_t Notices::act(uint64_t now_ms) {
  if (now_ms < due_ms_) return due_ms_;
  due_ms_ = kNever;
  const UniqueFd fifo(sys::openat(AT_FDCWD, path_, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  // ENXIO: nobody reads it. Whoever does next asks.
  unheard_ = !fifo.valid();
  if (unheard_) return kNever;
  if (sys::write(fifo.get(), lines_.c_str(), lines_.size()) == -EAGAIN) due_ms_ = now_ms + kRetryMs;
  return due_ms_;
}

}  // namespace morch::shim
