// A thread that runs jobs one after the other, in the order in which they came. It starts with the
// first.
#pragma once

#include <functional>
#include <mutex>
#include <thread>

#include "task_queue.h"
#include "thread_setup.h"

namespace morch {

class Worker {
 public:
  explicit Worker(const char* name) : name_(name) {}

  // Any thread.
  void run(std::function<void()> job) {
    std::call_once(first_, [this] {
      thread_ = start_thread(name_, [this] {
        while (auto next = jobs_.pop()) (*next)();
      });
    });
    jobs_.push(std::move(job));
  }

  // Drops the jobs not yet begun and joins the thread. Nothing may be run after it.
  void stop() {
    jobs_.close();
    if (thread_.joinable()) thread_.join();
  }

 private:
  const char* const name_;
  TaskQueue<std::function<void()>> jobs_;
  std::once_flag first_;
  std::thread thread_;
};

}  // namespace morch
