// A start as plain data: everything the new process needs is laid out here before the clone; it
// only reads it.
#pragma once

#include <string>
#include <vector>

namespace morch {

class SpawnPlan {
 public:
  // `packed` is file, cwd, then the arguments (at least one), separated by NUL bytes. Returns false
  // when there are fewer strings than that. Any thread.
  bool parse(const std::string& packed);

  const char* file = nullptr;
  const char* cwd = nullptr;
  std::vector<char*> argv;  // null-terminated
  std::string input;

 private:
  std::vector<char> packed_;  // no string: the pointers above stay good when the plan is moved
};

}  // namespace morch
