#include "arguments.h"

#include <errno.h>
#include <sys/mman.h>

#include "text.h"

namespace morch::shim {

namespace {

constexpr char kDefaultPath[] = "/bin:/usr/bin";  // what execvp(3) uses without a PATH
constexpr char kShell[] = "/bin/sh";

bool has_slash(const char* name) {
  for (; *name != '\0'; ++name) {
    if (*name == '/') return true;
  }
  return false;
}

// Appends `length` bytes; returns the new end.
char* append(char* end, const char* from, size_t length) {
  for (size_t i = 0; i < length; ++i) *end++ = from[i];
  return end;
}

}  // namespace

bool Arguments::lay_out(const Plan& plan, Failure* failure) {
  file_ = plan.file;
  shell_ = plan.shell;
  search_path_ = nullptr;
  RepeatedFields entries(plan, Repeated::kEnv);
  while (const uint8_t* value = entries.next()) {
    const auto* entry = reinterpret_cast<const char*>(value);
    if (!begins_with(entry, "PATH=")) continue;
    search_path_ = entry + 5;
    break;
  }
  if (search_path_ == nullptr) search_path_ = kDefaultPath;

  const size_t pointers = 1 + plan.argc + 1 + plan.envc + 1;
  const size_t candidate_bytes = length_of(search_path_) + 1 + length_of(file_) + 1;
  mapped_bytes_ = pointers * sizeof(char*) + plan.group_count * sizeof(uint32_t) + candidate_bytes;
  mapping_ = sys::mmap(mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  if (sys::failed(mapping_)) {
    *failure = {"mmap", static_cast<int>(-sys::word(mapping_))};
    return false;
  }

  argv_ = static_cast<char**>(mapping_);
  env_ = argv_ + 1 + plan.argc + 1;
  groups_ = reinterpret_cast<uint32_t*>(env_ + plan.envc + 1);
  candidate_ = reinterpret_cast<char*>(groups_ + plan.group_count);
  char** argument = argv_ + 1;
  RepeatedFields arguments(plan, Repeated::kArgv);
  while (const uint8_t* value = arguments.next()) {
    *argument++ = const_cast<char*>(reinterpret_cast<const char*>(value));
  }
  char** entry = env_;
  RepeatedFields environment(plan, Repeated::kEnv);
  while (const uint8_t* value = environment.next()) {
    *entry++ = const_cast<char*>(reinterpret_cast<const char*>(value));
  }
  uint32_t* group = groups_;
  RepeatedFields groups(plan, Repeated::kGroups);
  while (const uint8_t* value = groups.next()) {
    *group++ = static_cast<uint32_t>(number_in(value, 0));
  }
  return true;
}

void Arguments::release() { sys::munmap(mapping_, mapped_bytes_); }

int Arguments::exec_one(const char* path) const {
  const long error = sys::execve(path, argv_ + 1, env_);
  if (error != -ENOEXEC || !shell_) return static_cast<int>(-error);
  argv_[0] = const_cast<char*>(kShell);
  argv_[1] = const_cast<char*>(path);
  return static_cast<int>(-sys::execve(kShell, argv_, env_));
}

int Arguments::exec() const {
  if (*file_ == '\0' || has_slash(file_)) return exec_one(file_);
  bool forbidden = false;
  int error = ENOENT;
  for (const char* at = search_path_;; ++at) {
    const char* entry = at;
    while (*at != ':' && *at != '\0') ++at;
    char* end = append(candidate_, entry, static_cast<size_t>(at - entry));
    if (end != candidate_) *end++ = '/';  // an empty entry is the working directory
    append(end, file_, length_of(file_) + 1);

    // A missing file means the next entry, a forbidden one is remembered, anything else ends the
    // search.
    error = exec_one(candidate_);
    switch (error) {
      case EACCES:
        forbidden = true;
        break;
      case ENOENT:
      case ENOTDIR:
      case ESTALE:
      case ENODEV:
      case ETIMEDOUT:
        break;
      default:
        return error;
    }
    if (*at == '\0') return forbidden ? EACCES : error;
  }
}

}  // namespace morch::shim
