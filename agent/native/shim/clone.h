// The one place that makes a process.
#pragma once

#include "kernel.h"

namespace morch::shim {

// Runs `entry(arg)` in a new process, on this very stack and in this very memory, and returns its
// pid once it has exec'd or exited: CLONE_VM and CLONE_VFORK. Descriptors, directory and
// dispositions are its own. `entry` must not return. Where an emulator makes a plain fork of it
// (qemu-user), memory is copied and the call returns at once; so what the child has to say it says
// through a pipe.
//
// @param cgroup  directory of the group to begin in; negative: none
// @param joined  set when the child begins in the group; else it has to enter it itself
// @returns a negative errno on failure
long clone_running(void (*entry)(void*), void* arg, int cgroup, bool* joined);

}  // namespace morch::shim
