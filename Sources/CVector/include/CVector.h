// What a register of sixteen bytes does at once, by clang's vectors: SSE2 on x86-64 and SSSE3 where it is, NEON on arm64. No
// library. Swift 6.3 does not specialise the comparisons of its own SIMD16, which take 2 to 20 times as long as a loop over bytes.
#ifndef GATEHOUSE_CVECTOR_H
#define GATEHOUSE_CVECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the first byte of a word is its lowest here"
#endif

typedef uint8_t cvector_bytes __attribute__((vector_size(16)));
typedef uint16_t cvector_halves __attribute__((vector_size(16)));
typedef uint32_t cvector_words __attribute__((vector_size(16)));
typedef uint64_t cvector_pair __attribute__((vector_size(16)));

static inline bool cvector_same(const void *one, const void *other, size_t count) { return memcmp(one, other, count) == 0; }

// Copies `count` bytes to where none of them lies: up to 64, as nearly every piece of a head has, by a few moves and no call. The
// moves overlap, and each byte is read before any is written.
__attribute__((always_inline)) static inline void cvector_copy(void *to, const void *from, size_t count) {
    char *target = (char *)to;
    const char *source = (const char *)from;
    if (count >= 16) {
        if (count > 64) {
            memcpy(to, from, count);
            return;
        }
        cvector_bytes first, last;
        memcpy(&first, source, 16);
        memcpy(&last, source + count - 16, 16);
        if (count > 32) {
            cvector_bytes second, third;
            memcpy(&second, source + 16, 16);
            memcpy(&third, source + count - 32, 16);
            memcpy(target + 16, &second, 16);
            memcpy(target + count - 32, &third, 16);
        }
        memcpy(target, &first, 16);
        memcpy(target + count - 16, &last, 16);
    } else if (count >= 8) {
        uint64_t first, last;
        memcpy(&first, source, 8);
        memcpy(&last, source + count - 8, 8);
        memcpy(target, &first, 8);
        memcpy(target + count - 8, &last, 8);
    } else if (count >= 4) {
        uint32_t first, last;
        memcpy(&first, source, 4);
        memcpy(&last, source + count - 4, 4);
        memcpy(target, &first, 4);
        memcpy(target + count - 4, &last, 4);
    } else if (count > 0) {
        char first = source[0], middle = source[count / 2], last = source[count - 1];
        target[0] = first;
        target[count / 2] = middle;
        target[count - 1] = last;
    }
}

// `delta` where a character is one of the `count` from `low` on, elsewhere zero.
static inline cvector_bytes cvector_delta(cvector_bytes characters, uint8_t low, uint8_t count, uint8_t delta) {
    return (cvector_bytes)(characters - low < count) & delta;
}

// Not zero where a byte is a control byte other than tab.
static inline cvector_bytes cvector_controls(const uint8_t *text) {
    cvector_bytes bytes;
    memcpy(&bytes, text, 16);
    return (cvector_bytes)((bytes < 0x20) & (bytes != 0x09)) | (cvector_bytes)(bytes == 0x7f);
}

// The offset of the first of sixteen that is not zero; 16 when all are. What is not zero is a comparison's: all ones.
static inline size_t cvector_first(cvector_bytes found) {
#if defined(__SSE2__)
    typedef char cvector_signs __attribute__((vector_size(16)));
    return (size_t)__builtin_ctz((unsigned)__builtin_ia32_pmovmskb128((cvector_signs)found) | 0x10000);
#else
    cvector_pair pair = (cvector_pair)found;
    if (pair[0] != 0) return (size_t)__builtin_ctzll(pair[0]) / 8;
    return pair[1] != 0 ? 8 + (size_t)__builtin_ctzll(pair[1]) / 8 : 16;
#endif
}

// The sixteen bytes from `text` on.
static inline cvector_bytes cvector_load(const void *text) {
    cvector_bytes bytes;
    memcpy(&bytes, text, 16);
    return bytes;
}

// Of sixteen bytes the offset of the first that is a control byte other than tab; 16 when none is.
static inline size_t cvector_control_in_16(const void *text) { return cvector_first(cvector_controls((const uint8_t *)text)); }

// All ones where a byte is a letter, a digit or `-`.
static inline cvector_bytes cvector_name(cvector_bytes bytes) {
    // Setting bit 5 makes lower case of upper case, and no letter of anything else.
    return (cvector_bytes)((cvector_bytes)((bytes | 0x20) - 'a') < 26) | (cvector_bytes)((cvector_bytes)(bytes - '0') < 10) |
           (cvector_bytes)(bytes == '-');
}

// Of sixteen bytes the offset of the first that is no letter, no digit and not `-`; 16 when all are.
static inline size_t cvector_not_name_in_16(const void *text) { return cvector_first(~cvector_name(cvector_load(text))); }

// Of sixteen bytes the offset of the first that may not stand in a request target, which is visible ASCII without `#`, or is
// `stop`; 16 when there is none.
static inline size_t cvector_not_target_in_16(const void *text, uint8_t stop) {
    cvector_bytes bytes = cvector_load(text);
    return cvector_first((cvector_bytes)((cvector_bytes)(bytes - 0x21) >= 0x5e) | (cvector_bytes)(bytes == '#') |
                         (cvector_bytes)(bytes == stop));
}

// Of sixteen bytes, which another stands before, the offset of the first at which a path is no longer surely in normal form: what may
// not stand in one, `?`, `%` and `\\`, and `/` or `.` behind a `/`; 16 when there is none.
static inline size_t cvector_not_plain_in_16(const void *text) {
    cvector_bytes bytes = cvector_load(text), before = cvector_load((const char *)text - 1);
    cvector_bytes odd = (cvector_bytes)((cvector_bytes)(bytes - 0x21) >= 0x5e) | (cvector_bytes)(bytes == '#') |
                        (cvector_bytes)(bytes == '?') | (cvector_bytes)(bytes == '%') | (cvector_bytes)(bytes == '\\');
    // `.` and `/` differ in one bit.
    return cvector_first(odd | ((cvector_bytes)(before == '/') & (cvector_bytes)((bytes | 1) == '/')));
}

// Of sixteen bytes the offset of the first that is none of a host name: letters, digits and `-._~`; 16 when all are.
static inline size_t cvector_not_host_in_16(const void *text) {
    cvector_bytes bytes = cvector_load(text);
    return cvector_first(~(cvector_name(bytes) | (cvector_bytes)(bytes == '.') | (cvector_bytes)(bytes == '_') |
                           (cvector_bytes)(bytes == '~')));
}

// The offset of the first control byte other than tab; `count` when there is none.
static inline size_t cvector_first_control(const void *text, size_t count) {
    const uint8_t *from = (const uint8_t *)text;
    size_t offset = 0;
    for (; count - offset >= 32; offset += 32) {
        cvector_bytes first = cvector_controls(from + offset), second = cvector_controls(from + offset + 16);
        cvector_pair either = (cvector_pair)(first | second);
        if ((either[0] | either[1]) == 0) continue;
        size_t place = cvector_first(first);
        return offset + (place < 16 ? place : 16 + cvector_first(second));
    }
    if (count - offset >= 16) {
        size_t place = cvector_first(cvector_controls(from + offset));
        if (place < 16) return offset + place;
        offset += 16;
    }
    for (; offset < count; offset += 1) {
        if ((from[offset] < 0x20 && from[offset] != 0x09) || from[offset] == 0x7f) return offset;
    }
    return count;
}

// The sixteen hexadecimal digits of a number, the highest in the lowest byte of `first`.
typedef struct { uint64_t first, last; } cvector_digits;

static inline cvector_digits cvector_hexadecimal(uint64_t number) {
    cvector_pair pair = {__builtin_bswap64(number), 0};
    cvector_bytes bytes = (cvector_bytes)pair;
    cvector_bytes high = bytes >> 4, low = bytes & 15;
    cvector_bytes nibbles = __builtin_shufflevector(high, low, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    cvector_pair digits = (cvector_pair)(nibbles + '0' + ((cvector_bytes)(nibbles > 9) & ('a' - '0' - 10)));
    return (cvector_digits){digits[0], digits[1]};
}

// The six bits each of sixteen characters of base64url (RFC 4648 section 5); what is outside the alphabet sets bits of `invalid`.
static inline cvector_bytes cvector_sixes(const uint8_t *text, cvector_bytes *invalid) {
    cvector_bytes characters;
    memcpy(&characters, text, 16);
    // What makes the six bits of a character of it, modulo 256. It is zero for those outside the alphabet alone.
    cvector_bytes delta = cvector_delta(characters, 'A', 26, 256 - 'A') |
                          cvector_delta(characters, 'a', 26, 256 - 'a' + 26) |
                          cvector_delta(characters, '0', 10, 52 - '0') | cvector_delta(characters, '-', 1, 62 - '-') |
                          cvector_delta(characters, '_', 1, 256 - '_' + 63);
    *invalid |= (cvector_bytes)(delta == 0);
    return characters + delta;
}

// Sixteen characters to twelve bytes.
static inline void cvector_base64url_round(const uint8_t *text, uint8_t *target, cvector_bytes *invalid) {
    // The earlier of two is the lower half, and is to be the higher: six bits beside six, then twelve beside twelve, then
    // 24 beside 24, at the upper end of a word.
    cvector_halves six = (cvector_halves)cvector_sixes(text, invalid);
    cvector_words twelve = (cvector_words)((six & 0xff) << 6 | six >> 8);
    cvector_pair half = (cvector_pair)((twelve & 0xffff) << 12 | twelve >> 16);
    cvector_pair bits = half << 40 | half >> 32 << 16;
    uint64_t eight = __builtin_bswap64(bits[0] | bits[1] >> 48);
    uint32_t four = __builtin_bswap32((uint32_t)(bits[1] >> 16));
    memcpy(target, &eight, 8);
    memcpy(target + 8, &four, 4);
}

// So many rounds; not zero when a character is outside the alphabet.
uint64_t cvector_base64url_rounds(const uint8_t *text, size_t rounds, uint8_t *target);

// Decodes `count` characters, of which one more than a multiple of four is nothing, to the three quarters of them in bytes.
// Not zero when a character is outside the alphabet, or when bits that stand for no byte are not zero; then the bytes mean
// nothing.
static inline uint64_t cvector_base64url(const void *text, size_t count, void *target) {
    const uint8_t *from = (const uint8_t *)text;
    uint8_t *to = (uint8_t *)target;
    size_t rounds = count / 16;
    uint64_t outside = rounds > 0 ? cvector_base64url_rounds(from, rounds, to) : 0;
    from += rounds * 16;
    to += rounds * 12;
    count -= rounds * 16;
    cvector_bytes invalid = {0};
    uint64_t surplus = 0;
    if (count > 0) {
        uint8_t characters[16], bytes[12];
        // 'A' stands for zeros, so that the byte behind the last has no bits but those that were left over.
        memset(characters, 'A', sizeof characters);
        memcpy(characters, from, count);
        cvector_base64url_round(characters, bytes, &invalid);
        memcpy(to, bytes, count * 3 / 4);
        surplus = bytes[count * 3 / 4];
    }
    cvector_pair gathered = (cvector_pair)invalid;
    return outside | gathered[0] | gathered[1] | surplus;
}

#endif
