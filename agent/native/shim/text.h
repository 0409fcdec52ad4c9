// Text without a libc: building short lines, and reading what /proc and cgroup files say.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace morch::shim {

// A short line in a fixed buffer. What does not fit is cut off; every user knows its longest line.
template <size_t kCapacity>
class Text {
 public:
  Text() { bytes_[0] = '\0'; }

  Text& operator<<(const char* string) {
    while (*string != '\0') add(*string++);
    return *this;
  }
  Text& operator<<(char character) {
    add(character);
    return *this;
  }
  Text& operator<<(uint64_t number) {
    char digits[20];
    size_t count = 0;
    do {
      digits[count++] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number != 0);
    while (count > 0) add(digits[--count]);
    return *this;
  }
  Text& operator<<(int number) {
    if (number < 0) add('-');
    return *this << static_cast<uint64_t>(number < 0 ? -static_cast<int64_t>(number) : number);
  }

  void clear() {
    size_ = 0;
    bytes_[0] = '\0';
  }

  const char* c_str() const { return bytes_; }
  size_t size() const { return size_; }

 private:
  void add(char character) {
    if (size_ + 1 >= kCapacity) return;
    bytes_[size_++] = character;
    bytes_[size_] = '\0';
  }

  size_t size_ = 0;
  char bytes_[kCapacity];
};

inline size_t length_of(const char* string) {
  size_t length = 0;
  while (string[length] != '\0') ++length;
  return length;
}

// Whether `text` begins with `prefix`.
inline bool begins_with(const char* text, const char* prefix) {
  while (*prefix != '\0') {
    if (*text++ != *prefix++) return false;
  }
  return true;
}

inline bool is_digit(char character) { return character >= '0' && character <= '9'; }

// Reads decimal digits at `*cursor` and moves it past them; 0 when there are none.
inline uint64_t read_number(const char** cursor) {
  uint64_t number = 0;
  for (; is_digit(**cursor); ++*cursor)
    number = number * 10 + static_cast<uint64_t>(**cursor - '0');
  return number;
}

// The number after `name` and one space at the beginning of a line (`populated 1`); `otherwise`
// when there is none.
inline uint64_t number_after(const char* text, const char* name, uint64_t otherwise) {
  for (const char* line = text; *line != '\0';) {
    if (begins_with(line, name) && line[length_of(name)] == ' ') {
      const char* cursor = line + length_of(name) + 1;
      return read_number(&cursor);
    }
    while (*line != '\0' && *line++ != '\n') {
    }
  }
  return otherwise;
}

}  // namespace morch::shim
