#include "CJemalloc.h"

/* Read by jemalloc before main. Few arenas, since few threads allocate, and what a reload leaves behind goes back to the
 * kernel within seconds: memory is flat over thousands of reloads. */
const char *malloc_conf = "narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0";
