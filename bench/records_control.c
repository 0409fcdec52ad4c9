// What the disk alone takes of a run that is started, ends and is recorded (docs/shim.md,
// agent/records.ts): a directory, the intent, the exit and the end, each durable before the next,
// by many threads at once; nothing is executed. usage: records_control <directory> <count>
// <concurrency> Prints the elapsed nanoseconds. What it has made is left to the caller.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { INTENT_BYTES = 800, END_BYTES = 700, EXIT_BYTES = 4096 };

static int root;
static int count;
static atomic_int next_run;

static void must(int holds, const char *what) {
  if (holds) return;
  perror(what);
  exit(1);
}

static void sync_fd(int fd) { must(fsync(fd) == 0, "fsync"); }

// A file of so many bytes, durable under its name only then.
static void write_durably(int directory, const char *fresh, const char *name, size_t bytes) {
  static const char content[EXIT_BYTES];
  const int file = openat(directory, fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  must(file != -1, "openat");
  must(write(file, content, bytes) == (ssize_t)bytes, "write");
  sync_fd(file);
  close(file);
  must(renameat(directory, fresh, directory, name) == 0, "renameat");
  sync_fd(directory);
}

static void *work(void *unused) {
  for (int run; (run = atomic_fetch_add(&next_run, 1)) < count;) {
    char name[32];
    snprintf(name, sizeof name, "run-%d", run);
    must(mkdirat(root, name, 0700) == 0, "mkdirat");
    const int directory = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(directory != -1, "openat");
    write_durably(directory, "intent.tmp", "intent", INTENT_BYTES);
    sync_fd(root);
    write_durably(directory, "open", "ended", EXIT_BYTES);
    write_durably(directory, "end.tmp", "end", END_BYTES);
    close(directory);
  }
  return unused;
}

static long long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  count = atoi(argv[2]);
  const int concurrency = atoi(argv[3]);
  root = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  must(root != -1, "open");
  pthread_t *threads = calloc((size_t)concurrency, sizeof *threads);
  if (threads == NULL || count < 1) return 2;

  const long long begin = now_ns();
  for (int i = 0; i < concurrency; ++i) {
    must(pthread_create(&threads[i], NULL, work, NULL) == 0, "pthread_create");
  }
  for (int i = 0; i < concurrency; ++i) pthread_join(threads[i], NULL);
  printf("%lld\n", now_ns() - begin);
  return 0;
}
