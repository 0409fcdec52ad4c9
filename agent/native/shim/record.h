// The run's state file: docs/shim.md, "State file". It is opened anew for every write, so that it
// does not keep a file system from being mounted read-only.
#pragma once

#include "failure.h"
#include "kernel.h"
#include "text.h"

namespace morch::shim {

using Line = Text<512>;  // a nonce of 64 and at most 12 numbers of 20 digits

class Record {
 public:
  // Makes the file, allocates its room, and writes its first line. On failure no file is left of
  // it.
  bool create(const char* directory, uint64_t run, const Line& first, Failure* failure);

  // Adds a line, without making it durable.
  bool add(const Line& line);

  // Writes the last line but `gone` where finish() will, without making it durable.
  void note(const Line& line);

  // Adds the last line but `gone`, and makes the whole durable under its final name. May be called
  // again, with the same line, until it has succeeded.
  bool finish(const Line& line);

 private:
  bool write(const Line& line, long at, bool sync);

  int directory_ = -1;
  Text<32> open_name_;
  Text<32> ended_name_;
  long length_ = 0;
  bool written_ = false;  // the last line, and synced
  bool renamed_ = false;
};

}  // namespace morch::shim
