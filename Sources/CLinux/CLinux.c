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
