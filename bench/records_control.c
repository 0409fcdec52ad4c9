// What the disk alone takes of runs that are started, end and are recorded (docs/shim.md,
// agent/journal.ts, agent/spareDirectories.ts): their directories and state files are made, their
// intents written to the journal by one synchronized write, their ends by another, and the files
// removed; directories are moved away and used again; nothing is executed. usage: records_control
// <directory> <count> <at-once> Prints the elapsed nanoseconds. What it has made is left to the
// caller.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { INTENT_BYTES = 800, END_BYTES = 700, STATE_BYTES = 4096, NAME_BYTES = 64 };

static const char *const kinds[] = {"instances", "work"};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static void must(int holds, const char *what) {
  if (holds) return;
  perror(what);
  exit(1);
}

static void directory_of(char *name, int kind, int run) {
  snprintf(name, NAME_BYTES, "%s/run-%d", kinds[kind], run);
}

static void state_file_of(char *name, int run) {
  snprintf(name, NAME_BYTES, "%s/run-%d/run.1.open", kinds[0], run);
}

static void spare_name(char *name, int kind, int at) {
  snprintf(name, NAME_BYTES, "spare/%d-%d", kind, at);
}

static int spares;

static void make(int root, int run) {
  char name[NAME_BYTES], spare[NAME_BYTES];
  if (spares > 0)
    --spares;
  else
    spares = -1;
  for (int kind = 0; kind < KINDS; ++kind) {
    directory_of(name, kind, run);
    spare_name(spare, kind, spares);
    if (spares < 0)
      must(mkdirat(root, name, 0700) == 0, "mkdirat");
    else
      must(renameat(root, spare, root, name) == 0, "renameat");
  }
  if (spares < 0) spares = 0;
}

static void make_state_file(int root, int run) {
  char name[NAME_BYTES];
  state_file_of(name, run);
  const int file = openat(root, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  must(file != -1, "openat");
  // Not on every file system.
  if (fallocate(file, FALLOC_FL_KEEP_SIZE, 0, STATE_BYTES) == -1) {
  }
  must(write(file, "started\n", 8) == 8, "write");
  close(file);
}

static void discard(int root, int run) {
  char name[NAME_BYTES], spare[NAME_BYTES];
  state_file_of(name, run);
  must(unlinkat(root, name, 0) == 0, "unlinkat");
  for (int kind = 0; kind < KINDS; ++kind) {
    directory_of(name, kind, run);
    spare_name(spare, kind, spares);
    must(renameat(root, name, root, spare) == 0, "renameat");
  }
  ++spares;
}

static void add_durably(int root, const char *lines, size_t bytes) {
  const int journal =
      openat(root, "journal", O_WRONLY | O_CREAT | O_APPEND | O_DSYNC | O_CLOEXEC, 0600);
  must(journal != -1, "openat");
  must(write(journal, lines, bytes) == (ssize_t)bytes, "write");
  close(journal);
}

static long long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  const int count = atoi(argv[2]), at_once = atoi(argv[3]);
  const int root = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  must(root != -1, "open");
  if (count < 1 || at_once < 1) return 2;
  const char *lines = calloc((size_t)at_once, INTENT_BYTES);
  if (lines == NULL) return 1;
  for (int kind = 0; kind < KINDS; ++kind) {
    must(mkdirat(root, kinds[kind], 0700) == 0, "mkdirat");
  }
  must(mkdirat(root, "spare", 0700) == 0, "mkdirat");

  const long long begin = now_ns();
  for (int first = 0; first < count; first += at_once) {
    const int end = first + at_once < count ? first + at_once : count;
    for (int run = first; run < end; ++run) make(root, run);
    add_durably(root, lines, (size_t)(end - first) * INTENT_BYTES);
    for (int run = first; run < end; ++run) make_state_file(root, run);
    add_durably(root, lines, (size_t)(end - first) * END_BYTES);
    for (int run = first; run < end; ++run) discard(root, run);
  }
  printf("%lld\n", now_ns() - begin);
  return 0;
}
