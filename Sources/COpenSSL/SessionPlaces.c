#include "COpenSSL.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// Places of one size in one reserved region. A group is 64 places, one word of bits and a whole number of pages (119), so
// that a group that nobody uses goes back to the kernel. Any thread may take and give back a place.
enum { PLACE = COPENSSL_PLACE_BYTES, SMALLEST = 7168, GROUP_PLACES = 64, GROUP = PLACE * GROUP_PLACES, GROUPS = 1024 };
_Static_assert(GROUP % 4096 == 0, "a group is whole pages");
_Static_assert(COPENSSL_PLACES == GROUP_PLACES * GROUPS, "the number of places is told right");

static char *region;
static _Atomic(uint64_t) taken[GROUPS];
// No group below it has room, but for what was given back in the same moment; that is found when more is given back.
static atomic_uint lowest;

static void *take_place(void) {
    unsigned start = atomic_load_explicit(&lowest, memory_order_relaxed);
    for (unsigned group = start; group < GROUPS; group++) {
        uint64_t word = atomic_load_explicit(&taken[group], memory_order_relaxed);
        while (word != UINT64_MAX) {
            const int bit = __builtin_ctzll(~word);
            if (!atomic_compare_exchange_weak_explicit(&taken[group], &word, word | UINT64_C(1) << bit, memory_order_acquire,
                                                       memory_order_relaxed))
                continue;
            if (group != start)
                (void)atomic_compare_exchange_strong_explicit(&lowest, &start, group, memory_order_relaxed,
                                                              memory_order_relaxed);
            return region + (size_t)group * GROUP + (size_t)bit * PLACE;
        }
    }
    return NULL;
}

static int is_place(const void *address) {
    return region != NULL && (uintptr_t)address - (uintptr_t)region < (uintptr_t)GROUPS * GROUP;
}

static void give_back(void *address) {
    const size_t place = (size_t)((char *)address - region) / PLACE;
    const unsigned group = (unsigned)(place / GROUP_PLACES);
    const uint64_t bit = UINT64_C(1) << (place % GROUP_PLACES);
    const uint64_t rest = atomic_fetch_and_explicit(&taken[group], ~bit, memory_order_release) & ~bit;
    uint64_t empty = 0;
    // All places are taken while the pages go, so that nobody writes to what is about to vanish. The first group stays.
    if (rest == 0 && group > 0
        && atomic_compare_exchange_strong_explicit(&taken[group], &empty, UINT64_MAX, memory_order_acquire,
                                                   memory_order_relaxed)) {
        (void)madvise(region + (size_t)group * GROUP, GROUP, MADV_DONTNEED);
        atomic_store_explicit(&taken[group], 0, memory_order_release);
    }
    if (group < atomic_load_explicit(&lowest, memory_order_relaxed))
        atomic_store_explicit(&lowest, group, memory_order_relaxed);
}

void *copenssl_place_malloc(size_t bytes, const char *file, int line) {
    (void)file, (void)line;
    if (bytes > SMALLEST && bytes <= PLACE && region != NULL) {
        void *place = take_place();
        if (place != NULL) return place;
    }
    return malloc(bytes);
}

void copenssl_place_free(void *address, const char *file, int line) {
    (void)file, (void)line;
    if (is_place(address)) give_back(address);
    else free(address);
}

// As CRYPTO_realloc(3) calls it: `address` is not NULL and `bytes` not 0.
void *copenssl_place_realloc(void *address, size_t bytes, const char *file, int line) {
    if (!is_place(address)) return realloc(address, bytes);
    if (bytes <= PLACE) return address;
    void *larger = malloc(bytes);
    if (larger == NULL) return NULL;
    memcpy(larger, address, PLACE);
    copenssl_place_free(address, file, line);
    return larger;
}

int copenssl_places_begin(void) {
    if (region != NULL) return 1;
    void *start = mmap(NULL, (size_t)GROUPS * GROUP, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                       -1, 0);
    if (start == MAP_FAILED) return 0;
    // One session would otherwise cost a huge page.
    (void)madvise(start, (size_t)GROUPS * GROUP, MADV_NOHUGEPAGE);
    region = start;
    return 1;
}

size_t copenssl_places_taken(void) {
    size_t count = 0;
    for (unsigned group = 0; group < GROUPS; group++)
        count += (size_t)__builtin_popcountll(atomic_load_explicit(&taken[group], memory_order_relaxed));
    return count;
}

int copenssl_use_places(void) {
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    // What the sanitizers watch is malloc.
    return 0;
#endif
#endif
    if (!copenssl_places_begin()) return 0;
    return CRYPTO_set_mem_functions(copenssl_place_malloc, copenssl_place_realloc, copenssl_place_free);
}
