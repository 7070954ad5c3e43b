#include "CVector.h"

static uint64_t gathered(cvector_bytes invalid) {
    cvector_pair pair = (cvector_pair)invalid;
    return pair[0] | pair[1];
}

static uint64_t rounds_anywhere(const uint8_t *text, size_t rounds, uint8_t *target) {
    cvector_bytes invalid = {0};
    for (; rounds > 0; rounds -= 1, text += 16, target += 12) cvector_base64url_round(text, target, &invalid);
    return gathered(invalid);
}

#if defined(__x86_64__)
#include <tmmintrin.h>

// With SSSE3, which not every x86-64 has: 46 instructions a round, not 65.
__attribute__((target("ssse3"))) static uint64_t rounds_shuffled(const uint8_t *text, size_t rounds, uint8_t *target) {
    cvector_bytes invalid = {0};
    const __m128i order = _mm_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1);
    for (; rounds > 0; rounds -= 1, text += 16, target += 12) {
        __m128i six = (__m128i)cvector_sixes(text, &invalid);
        // The earlier of two is the higher: times 64 and 1, then times 4,096 and 1.
        __m128i twelve = _mm_maddubs_epi16(six, _mm_set1_epi16(0x0140));
        __m128i whole = _mm_madd_epi16(twelve, _mm_set1_epi32(0x00011000));
        cvector_pair bytes = (cvector_pair)_mm_shuffle_epi8(whole, order);
        uint64_t eight = bytes[0];
        uint32_t four = (uint32_t)bytes[1];
        memcpy(target, &eight, 8);
        memcpy(target + 8, &four, 4);
    }
    return gathered(invalid);
}

uint64_t cvector_base64url_rounds(const uint8_t *text, size_t rounds, uint8_t *target) {
    return __builtin_cpu_supports("ssse3") ? rounds_shuffled(text, rounds, target) : rounds_anywhere(text, rounds, target);
}
#else
uint64_t cvector_base64url_rounds(const uint8_t *text, size_t rounds, uint8_t *target) {
    return rounds_anywhere(text, rounds, target);
}
#endif
