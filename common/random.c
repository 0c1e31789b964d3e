/* Philox 4x32-10 and what is drawn from it: see random.h. */
#include "common/random.h"

#include <math.h>
#include <xxhash.h>

#define PHILOX_M0 0xD2511F53U
#define PHILOX_M1 0xCD9E8D57U
#define PHILOX_W0 0x9E3779B9U
#define PHILOX_W1 0xBB67AE85U
#define PHILOX_ROUNDS 10

static uint64_t mix64(uint64_t x)
{
    /* SplitMix64's finaliser (Steele et al. 2014): spreads small keys such as steps and sample numbers over all bits */
    x += 0x9E3779B97F4A7C15U;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
    return x ^ (x >> 31);
}

struct sl_random sl_random_make(uint64_t seed, enum sl_random_domain domain, uint64_t a, uint64_t b)
{
    uint64_t key = mix64(mix64(seed) ^ (uint64_t)domain);
    uint64_t high = mix64(mix64(a) + 0x632BE59BD9B4E019U * (b + 1));
    struct sl_random stream = {
            {(uint32_t)key, (uint32_t)(key >> 32)}, {(uint32_t)high, (uint32_t)(high >> 32)}};
    return stream;
}

void sl_random_u32x4(const struct sl_random *stream, uint64_t index, uint32_t ret_words[4])
{
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = stream->high[0], c3 = stream->high[1];
    uint32_t k0 = stream->key[0], k1 = stream->key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * c0, p1 = (uint64_t)PHILOX_M1 * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    ret_words[0] = c0;
    ret_words[1] = c1;
    ret_words[2] = c2;
    ret_words[3] = c3;
}

uint32_t sl_random_u32(const struct sl_random *stream, uint64_t index)
{
    uint32_t words[4];
    sl_random_u32x4(stream, index / 4, words);
    return words[index % 4];
}

float sl_random_float(const struct sl_random *stream, uint64_t index)
{
    return (float)(sl_random_u32(stream, index) >> 8) * 0x1p-24F;
}

float sl_random_normal(const struct sl_random *stream, uint64_t index)
{
    uint32_t words[4];
    sl_random_u32x4(stream, index, words);
    double u = ((double)words[0] + 1.0) * 0x1p-32; /* (0, 1]: the logarithm is finite */
    double v = (double)words[1] * 0x1p-32;
    return (float)(sqrt(-2.0 * log(u)) * cos(2.0 * M_PI * v));
}

uint64_t sl_random_below(const struct sl_random *stream, uint64_t index, uint64_t bound)
{
    uint32_t words[4];
    sl_random_u32x4(stream, index, words);
    uint64_t word = ((uint64_t)words[0] << 32) | words[1];
    return (uint64_t)(((unsigned __int128)word * bound) >> 64);
}

uint64_t sl_hash64(const void *bytes, size_t size, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, size, seed);
}
