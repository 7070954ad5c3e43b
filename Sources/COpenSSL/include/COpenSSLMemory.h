// Memory for OpenSSL's SSL objects and the largest of their parts, a place of the right size each. jemalloc's next class up is
// 8,192 bytes for the 7,608 of an SSL of OpenSSL 3.0, half a KiB of an idle connection, and 1,024 for the 928 of its SSL_SESSION and
// for the 960 of each of its two cipher states. Everything else that OpenSSL allocates goes to malloc.
#ifndef GATEHOUSE_COPENSSL_MEMORY_H
#define GATEHOUSE_COPENSSL_MEMORY_H

#include <stddef.h>

#define COPENSSL_PLACE_BYTES 7616
// At most so many at a time: 476 MiB of addresses, of which what is used takes memory. What comes on top goes to malloc.
#define COPENSSL_PLACES 65536
// Three for each of those: 180 MiB of addresses.
#define COPENSSL_PART_PLACE_BYTES 960
#define COPENSSL_PART_PLACES (3 * COPENSSL_PLACES)

// Has OpenSSL allocate in this way (CRYPTO_set_mem_functions(3)). Called once, before anything of OpenSSL; 0 if that was too
// late, if there are no addresses, or under a sanitizer: then everything goes to malloc, which costs memory and nothing else.
int copenssl_use_places(void);

// How many places of that size are taken just now.
size_t copenssl_places_taken(size_t bytes);

// The parts, for tests.
int copenssl_places_begin(void);
void *copenssl_place_malloc(size_t bytes, const char *file, int line);
void copenssl_place_free(void *address, const char *file, int line);
void *copenssl_place_realloc(void *address, size_t bytes, const char *file, int line);

#endif
