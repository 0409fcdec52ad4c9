// The lock on an agent's data directory. JavaScript thread.
#pragma once

#include <string>

#include "result.h"

namespace morch {

// Takes flock(LOCK_EX | LOCK_NB) on the file, which is made if it is missing, and keeps the
// descriptor until the process ends, so that the kernel lets go of it however that happens. False
// when another process, or an earlier call of this one, holds it.
Result<bool> lock_file(const std::string& path);

}  // namespace morch
