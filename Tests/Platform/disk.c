/* A disk that a test can cut the power of, or fill: preloaded into a process that keeps files below DISK_FROM.
 *
 * What was written is seen by the process at once, as ever. Below DISK_TO lies what a power cut would leave of it: all that
 * was synced, and of what was not, some sectors by chance, since a disk may write what it likes in any order. A killed
 * process leaves both behind, so that a test goes on from DISK_TO. While a file DISK_TO/full is there, no write finds room.
 *
 * Made for SQLite on Linux: the calls below are those that its files go through. What is mapped (-shm) is not kept: SQLite
 * makes it anew. A file's name is durable once it is open. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILES = 16, DESCRIPTORS = 1024, NAME_BYTES = 64, SECTOR_BYTES = 512 };

struct stretch { off_t start; size_t length; };

/* One file, however many descriptors it has: a sync of any of them is one of all. */
struct file {
    char name[NAME_BYTES];
    int kept;
    int is_truncated;
    struct stretch *unsynced;
    size_t count, capacity;
};

static struct file files[FILES];
/* The number of its file by descriptor, from 1; 0 is none of ours. */
static unsigned char file_of[DESCRIPTORS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *from, *to;
static size_t from_length;
static uint64_t chance = 1;

static int (*real_open)(const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);

static void broken(const char *what) {
    perror(what);
    abort();
}

__attribute__((constructor)) static void begin(void) {
    real_open = dlsym(RTLD_NEXT, "open64");
    real_close = dlsym(RTLD_NEXT, "close");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    from = getenv("DISK_FROM");
    to = getenv("DISK_TO");
    if (from) from_length = strlen(from);
    const char *seed = getenv("DISK_SEED");
    if (seed) chance = strtoull(seed, NULL, 10) * 2 + 1;
}

/* The name below DISK_FROM, or NULL for what is not ours. */
static const char *ours(const char *path) {
    if (!from || !to || strncmp(path, from, from_length) != 0 || path[from_length] != '/') return NULL;
    const char *name = path + from_length + 1, *end = strrchr(name, '-');
    if (strchr(name, '/') || strlen(name) >= NAME_BYTES || (end && strcmp(end, "-shm") == 0)) return NULL;
    return strstr(name, ".sqlite") ? name : NULL;
}

static void path_of(char *path, size_t size, const char *name) {
    if ((size_t)snprintf(path, size, "%s/%s", to, name) >= size) broken("path");
}

static int number_of(const char *name) {
    for (int number = 0; number < FILES; number++) {
        struct file *file = &files[number];
        if (file->name[0] == 0) {
            char path[4096];
            path_of(path, sizeof path, name);
            strcpy(file->name, name);
            file->kept = real_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
            if (file->kept < 0) broken(path);
            return number + 1;
        }
        if (strcmp(file->name, name) == 0) return number + 1;
    }
    broken("too many files");
    return 0;
}

static struct file *file_at(int descriptor) {
    if (descriptor < 0 || descriptor >= DESCRIPTORS || file_of[descriptor] == 0) return NULL;
    return &files[file_of[descriptor] - 1];
}

static int is_full(void) {
    char path[4096];
    path_of(path, sizeof path, "full");
    return access(path, F_OK) == 0;
}

static void keep(struct file *file, const void *bytes, size_t length, off_t start) {
    if (real_pwrite(file->kept, bytes, length, start) != (ssize_t)length) broken("keep");
}

/* Half of the sectors reach the disk at once, by chance. */
static void keep_some(struct file *file, const char *bytes, size_t length, off_t start) {
    for (size_t done = 0; done < length; done += SECTOR_BYTES) {
        chance = chance * 6364136223846793005u + 1442695040888963407u;
        size_t piece = length - done < SECTOR_BYTES ? length - done : SECTOR_BYTES;
        if (chance >> 63) keep(file, bytes + done, piece, start + (off_t)done);
    }
}

static void keep_all(struct file *file, int descriptor) {
    for (size_t index = 0; index < file->count; index++) {
        struct stretch stretch = file->unsynced[index];
        char *bytes = malloc(stretch.length);
        if (!bytes) broken("malloc");
        ssize_t length = pread(descriptor, bytes, stretch.length, stretch.start);
        if (length < 0) broken("pread");
        keep(file, bytes, (size_t)length, stretch.start);
        free(bytes);
    }
    file->count = 0;
    if (file->is_truncated && real_ftruncate(file->kept, lseek(descriptor, 0, SEEK_END)) != 0) broken("truncate");
    file->is_truncated = 0;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0;
    va_end(rest);
    int descriptor = real_open(path, flags, mode);
    const char *name = descriptor < 0 ? NULL : ours(path);
    if (!name) return descriptor;
    if (descriptor >= DESCRIPTORS) broken("too many descriptors");
    pthread_mutex_lock(&lock);
    file_of[descriptor] = (unsigned char)number_of(name);
    pthread_mutex_unlock(&lock);
    return descriptor;
}

int close(int descriptor) {
    if (file_at(descriptor)) {
        pthread_mutex_lock(&lock);
        file_of[descriptor] = 0;
        pthread_mutex_unlock(&lock);
    }
    return real_close(descriptor);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off_t start) {
    struct file *file = file_at(descriptor);
    if (!file) return real_pwrite(descriptor, bytes, length, start);
    if (is_full()) {
        errno = ENOSPC;
        return -1;
    }
    pthread_mutex_lock(&lock);
    ssize_t written = real_pwrite(descriptor, bytes, length, start);
    if (written > 0) {
        if (file->count == file->capacity) {
            file->capacity = file->capacity ? file->capacity * 2 : 64;
            file->unsynced = realloc(file->unsynced, file->capacity * sizeof *file->unsynced);
            if (!file->unsynced) broken("realloc");
        }
        file->unsynced[file->count++] = (struct stretch){start, (size_t)written};
        keep_some(file, bytes, (size_t)written, start);
    }
    pthread_mutex_unlock(&lock);
    return written;
}

int ftruncate64(int descriptor, off_t length) {
    struct file *file = file_at(descriptor);
    if (!file) return real_ftruncate(descriptor, length);
    pthread_mutex_lock(&lock);
    file->is_truncated = 1;
    int result = real_ftruncate(descriptor, length);
    pthread_mutex_unlock(&lock);
    return result;
}

/* Nothing is synced in earnest: the process is killed, and not the machine. */
int fdatasync(int descriptor) {
    struct file *file = file_at(descriptor);
    if (!file) return real_fdatasync(descriptor);
    pthread_mutex_lock(&lock);
    keep_all(file, descriptor);
    pthread_mutex_unlock(&lock);
    return 0;
}

int unlink(const char *path) {
    const char *name = ours(path);
    if (name) {
        pthread_mutex_lock(&lock);
        struct file *file = &files[number_of(name) - 1];
        file->count = 0;
        file->is_truncated = 0;
        if (real_ftruncate(file->kept, 0) != 0) broken("unlink");
        pthread_mutex_unlock(&lock);
    }
    return real_unlink(path);
}
