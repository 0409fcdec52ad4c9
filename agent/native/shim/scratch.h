// Room for a moment: output on its way to a file, and what /proc says while the tree is looked
// through. Nobody keeps anything in it from one event to the next. Its pages are given back when it
// has not been used for a while.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace morch::shim::scratch {

inline constexpr size_t kBytes = 64 * 1024;  // what a pipe holds

// Aligned for anything.
extern uint8_t bytes[kBytes];

// To be called after each use, and after deep calls.
void used(uint64_t now_ms);

// Gives the pages back when the time has come. From the event loop, not far down the stack.
// @returns when to call again, in ms of boot_ms(); or kNever
uint64_t release_when_idle(uint64_t now_ms);

}  // namespace morch::shim::scratch
