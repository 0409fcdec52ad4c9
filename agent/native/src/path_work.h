// Names in directories made, removed and looked at, many in one go: one hop between threads for all
// of them, where Node takes one for each. Disk thread.
#pragma once

#include <string>
#include <vector>

namespace morch {

// @param packed  one after the other, each ended by a NUL byte: 'm' and the path of a directory to
//                be made for its owner alone (mode 0700), 'g' for others to look into (0755), 'u'
//                and that of a file to be unlinked, 'r' and that of an empty directory to be
//                removed; 'v' and that of a directory to be moved, then the path it is to have, at
//                which there must be nothing; 's' the same of one that is for its owner alone,
//                empty and without extended attributes, and is this process's user's from then on
// @returns for each change, in order, what it came to: 0 or an errno; EPERM for an 's' that is
//   otherwise, EINVAL for another letter
std::vector<int> change_paths(const std::string& packed);

// @param packed  paths, each ended by a NUL byte
// @returns for each, in order, three numbers of lstat(2): 0 or an errno, the size, and the time of
//   the last change in milliseconds
std::vector<double> look_at_paths(const std::string& packed);

}  // namespace morch
