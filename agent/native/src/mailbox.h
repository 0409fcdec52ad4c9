// Results and exits on their way to one JavaScript environment, in an order that keeps the promise:
// an exit reaches JavaScript only after the spawn promise of that child was resolved *and* what
// waits on that promise has run.
//
// Native threads put things in and ring the bell at most once; the environment's thread takes them
// out. What is resolved in one take has its continuations run when the bell's callback returns
// (Node drains microtasks after each call of a thread-safe function); its exits are handed over in
// the next.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "watched_process.h"

namespace morch {

template <typename Environment>
class Mailbox : public ExitSink {
 public:
  using Reply = std::function<void(Environment&)>;

  // @param ring  schedules one take() on the environment's thread; called with the lock held
  explicit Mailbox(std::function<void()> ring) : ring_(std::move(ring)) {}

  // Spawn worker, inspector or look-up thread.
  void reply(Reply reply) {
    const std::lock_guard<std::mutex> guard(lock_);
    replies_.push_back(std::move(reply));
    ring_once();
  }

  // Reaper thread.
  void exited(const std::vector<ExitRecord>& exits) override {
    const std::lock_guard<std::mutex> guard(lock_);
    exits_.insert(exits_.end(), exits.begin(), exits.end());
    ring_once();
  }

  // Reaper thread.
  void ask() override {
    const std::lock_guard<std::mutex> guard(lock_);
    ++asked;
    ring_once();
  }

  struct Contents {
    std::vector<ExitRecord>
        exits;  // to hand over first: their spawns were resolved by an earlier take
    std::vector<Reply> replies;
  };
  // Environment's thread.
  Contents take() {
    const std::lock_guard<std::mutex> guard(lock_);
    rung_ = false;
    answered.store(asked.load());
    Contents contents;
    contents.exits.swap(due_exits_);
    contents.replies.swap(replies_);
    due_exits_.swap(exits_);
    if (!due_exits_.empty()) ring_once();
    return contents;
  }

  // Nothing is delivered from here on. Environment's thread, at its end.
  void close() {
    const std::lock_guard<std::mutex> guard(lock_);
    ring_ = nullptr;
    replies_.clear();
  }

 private:
  void ring_once() {
    if (rung_ || !ring_) return;
    rung_ = true;
    ring_();
  }

  std::mutex lock_;
  std::function<void()> ring_;
  bool rung_ = false;
  std::vector<Reply> replies_;
  std::vector<ExitRecord> exits_;
  std::vector<ExitRecord> due_exits_;
};

}  // namespace morch
