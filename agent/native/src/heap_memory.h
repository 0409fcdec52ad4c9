// What the C allocator keeps of memory that is not in use.
#pragma once

namespace morch {

// Has threads that are started from now on share the heaps there are, where each would have one of
// its own, of half a megabyte once it was used: ours allocate little. For the whole process.
void share_heaps();

// Gives the kernel back what is free. Takes as long as there is much of it: a millisecond or a few.
// Any thread.
void give_back_memory();

}  // namespace morch
