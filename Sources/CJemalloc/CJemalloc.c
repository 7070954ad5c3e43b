#include "CJemalloc.h"

/* Read by jemalloc before main. Few arenas, since few threads allocate, and what a reload leaves behind goes back to the
 * kernel within seconds: memory is flat over thousands of reloads. The size that each TLS connection has three times, 1 KiB,
 * comes thirty-two a piece, or the allocator's own account of them costs 0.2 KiB a connection. */
const char *malloc_conf = "narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0,slab_sizes:1024-1024:8";
