// The workload of restartInPlace.cjs: says at once when it runs, then waits. usage: stamp <fifo>
// Writes "<pid> <CLOCK_MONOTONIC in ns>" in one line.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (argc != 2) return 2;
  char line[64];
  const int length = snprintf(line, sizeof line, "%d %lld\n", (int)getpid(),
                              now.tv_sec * 1000000000LL + now.tv_nsec);
  const int fifo = open(argv[1], O_WRONLY | O_CLOEXEC);
  if (fifo == -1 || write(fifo, line, (size_t)length) != length) return 1;
  close(fifo);
  for (;;) pause();
}
