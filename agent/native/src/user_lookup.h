// Users as the name service of this machine knows them.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "result.h"

namespace morch {

struct SystemUser {
  std::string name;
  uid_t uid;
  gid_t gid;
  std::vector<gid_t> groups;  // supplementary, `gid` included
  std::string home;
};

// By name, or by number when there is no such name; a number without entry has its own number as
// gid, no groups, and home "/". May block for as long as the name service does: look-up thread.
Result<std::optional<SystemUser>> look_up_user(const std::string& name);

}  // namespace morch
