// Owns a descriptor that is needed for a moment. Those that live as long as the shim are plain
// numbers.
#pragma once

#include "kernel.h"

namespace morch::shim {

class UniqueFd {
 public:
  // @param fd  negative (an error) owns nothing
  explicit UniqueFd(int fd = -1) : fd_(fd) {}
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  bool valid() const { return fd_ >= 0; }
  int get() const { return fd_; }
  // As in errno(3); 0 when valid.
  int error() const { return fd_ < 0 ? -fd_ : 0; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void reset(int fd = -1) {
    if (fd_ >= 0) sys::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_;
};

}  // namespace morch::shim
