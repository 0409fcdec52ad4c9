// How every thread of the addon starts.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <thread>
#include <utility>

namespace morch {

// A named thread with all signals blocked, so that signals sent to the agent run on Node's threads.
template <typename Body>
std::thread start_thread(const char* name, Body body) {
  sigset_t all, old;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &old);
  std::thread thread(std::move(body));
  ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  ::pthread_setname_np(thread.native_handle(), name);
  return thread;
}

}  // namespace morch
