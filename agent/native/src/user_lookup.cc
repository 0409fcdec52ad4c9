#include "user_lookup.h"

#include <grp.h>
#include <pwd.h>

#include <charconv>

namespace morch {

namespace {

constexpr size_t kFirstBufferBytes = 1024, kLastBufferBytes = 1 << 20;
constexpr int kFirstGroups = 64, kLastGroups = 65536;  // NGROUPS_MAX

std::vector<gid_t> groups_of(const passwd& entry) {
  for (int room = kFirstGroups; room <= kLastGroups; room *= 4) {
    std::vector<gid_t> groups(static_cast<size_t>(room));
    int count = room;
    if (::getgrouplist(entry.pw_name, entry.pw_gid, groups.data(), &count) == -1) continue;
    groups.resize(static_cast<size_t>(count));
    return groups;
  }
  return {entry.pw_gid};
}

// `get(entry, buffer, size, found)`: getpwnam_r or getpwuid_r.
template <typename Get>
Result<std::optional<SystemUser>> find_entry(const char* call, const std::string& name, Get get) {
  for (std::vector<char> buffer(kFirstBufferBytes);; buffer.resize(buffer.size() * 4)) {
    passwd entry = {};
    passwd* found = nullptr;
    const int error = get(&entry, buffer.data(), buffer.size(), &found);
    if (error == EINTR || (error == ERANGE && buffer.size() < kLastBufferBytes)) continue;
    if (found != nullptr) {
      return std::optional(
          SystemUser{entry.pw_name, entry.pw_uid, entry.pw_gid, groups_of(entry), entry.pw_dir});
    }
    // getpwnam(3): name services also answer with these when there is no such user.
    if (error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM) {
      return std::optional<SystemUser>();
    }
    return Failure{call, error, name};
  }
}

// -1 means "no change" to setresuid(2), so it is no user.
std::optional<uid_t> as_uid(const std::string& name) {
  uid_t uid = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data(), end, uid);
  if (error != std::errc() || stop != end || uid == static_cast<uid_t>(-1)) return std::nullopt;
  return uid;
}

}  // namespace

Result<std::optional<SystemUser>> look_up_user(const std::string& name) {
  auto by_name = find_entry("getpwnam_r", name,
                            [&](auto... rest) { return ::getpwnam_r(name.c_str(), rest...); });
  const std::optional<uid_t> uid = as_uid(name);
  if (!by_name.ok() || by_name.value().has_value() || !uid) return by_name;
  auto by_uid =
      find_entry("getpwuid_r", name, [&](auto... rest) { return ::getpwuid_r(*uid, rest...); });
  if (!by_uid.ok() || by_uid.value().has_value()) return by_uid;
  return std::optional(SystemUser{name, *uid, static_cast<gid_t>(*uid), {}, "/"});
}

}  // namespace morch
