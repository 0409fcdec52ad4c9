// The functions that compilers call without being asked, for copies and comparisons of structures.
#include <stddef.h>

extern "C" {

void* memcpy(void* to, const void* from, size_t length) {
  auto* target = static_cast<volatile char*>(to);
  const auto* source = static_cast<const char*>(from);
  // Through volatile: else the loop is recognised as a memcpy, and calls itself.
  for (size_t i = 0; i < length; ++i) target[i] = source[i];
  return to;
}

void* memmove(void* to, const void* from, size_t length) {
  auto* target = static_cast<volatile char*>(to);
  const auto* source = static_cast<const char*>(from);
  if (target <= source) return memcpy(to, from, length);
  for (size_t i = length; i > 0; --i) target[i - 1] = source[i - 1];
  return to;
}

void* memset(void* to, int value, size_t length) {
  auto* target = static_cast<volatile char*>(to);
  for (size_t i = 0; i < length; ++i) target[i] = static_cast<char>(value);
  return to;
}

int memcmp(const void* left, const void* right, size_t length) {
  const auto* a = static_cast<const volatile unsigned char*>(left);
  const auto* b = static_cast<const volatile unsigned char*>(right);
  for (size_t i = 0; i < length; ++i) {
    if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
  }
  return 0;
}

}  // extern "C"
