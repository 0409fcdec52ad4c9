// What starting many sleeps, and stopping them, costs without Node or a network: vfork and exec in
// a loop, then SIGTERM and wait. usage: sleeps_control <count> [hold] Prints the nanoseconds of
// both. With hold it prints those of the first at once, and goes on when its stdin ends. Children
// get a session of their own and /dev/null, as a workload does.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static pid_t start(void) {
  char *argv[] = {"sleep", "100000", NULL};
  const pid_t pid = vfork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setsid();
    for (int fd = 0; fd < 3; ++fd) {
      close(fd);
      open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY | O_APPEND);
    }
    execvpe(argv[0], argv, environ);
    _exit(127);
  }
  return pid;
}

static long long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int argc, char **argv) {
  const int count = argc == 2 || argc == 3 ? atoi(argv[1]) : 0;
  if (count < 1) return 2;
  prctl(PR_SET_PDEATHSIG,
        SIGKILL);  // nothing is left of it, or of the sleeps, when the benchmark is killed
  pid_t *pids = calloc(count, sizeof(pid_t));
  if (pids == NULL) return 1;

  const long long begin = now_ns();
  for (int i = 0; i < count; ++i) {
    pids[i] = start();
    if (pids[i] == -1) {
      perror("vfork");
      return 1;
    }
  }
  const long long started = now_ns();
  if (argc == 3) {
    printf("%lld\n", started - begin);
    fflush(stdout);
    while (getchar() != EOF) {
    }
    return 0;  // the sleeps end with it
  }
  for (int i = 0; i < count; ++i) kill(pids[i], SIGTERM);
  for (int i = 0; i < count; ++i) {
    int status = 0;
    if (waitpid(pids[i], &status, 0) == -1 || !WIFSIGNALED(status) || WTERMSIG(status) != SIGTERM) {
      fprintf(stderr, "a sleep did not run\n");
      return 1;
    }
  }
  printf("%lld %lld\n", started - begin, now_ns() - started);
  return 0;
}
