#include "CNghttp2.h"

#include <string.h>

// A function of nghttp2's own once more, under its name. nghttp2 calls its public functions by their names, and a name is that of
// the first who has it: the program comes before its libraries. Where a library is bound to itself, its own is called, and
// nothing but the time changes.
//
// The one of nghttp2 1.52 takes seven instructions a byte: of a token of 785 bytes 5,500, where this takes 300.

typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint64_t pair16 __attribute__((vector_size(16)));

static inline bytes16 loaded(const uint8_t *at) {
    bytes16 bytes;
    memcpy(&bytes, at, sizeof bytes);
    return bytes;
}

static inline int is_zero(bytes16 bytes) {
    pair16 pair = (pair16)bytes;
    return (pair[0] | pair[1]) == 0;
}

// Bits where a byte may not be in the value of a field: a control character other than a tab (RFC 9110 section 5.5).
static inline bytes16 forbidden(bytes16 bytes) {
    return ((bytes16)(bytes < 0x20) & (bytes16)(bytes != '\t')) | (bytes16)(bytes == 0x7f);
}

// Of at least sixteen bytes. Some of the last sixteen are looked at twice, which does no harm.
static int is_long_value(const uint8_t *value, size_t len) {
    bytes16 found = forbidden(loaded(value + len - 16));
    for (size_t at = 0; at + 16 < len; at += 16) found |= forbidden(loaded(value + at));
    return is_zero(found);
}

int nghttp2_check_header_value(const uint8_t *value, size_t len) {
    if (len >= 16) {
        // Tabs are rare: without one, the least byte says as much as all of them.
        bytes16 last = loaded(value + len - 16), least = last, deletes = (bytes16)(last == 0x7f);
        size_t at = 0;
        for (; at + 32 < len; at += 32) {
            bytes16 first = loaded(value + at), second = loaded(value + at + 16);
            least = __builtin_elementwise_min(least, __builtin_elementwise_min(first, second));
            deletes |= (bytes16)(first == 0x7f) | (bytes16)(second == 0x7f);
        }
        if (at + 16 < len) {
            bytes16 bytes = loaded(value + at);
            least = __builtin_elementwise_min(least, bytes);
            deletes |= (bytes16)(bytes == 0x7f);
        }
        return is_zero((bytes16)(least < 0x20) | deletes) || is_long_value(value, len);
    }
    bytes16 bytes = {'0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0'};
    if (len >= 8) {
        memcpy(&bytes, value, 8);
        memcpy((char *)&bytes + 8, value + len - 8, 8);
    } else {
        memcpy(&bytes, value, len);
    }
    return is_zero(forbidden(bytes));
}
