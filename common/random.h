#pragma once
/* Counter-based random numbers (Philox 4x32-10, Salmon et al., SC'11): a number is a function of a key and a counter, so it needs no state,
 * no order and no thread. Everything random in training (permutation, dropout, initial values) comes from here.
 *
 *     struct sl_random r = sl_random_make(seed, SL_RANDOM_DROPOUT, step, sample);
 *     float u = sl_random_float(&r, site_index);            // in [0, 1)
 */
#include <stddef.h>
#include <stdint.h>

enum sl_random_domain {
    SL_RANDOM_PERMUTATION = 1,
    SL_RANDOM_DROPOUT,
    SL_RANDOM_INITIAL,
    SL_RANDOM_SAMPLE,
    SL_RANDOM_TEST,
    SL_RANDOM_NETWORK,
    SL_RANDOM_AUDIT,
    SL_RANDOM_CHUNKS
};

/* A stream: 2^64 numbers for each (seed, domain, a, b). Plain data. */
struct sl_random {
    uint32_t key[2];
    uint32_t high[2]; /* upper half of the counter */
};

struct sl_random sl_random_make(uint64_t seed, enum sl_random_domain domain, uint64_t a, uint64_t b);
/* sl_random_u32x4 gives the four words at position index (words 4 * index … 4 * index + 3 of the stream). */
void sl_random_u32x4(const struct sl_random *stream, uint64_t index, uint32_t ret_words[4]);
uint32_t sl_random_u32(const struct sl_random *stream, uint64_t index); /* word `index` of the stream */
/* sl_random_float is uniform in [0, 1) with 24 bits. */
float sl_random_float(const struct sl_random *stream, uint64_t index);
/* sl_random_normal is standard normal (Box-Muller), independent for each index. */
float sl_random_normal(const struct sl_random *stream, uint64_t index);
/* sl_random_below is uniform in [0, bound) without bias worth speaking of (64-bit multiply); bound > 0. */
uint64_t sl_random_below(const struct sl_random *stream, uint64_t index, uint64_t bound);

/* sl_hash64 is XXH3-64 of the bytes: for content, layouts and configs, not against tampering. */
uint64_t sl_hash64(const void *bytes, size_t size, uint64_t seed);
