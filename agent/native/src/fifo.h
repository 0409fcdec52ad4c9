// The FIFO by which shims send notices. JavaScript thread.
#pragma once

#include <string>

#include "result.h"
#include "unique_fd.h"

namespace morch {

// Opens the FIFO, made with mode 0600 if it is missing, to be read without blocking. EEXIST when
// something else is there.
Result<UniqueFd> open_fifo(const std::string& path);

}  // namespace morch
