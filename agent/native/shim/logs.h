// The workload's output, from its two pipes to rotated files with an index: docs/shim.md, "Log
// files". The workload never waits for a disk that refuses: what cannot be written is counted and
// dropped.
#pragma once

#include "clock.h"
#include "kernel.h"
#include "text.h"

namespace morch::shim {

struct LogPlan {
  const char* directory;
  uint64_t first[2];
  uint64_t max_bytes;
  uint64_t files;
  uint32_t generation;
  uint32_t run;
};

// Where the files lie. Made when there is something to write: most of what is started says nothing.
class LogDirectory {
 public:
  void start(const char* path);
  // Negative as long as it cannot be had.
  int provide();

 private:
  int open() const;

  int parent_ = -1;
  int directory_ = -1;
  Text<256> name_;  // NAME_MAX, with the NUL
};

// One stream. Its files are made when there is something to write.
class LogStream {
 public:
  void start(const LogPlan* plan, const char* name, uint64_t first, int pipe,
             LogDirectory* directory);

  int pipe() const { return pipe_; }  // negative once the workload has closed it
  uint64_t dropped_bytes() const { return dropped_bytes_; }

  // Takes what one read gives to the files. False when there is nothing now, or no more ever.
  bool pump();
  // Takes what is in the pipe at this moment, and no more: what keeps writing cannot hold it up.
  void drain();
  // Notes bytes dropped at the very end in the index, where nothing follows that would.
  void close();
  // The other stream has been written to.
  void other_wrote() { other_wrote_ = true; }

 private:
  void append(const uint8_t* bytes, size_t length);
  bool open_files();
  void close_files();
  void remove_old(int directory) const;
  bool needs_entry(uint64_t now_us) const;
  bool write_entry(uint64_t now_us);
  void take_back_entry(uint64_t dropped_before);
  size_t cut(const uint8_t* bytes, uint64_t room) const;
  void drop(size_t bytes);

  const LogPlan* plan_;
  const char* name_;
  LogDirectory* directory_;
  int pipe_ = -1;
  int log_ = -1;
  int index_ = -1;
  bool other_wrote_ = false;
  bool file_has_entry_ = false;  // of this run
  bool at_line_start_ = true;
  uint64_t number_ = 0;
  uint64_t log_bytes_ = 0;
  uint64_t index_bytes_ = 0;
  uint64_t entry_at_us_ = 0;
  uint64_t dropped_since_entry_ = 0;
  uint64_t dropped_bytes_ = 0;
};

class Logs {
 public:
  // @param pipes  reading ends of stdout and stderr
  void start(const LogPlan& plan, const int pipes[2]);

  LogStream& stream(int index) { return streams_[index]; }
  // One read of a stream. False when there is nothing now, or no more ever.
  bool pump(int index);
  void drain();
  void close();
  uint64_t dropped_bytes() const {
    return streams_[0].dropped_bytes() + streams_[1].dropped_bytes();
  }

 private:
  LogPlan plan_;
  LogStream streams_[2];
  LogDirectory directory_;
};

}  // namespace morch::shim
