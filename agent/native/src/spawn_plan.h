// A workload's start as plain data: everything its child process needs is laid out here, on the
// spawn worker thread, before the clone; the child only reads it.
#pragma once

#include <string>
#include <vector>

namespace morch {

class SpawnPlan {
 public:
  // `packed` is file, cwd, stdout path, stderr path, then `argc` arguments, then the environment,
  // separated by NUL bytes. Returns false when there are fewer strings than that. Any thread.
  bool parse(std::string packed, size_t argc);

  // Fills the pointer arrays and the candidate paths. Spawn worker thread, once, after parse().
  void prepare();

  const char* file = nullptr;
  const char* cwd = nullptr;
  const char* stdout_path = nullptr;
  const char* stderr_path = nullptr;
  std::vector<char*> argv;  // null-terminated
  std::vector<char*> env;   // null-terminated
  // Paths to try in turn: `file` itself when it has a slash, else one per entry of the PATH found
  // in `env`. Null-terminated; never empty otherwise.
  std::vector<const char*> candidates;
  // `/bin/sh <candidate> argv[1..]`, for a file the kernel answers with ENOEXEC. The child fills
  // [1].
  std::vector<char*> shell_argv;

 private:
  std::string packed_;
  std::string candidate_storage_;
};

}  // namespace morch
