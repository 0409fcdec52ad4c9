// Why a start failed: the name of the call, as it stands in the record, and the kernel's errno.
#pragma once

namespace morch::shim {

struct Failure {
  const char* step;
  int error;  // as in errno(3): positive
};

}  // namespace morch::shim
