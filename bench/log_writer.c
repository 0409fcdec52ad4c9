// A workload that writes as fast as it can: numbered lines of 64 bytes to stdout, in blocks, until
// there are as many bytes as were asked for. usage: log_writer <bytes> <block-bytes> <report>
// Leaves in the file <report> the nanoseconds from its first write to the end of its last.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 64, DIGITS = 16 };

static long long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void put_number(char *to, long long number) {
  for (int digit = DIGITS - 1; digit >= 0; --digit, number /= 10)
    to[digit] = (char)('0' + number % 10);
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  const size_t block_bytes = (size_t)atoll(argv[2]) / LINE * LINE;
  long long left = atoll(argv[1]);
  char *block = block_bytes == 0 ? NULL : malloc(block_bytes);
  if (block == NULL || left < 1) return 2;
  for (size_t i = 0; i < block_bytes; ++i) {
    block[i] = (char)(i % LINE == LINE - 1 ? '\n' : 'a' + i % LINE % 26);
  }

  const long long begin = now_ns();
  for (long long number = 0; left > 0;) {
    for (size_t i = 0; i < block_bytes; i += LINE, ++number) put_number(block + i, number);
    size_t size = left < (long long)block_bytes ? (size_t)left : block_bytes;
    left -= (long long)size;
    for (const char *from = block; size > 0;) {
      const ssize_t written = write(1, from, size);
      if (written == -1) {
        perror("write");
        return 1;
      }
      from += written;
      size -= (size_t)written;
    }
  }
  const long long took_ns = now_ns() - begin;

  FILE *report = fopen(argv[3], "w");
  if (report == NULL) return 1;
  fprintf(report, "%lld\n", took_ns);
  return fclose(report) == 0 ? 0 : 1;
}
