/* A disk that fails, for one process: loaded with LD_PRELOAD, told by `disk_fails` what to do. See failing_disk.py. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ONCE, FULL, KILL, SHORT }; /* the n-th operation fails; every one that takes space does from the n-th on; the process dies before it;
                                     the n-th, if it reads, gives less than was asked for */
enum { TAKES_SPACE, OTHER, READ };
enum { PASSES, FAILS, GIVES_LESS };

static char below[PATH_MAX];
static size_t below_length;
static long fail_at, operations;
static int error_number, how, reads;

void disk_fails(const char *folder, long at, int error, int how_it_fails, int count_reads) {
    below_length = strlen(folder);
    memcpy(below, folder, below_length + 1);
    fail_at = at, error_number = error, how = how_it_fails, reads = count_reads, operations = 0;
}

long disk_operations(void) { return operations; }

static int counted(int kind) {
    if ((kind == READ) != reads) return PASSES;
    long number = __atomic_add_fetch(&operations, 1, __ATOMIC_SEQ_CST);
    if (!fail_at) return PASSES;
    if (how == KILL && number == fail_at) kill(getpid(), SIGKILL);
    if (how == SHORT) return number == fail_at ? GIVES_LESS : PASSES;
    if (how == FULL ? number >= fail_at && kind == TAKES_SPACE : number == fail_at) {
        errno = error_number;
        return FAILS;
    }
    return PASSES;
}

static int here(const char *path) { return below_length && strncmp(path, below, below_length) == 0; }

static int path_of(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

static int fails_path(const char *path, int kind) { return here(path) && counted(kind) == FAILS; }

static int fails_at(int folder, const char *path, int kind) {
    char whole[PATH_MAX];
    if (path[0] == '/') return fails_path(path, kind);
    return below_length && path_of(folder, whole) && here(whole) && counted(kind) == FAILS;
}

static int counted_descriptor(int descriptor, int kind) {
    char path[PATH_MAX];
    int before = errno;
    int ours = below_length && path_of(descriptor, path) && here(path);
    errno = before;
    return ours ? counted(kind) : PASSES;
}

static int fails_descriptor(int descriptor, int kind) { return counted_descriptor(descriptor, kind) == FAILS; }

/* Of `size` bytes to read one, where less is to be given. */
static int fails_reading(int descriptor, size_t *size) {
    int ends = counted_descriptor(descriptor, READ);
    if (ends == GIVES_LESS && *size > 1) *size = 1;
    return ends == FAILS;
}

static int opening(int flags) { return (flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT) ? READ : TAKES_SPACE; }

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))
#define OPEN(name)                                                                          \
    int name(const char *path, int flags, ...) {                                            \
        va_list rest;                                                                       \
        va_start(rest, flags);                                                              \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;           \
        va_end(rest);                                                                       \
        return fails_path(path, opening(flags)) ? -1 : REAL(name)(path, flags, mode);       \
    }
#define OPENAT(name)                                                                                \
    int name(int folder, const char *path, int flags, ...) {                                        \
        va_list rest;                                                                               \
        va_start(rest, flags);                                                                      \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;                   \
        va_end(rest);                                                                               \
        return fails_at(folder, path, opening(flags)) ? -1 : REAL(name)(folder, path, flags, mode); \
    }
#define FOPEN(name)                                                                                            \
    FILE *name(const char *path, const char *mode) {                                                           \
        return fails_path(path, strpbrk(mode, "wa+") ? TAKES_SPACE : READ) ? NULL : REAL(name)(path, mode);    \
    }
#define ON_DESCRIPTOR(result, name, kind, parameters, values) \
    result name parameters { return fails_descriptor(descriptor, kind) ? -1 : REAL(name) values; }
#define READING(name, parameters, values) \
    ssize_t name parameters { return fails_reading(descriptor, &size) ? -1 : REAL(name) values; }
#define ON_PATH(name, kind, parameters, values) \
    int name parameters { return fails_path(path, kind) ? -1 : REAL(name) values; }
#define ON_PATH_AT(name, kind, parameters, values) \
    int name parameters { return fails_at(folder, path, kind) ? -1 : REAL(name) values; }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
FOPEN(fopen)
FOPEN(fopen64)

ON_DESCRIPTOR(ssize_t, write, TAKES_SPACE, (int descriptor, const void *data, size_t size), (descriptor, data, size))
ON_DESCRIPTOR(ssize_t, writev, TAKES_SPACE, (int descriptor, const struct iovec *parts, int count), (descriptor, parts, count))
ON_DESCRIPTOR(ssize_t, pwrite, TAKES_SPACE, (int descriptor, const void *data, size_t size, off_t at), (descriptor, data, size, at))
ON_DESCRIPTOR(ssize_t, pwrite64, TAKES_SPACE, (int descriptor, const void *data, size_t size, off64_t at), (descriptor, data, size, at))
ON_DESCRIPTOR(int, ftruncate, TAKES_SPACE, (int descriptor, off_t size), (descriptor, size))
ON_DESCRIPTOR(int, ftruncate64, TAKES_SPACE, (int descriptor, off64_t size), (descriptor, size))
ON_DESCRIPTOR(int, fsync, OTHER, (int descriptor), (descriptor))
ON_DESCRIPTOR(int, fdatasync, OTHER, (int descriptor), (descriptor))

READING(read, (int descriptor, void *data, size_t size), (descriptor, data, size))
READING(pread, (int descriptor, void *data, size_t size, off_t at), (descriptor, data, size, at))
READING(pread64, (int descriptor, void *data, size_t size, off64_t at), (descriptor, data, size, at))

ON_PATH(mkdir, TAKES_SPACE, (const char *path, mode_t mode), (path, mode))
ON_PATH(unlink, OTHER, (const char *path), (path))
ON_PATH(rmdir, OTHER, (const char *path), (path))
ON_PATH(rename, OTHER, (const char *path, const char *to), (path, to))
ON_PATH_AT(mkdirat, TAKES_SPACE, (int folder, const char *path, mode_t mode), (folder, path, mode))
ON_PATH_AT(unlinkat, OTHER, (int folder, const char *path, int flags), (folder, path, flags))
ON_PATH_AT(renameat, OTHER, (int folder, const char *path, int other, const char *to), (folder, path, other, to))
ON_PATH_AT(utimensat, OTHER, (int folder, const char *path, const struct timespec times[2], int flags), (folder, path, times, flags))

size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    return below_length && fails_descriptor(fileno(file), TAKES_SPACE) ? 0 : REAL(fwrite)(data, size, count, file);
}

size_t fread(void *data, size_t size, size_t count, FILE *file) {
    int ends = below_length ? counted_descriptor(fileno(file), READ) : PASSES;
    return ends == FAILS ? 0 : REAL(fread)(data, size, ends == GIVES_LESS ? count / 2 : count, file);
}
