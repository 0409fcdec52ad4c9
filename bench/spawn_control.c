// What starting and reaping a program costs without Node: vfork, exec, wait, in a loop, from a
// parent with as much touched memory as asked for, by as many threads as asked for, which share the
// count and the concurrency. usage: spawn_control <count> <concurrency> <rss-mb> <threads>
// <program> Prints the elapsed nanoseconds. Children get the same set-up as a workload's (session,
// /dev/null, umask).
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static char *program;
static int concurrency;  // of each thread

static void start(void) {
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
  // Children of this thread only.
  if (waitpid(-1, &status, __WNOTHREAD) == -1 || status != 0) {
    fprintf(stderr, "a child failed\n");
    exit(1);
  }
}

static void *run(void *count_of_thread) {
  const int count = *(int *)count_of_thread;
  int started = 0, live = 0;
  while (started < count || live > 0) {
    while (started < count && live < concurrency) {
      start();
      ++started;
      ++live;
    }
    reap();
    --live;
  }
  return NULL;
}

int main(int argc, char **argv) {
  enum { MOST_THREADS = 64 };
  if (argc != 6) return 2;
  const int count = atoi(argv[1]), threads = atoi(argv[4]);
  if (threads < 1 || threads > MOST_THREADS) return 2;
  concurrency = (atoi(argv[2]) + threads - 1) / threads;
  program = argv[5];
  const size_t bytes = (size_t)atoi(argv[3]) << 20;
  char *ballast = malloc(bytes);
  memset(ballast, 1, bytes);

  struct timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  pthread_t others[MOST_THREADS];
  int counts[MOST_THREADS];
  for (int i = 0; i < threads; ++i) counts[i] = count / threads + (i < count % threads ? 1 : 0);
  for (int i = 1; i < threads; ++i) {
    if (pthread_create(&others[i], NULL, run, &counts[i]) != 0) return 1;
  }
  run(&counts[0]);
  for (int i = 1; i < threads; ++i) pthread_join(others[i], NULL);
  clock_gettime(CLOCK_MONOTONIC, &after);
  printf("%lld\n", (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec);
  return ballast[bytes / 2] == 1 ? 0 : 1;
}
