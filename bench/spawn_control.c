// What starting and reaping a program costs without Node: vfork, exec, wait, in a loop, from a
// parent with as much touched memory as asked for. usage: spawn_control <count> <concurrency>
// <rss-mb> <program> Prints the elapsed nanoseconds. Children get the same set-up as a workload's
// (session, /dev/null, umask).
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void start(char *program) {
  char *argv[] = {program, NULL};
  const pid_t pid = vfork();
  if (pid == -1) {
    perror("vfork");
    exit(1);
  }
  if (pid == 0) {
    setsid();
    umask(022);
    for (int fd = 0; fd < 3; ++fd) {
      close(fd);
      open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY | O_APPEND);
    }
    execve(program, argv, environ);
    _exit(127);
  }
}

static void reap(void) {
  int status = 0;
  if (wait(&status) == -1 || status != 0) {
    fprintf(stderr, "a child failed\n");
    exit(1);
  }
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  const int count = atoi(argv[1]), concurrency = atoi(argv[2]);
  const size_t bytes = (size_t)atoi(argv[3]) << 20;
  char *ballast = malloc(bytes);
  memset(ballast, 1, bytes);

  struct timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  int started = 0, live = 0;
  while (started < count || live > 0) {
    while (started < count && live < concurrency) {
      start(argv[4]);
      ++started;
      ++live;
    }
    reap();
    --live;
  }
  clock_gettime(CLOCK_MONOTONIC, &after);
  printf("%lld\n", (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec);
  return ballast[bytes / 2] == 1 ? 0 : 1;
}
