#include "COpenSSL.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// Places of one size in one reserved region. A group is 64 places, one word of bits and a whole number of pages, so that a group
// that nobody uses goes back to the kernel. Any thread may take and give back a place.
enum { GROUP_PLACES = 64, GROUPS_OF_SESSIONS = COPENSSL_PLACES / GROUP_PLACES, GROUPS_OF_PARTS = COPENSSL_PART_PLACES / GROUP_PLACES };
_Static_assert(COPENSSL_PLACE_BYTES * GROUP_PLACES % 4096 == 0, "a group is whole pages");
_Static_assert(COPENSSL_PART_PLACE_BYTES * GROUP_PLACES % 4096 == 0, "a group is whole pages");

static _Atomic(uint64_t) taken_by_sessions[GROUPS_OF_SESSIONS], taken_by_parts[GROUPS_OF_PARTS];

typedef struct {
    // What has more bytes than `smallest` and at most `place` comes here.
    const size_t smallest, place;
    const unsigned groups;
    _Atomic(uint64_t) *const taken;
    char *region;
    // No group below it has room, but for what was given back in the same moment; that is found when more is given back.
    atomic_uint lowest;
} Places;

// Pieces up to this are the allocator's.
enum { SMALLEST = 896 };

static Places places[] = {
    {7168, COPENSSL_PLACE_BYTES, GROUPS_OF_SESSIONS, taken_by_sessions, NULL, 0},
    {SMALLEST, COPENSSL_PART_PLACE_BYTES, GROUPS_OF_PARTS, taken_by_parts, NULL, 0},
};
enum { KINDS = sizeof places / sizeof places[0] };

// The regions of all kinds, one behind the other: of the thousand pieces that a handshake takes and gives back few are of them,
// and one comparison tells.
static char *reserved;
static size_t reserved_bytes;

static inline int is_place(const void *address) { return (uintptr_t)address - (uintptr_t)reserved < reserved_bytes; }

static inline size_t region_bytes(const Places *of) { return (size_t)of->groups * GROUP_PLACES * of->place; }

static void *take_place(Places *of) {
    unsigned start = atomic_load_explicit(&of->lowest, memory_order_relaxed);
    for (unsigned group = start; group < of->groups; group++) {
        uint64_t word = atomic_load_explicit(&of->taken[group], memory_order_relaxed);
        while (word != UINT64_MAX) {
            const int bit = __builtin_ctzll(~word);
            if (!atomic_compare_exchange_weak_explicit(&of->taken[group], &word, word | UINT64_C(1) << bit,
                                                       memory_order_acquire, memory_order_relaxed))
                continue;
            if (group != start)
                (void)atomic_compare_exchange_strong_explicit(&of->lowest, &start, group, memory_order_relaxed,
                                                              memory_order_relaxed);
            return of->region + ((size_t)group * GROUP_PLACES + (size_t)bit) * of->place;
        }
    }
    return NULL;
}

// The places that it, which is one, lies in.
static Places *places_of(const void *place) {
    Places *some = places;
    while ((uintptr_t)place - (uintptr_t)some->region >= region_bytes(some)) some++;
    return some;
}

static void give_back(Places *of, void *address) {
    const size_t place = (size_t)((char *)address - of->region) / of->place;
    const unsigned group = (unsigned)(place / GROUP_PLACES);
    const uint64_t bit = UINT64_C(1) << (place % GROUP_PLACES);
    const uint64_t rest = atomic_fetch_and_explicit(&of->taken[group], ~bit, memory_order_release) & ~bit;
    uint64_t empty = 0;
    // All places are taken while the pages go, so that nobody writes to what is about to vanish. The first group stays.
    if (rest == 0 && group > 0
        && atomic_compare_exchange_strong_explicit(&of->taken[group], &empty, UINT64_MAX, memory_order_acquire,
                                                   memory_order_relaxed)) {
        (void)madvise(of->region + (size_t)group * GROUP_PLACES * of->place, GROUP_PLACES * of->place, MADV_DONTNEED);
        atomic_store_explicit(&of->taken[group], 0, memory_order_release);
    }
    if (group < atomic_load_explicit(&of->lowest, memory_order_relaxed))
        atomic_store_explicit(&of->lowest, group, memory_order_relaxed);
}

void *copenssl_place_malloc(size_t bytes, const char *file, int line) {
    (void)file, (void)line;
    if (bytes <= SMALLEST || reserved == NULL) return malloc(bytes);
    for (Places *some = places; some < places + KINDS; some++)
        if (bytes > some->smallest && bytes <= some->place) {
            void *place = take_place(some);
            if (place != NULL) return place;
        }
    return malloc(bytes);
}

void copenssl_place_free(void *address, const char *file, int line) {
    (void)file, (void)line;
    if (is_place(address)) give_back(places_of(address), address);
    else free(address);
}

// As CRYPTO_realloc(3) calls it: `address` is not NULL and `bytes` not 0.
void *copenssl_place_realloc(void *address, size_t bytes, const char *file, int line) {
    if (!is_place(address)) return realloc(address, bytes);
    Places *of = places_of(address);
    if (bytes <= of->place) return address;
    void *larger = malloc(bytes);
    if (larger == NULL) return NULL;
    memcpy(larger, address, of->place);
    copenssl_place_free(address, file, line);
    return larger;
}

static char *reserve(size_t bytes) {
    void *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) return NULL;
    // One session would otherwise cost a huge page.
    (void)madvise(start, bytes, MADV_NOHUGEPAGE);
    return start;
}

int copenssl_places_begin(void) {
    if (reserved != NULL) return 1;
    size_t bytes = 0;
    for (Places *some = places; some < places + KINDS; some++) bytes += region_bytes(some);
    char *start = reserve(bytes);
    if (start == NULL) return 0;
    for (Places *some = places; some < places + KINDS; some++) {
        some->region = start + reserved_bytes;
        reserved_bytes += region_bytes(some);
    }
    reserved = start;
    return 1;
}

size_t copenssl_places_taken(size_t bytes) {
    size_t count = 0;
    for (const Places *some = places; some < places + KINDS; some++)
        if (some->place == bytes)
            for (unsigned group = 0; group < some->groups; group++)
                count += (size_t)__builtin_popcountll(atomic_load_explicit(&some->taken[group], memory_order_relaxed));
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
