#include "spawn_plan.h"

#include <cstring>
#include <string_view>

namespace morch {

namespace {

constexpr size_t kFixedStrings = 4;
constexpr std::string_view kDefaultPath = "/bin:/usr/bin";  // what execvp(3) uses without a PATH
char shell_path[] = "/bin/sh";

}  // namespace

bool SpawnPlan::parse(std::string packed, size_t argc) {
  packed_ = std::move(packed);
  std::vector<char*> strings;
  for (size_t at = 0; at <= packed_.size(); at += std::strlen(packed_.data() + at) + 1) {
    strings.push_back(packed_.data() + at);
  }
  if (argc == 0 || strings.size() < kFixedStrings + argc) return false;
  file = strings[0];
  cwd = strings[1];
  stdout_path = strings[2];
  stderr_path = strings[3];
  const auto arguments = strings.begin() + kFixedStrings;
  const auto environment = arguments + static_cast<std::ptrdiff_t>(argc);
  argv.assign(arguments, environment);
  argv.push_back(nullptr);
  env.assign(environment, strings.end());
  env.push_back(nullptr);
  return true;
}

void SpawnPlan::prepare() {
  shell_argv.assign({shell_path, nullptr});
  shell_argv.insert(shell_argv.end(), argv.begin() + 1, argv.end());

  const std::string_view name(file);
  if (name.empty() || name.find('/') != std::string_view::npos) {
    candidates.assign({file, nullptr});
    return;
  }
  std::string_view path = kDefaultPath;
  for (const char* entry : env) {
    if (entry != nullptr && std::strncmp(entry, "PATH=", 5) == 0) {
      path = entry + 5;
      break;
    }
  }
  std::vector<size_t> offsets;
  for (size_t at = 0; at <= path.size();) {
    size_t end = path.find(':', at);
    if (end == std::string_view::npos) end = path.size();
    offsets.push_back(candidate_storage_.size());
    candidate_storage_.append(path.substr(at, end - at));
    if (end > at) candidate_storage_.push_back('/');  // an empty entry is the working directory
    candidate_storage_.append(name).push_back('\0');
    at = end + 1;
  }
  for (const size_t offset : offsets) candidates.push_back(candidate_storage_.data() + offset);
  candidates.push_back(nullptr);
}

}  // namespace morch
