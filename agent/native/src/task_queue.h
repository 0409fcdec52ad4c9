// A first-in first-out queue of jobs for one or more long-lived threads.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>

namespace morch {

template <typename Job>
class TaskQueue {
 public:
  // Any thread.
  void push(Job job) {
    {
      const std::lock_guard<std::mutex> guard(lock_);
      jobs_.push_back(std::move(job));
    }
    ready_.notify_one();
  }

  // Blocks; nothing once close() was called. Worker threads.
  std::optional<Job> pop() {
    std::unique_lock<std::mutex> guard(lock_);
    ready_.wait(guard, [this] { return closed_ || !jobs_.empty(); });
    if (closed_) return std::nullopt;
    std::optional<Job> job(std::move(jobs_.front()));
    jobs_.pop_front();
    return job;
  }

  // Drops the jobs not yet taken and lets the workers end. Any thread.
  void close() {
    {
      const std::lock_guard<std::mutex> guard(lock_);
      closed_ = true;
      jobs_.clear();
    }
    ready_.notify_all();
  }

 private:
  std::mutex lock_;
  std::condition_variable ready_;
  std::deque<Job> jobs_;
  bool closed_ = false;
};

}  // namespace morch
