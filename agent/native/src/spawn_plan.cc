#include "spawn_plan.h"

#include <cstring>

namespace morch {

bool SpawnPlan::parse(const std::string& packed) {
  packed_.assign(packed.c_str(), packed.c_str() + packed.size() + 1);
  std::vector<char*> strings;
  for (size_t at = 0; at < packed_.size(); at += std::strlen(packed_.data() + at) + 1) {
    strings.push_back(packed_.data() + at);
  }
  if (strings.size() < 3) return false;
  file = strings[0];
  cwd = strings[1];
  argv.assign(strings.begin() + 2, strings.end());
  argv.push_back(nullptr);
  return true;
}

}  // namespace morch
