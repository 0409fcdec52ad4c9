// Result<T>: a value, or the system call that failed. Stands in for exceptions, which are off.
#pragma once

#include <cerrno>
#include <string>
#include <utility>
#include <variant>

namespace morch {

struct Failure {
  const char* syscall;  // static storage
  int error;            // errno
  std::string what;     // what the call was about: a path, a pid, a limit; may be empty
};

template <typename T>
class Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit
  Result(Failure failure) : state_(std::in_place_index<1>, std::move(failure)) {}  // NOLINT

  bool ok() const { return state_.index() == 0; }
  // Callers check ok() first.
  T& value() { return *std::get_if<0>(&state_); }
  const T& value() const { return *std::get_if<0>(&state_); }
  const Failure& failure() const { return *std::get_if<1>(&state_); }

 private:
  std::variant<T, Failure> state_;
};

// Calls `fn` until it returns something other than -1/EINTR.
template <typename Fn>
auto retry_eintr(Fn fn) {
  auto result = fn();
  while (result == -1 && errno == EINTR) result = fn();
  return result;
}

}  // namespace morch
