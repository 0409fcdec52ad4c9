#include "heap_memory.h"

#include <features.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace morch {

void share_heaps() {
#ifdef __GLIBC__
  ::mallopt(M_ARENA_MAX, 1);
#endif
}

void give_back_memory() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

}  // namespace morch
