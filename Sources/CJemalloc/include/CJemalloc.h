/* The door to jemalloc: linking it replaces malloc; these read its statistics. */
#ifndef CJEMALLOC_H
#define CJEMALLOC_H

#include <jemalloc/jemalloc.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes allocated in the process and not freed (`stats.allocated`), as of this call. */
static inline uint64_t cjemalloc_allocated(void) {
    uint64_t epoch = 1;
    size_t size = sizeof epoch;
    size_t allocated = 0;
    if (mallctl("epoch", &epoch, &size, &epoch, size) != 0) return 0;
    size = sizeof allocated;
    return mallctl("stats.allocated", &allocated, &size, NULL, 0) == 0 ? (uint64_t)allocated : 0;
}

#endif
