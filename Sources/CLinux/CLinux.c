/* What glibc shows only to those who ask with _GNU_SOURCE, which a header that Swift reads must not define. */
#define _GNU_SOURCE
#include "CLinux.h"

#include <link.h>
#include <sys/mman.h>

int cl_accept(int listener, int *is_v6, uint8_t bytes[16], uint16_t *port) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    int descriptor = accept4(listener, (struct sockaddr *)&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor < 0) return -errno;
    cl_read_address(&address, is_v6, bytes, port);
    return descriptor;
}

static int unix_address(struct sockaddr_un *out, const void *path, size_t length) {
    memset(out, 0, sizeof *out);
    if (length == 0 || length >= sizeof out->sun_path) return -ENAMETOOLONG;
    out->sun_family = AF_UNIX;
    memcpy(out->sun_path, path, length);
    return 0;
}

static int unix_socket(void) { return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }

/* 0 when the path holds a socket that nobody listens on, else the errno that says why it cannot be taken. */
static int judge_path(const char *path, const struct sockaddr_un *address) {
    struct stat facts;
    if (lstat(path, &facts) < 0) return errno;
    if (!S_ISSOCK(facts.st_mode)) return EEXIST;
    int probe = unix_socket();
    if (probe < 0) return errno;
    int code = connect(probe, (const struct sockaddr *)address, sizeof *address) < 0 ? errno : 0;
    close(probe);
    return code == ECONNREFUSED ? 0 : EADDRINUSE;
}

int cl_listen_unix(const char *path, unsigned mode, int backlog, uint64_t identity[2]) {
    struct sockaddr_un address;
    struct stat facts;
    int code = unix_address(&address, path, strlen(path));
    if (code < 0) return code;
    int descriptor = unix_socket();
    if (descriptor < 0) return -errno;
    int result = bind(descriptor, (struct sockaddr *)&address, sizeof address);
    if (result < 0 && errno == EADDRINUSE) {
        code = judge_path(path, &address);
        if (code != 0) {
            close(descriptor);
            return -code;
        }
        result = unlink(path) < 0 ? -1 : bind(descriptor, (struct sockaddr *)&address, sizeof address);
    }
    if (result < 0 || lstat(path, &facts) < 0) {
        code = errno;
        close(descriptor);
        return -code;
    }
    identity[0] = facts.st_dev;
    identity[1] = facts.st_ino;
    /* Nobody can connect before it listens: the mode is in force from the first moment. */
    if (chmod(path, mode) < 0 || listen(descriptor, backlog) < 0) {
        code = errno;
        (void)unlink(path);
        close(descriptor);
        return -code;
    }
    return descriptor;
}

int cl_remove_socket(const char *path, const uint64_t identity[2]) {
    struct stat facts;
    if (lstat(path, &facts) < 0) return -errno;
    if (facts.st_dev != identity[0] || facts.st_ino != identity[1]) return 0;
    CLINUX_RESULT(unlink(path));
}

int cl_connect_unix(const void *path, size_t length) {
    struct sockaddr_un address;
    int code = unix_address(&address, path, length);
    if (code < 0) return code;
    int descriptor = unix_socket();
    if (descriptor < 0) return -errno;
    if (connect(descriptor, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) {
        code = errno;
        close(descriptor);
        return -code;
    }
    return descriptor;
}

int cl_adopt_listener(int descriptor) {
    int value = 0;
    socklen_t length = sizeof value;
    if (getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) < 0) return -errno;
    if (!value) return -EINVAL;
    if (getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &value, &length) < 0) return -errno;
    if (value != SOCK_STREAM) return -EINVAL;
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) < 0) return -errno;
    CLINUX_RESULT(fcntl(descriptor, F_DUPFD_CLOEXEC, 3));
}
void *cl_reserve_pages(size_t bytes) {
    void *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return start == MAP_FAILED ? NULL : start;
}

void cl_drop_pages(void *start, size_t bytes) { (void)madvise(start, bytes, MADV_DONTNEED); }

void cl_release_pages(void *start, size_t bytes) { (void)munmap(start, bytes); }

int cl_usable_cores(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) < 0) return 1;
    return CPU_COUNT(&set);
}

int cl_thread_start(pthread_t *thread, const char *name, void *(*entry)(void *), void *argument) {
    int code = pthread_create(thread, NULL, entry, argument);
    if (code == 0) (void)pthread_setname_np(*thread, name);
    return -code;
}

const char *cl_error_text(int code) { return strerrordesc_np(code); }

static int drop_pages(struct dl_phdr_info *info, size_t size, void *argument) {
    (void)size;
    int64_t *dropped = argument;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || (part->p_flags & PF_W)) continue;
        uintptr_t start = (info->dlpi_addr + part->p_vaddr) & ~(page - 1);
        uintptr_t end = (info->dlpi_addr + part->p_vaddr + part->p_memsz) & ~(page - 1);
        /* Private, never written: dropping them loses nothing. */
        if (end > start && madvise((void *)start, end - start, MADV_DONTNEED) == 0) *dropped += (int64_t)(end - start);
    }
    return 1; /* The first object is the program itself. */
}

int64_t cl_drop_program_pages(void) {
    int64_t dropped = 0;
    dl_iterate_phdr(drop_pages, &dropped);
    return dropped;
}
