// The least that keeps programs running: vfork and exec, waitid, and again. usage: restart_control
// <count> <program> <argument> Ends, and its children with it, when it is killed.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void start(char *program, char *argument) {
  char *argv[] = {program, argument, NULL};
  const pid_t pid = vfork();
  if (pid == -1) {
    perror("vfork");
    exit(1);
  }
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setsid();
    execve(program, argv, environ);
    _exit(127);
  }
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  for (int i = atoi(argv[1]); i > 0; --i) start(argv[2], argv[3]);
  for (;;) {
    siginfo_t info;
    if (waitid(P_ALL, 0, &info, WEXITED) == -1) return 1;
    start(argv[2], argv[3]);
  }
}
