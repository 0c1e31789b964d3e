/* bfloat16: see bf16.h. Rounding is written once and compiled for each instruction set, as the loops of ps/kernels.c are: AVX-512 rounds more than twice as fast as what every
 * x86-64 CPU has. Widening waits for memory whatever it is compiled for. */
#include "common/bf16.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#define EXPONENT 0x7f800000U /* all ones: not finite */

INLINE uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

INLINE float widened(sl_bf16 rounded)
{
    uint32_t bits = (uint32_t)rounded << 16;
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* Half a unit of the last place that stays is added, less the least bit where that place is even; a carry into the exponent is right. Comparisons are signed: vectors of old CPUs have no others. */
INLINE sl_bf16 round_one(float x)
{
    uint32_t bits = bits_of(x), nearest = bits + 0x7fff + (bits >> 16 & 1), quiet = bits | 0x400000;
    int32_t nan = -((int32_t)(bits & 0x7fffffff) > (int32_t)EXPONENT);
    return (sl_bf16)(((nearest & ~(uint32_t)nan) | (quiet & (uint32_t)nan)) >> 16);
}

/* x - rounded is exact: both have the same sign, and it is what the lower bits say. */
INLINE void round_kept_body(
        sl_bf16 *restrict rounded, sl_bf16 *restrict kept, const float *restrict values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float x = values[i] + widened(kept[i]);
        sl_bf16 r = round_one(x);
        uint32_t finite = (uint32_t) - ((int32_t)((uint32_t)r << 16 & EXPONENT) < (int32_t)EXPONENT);
        rounded[i] = r;
        kept[i] = (sl_bf16)(round_one(x - widened(r)) & finite);
    }
}

void sl_bf16_widen(float *restrict values, const sl_bf16 *rounded, size_t n)
{
    for (size_t i = 0; i < n; i++)
        values[i] = widened(rounded[i]);
}

#define KERNEL(suffix, attribute)                                                                            \
    attribute static void round_kept_##suffix(                                                               \
            sl_bf16 *restrict rounded, sl_bf16 *restrict kept, const float *values, size_t n)                \
    {                                                                                                        \
        round_kept_body(rounded, kept, values, n);                                                           \
    }                                                                                                        \
    static const struct sl_bf16_kernel kernel_##suffix = {#suffix, round_kept_##suffix};

KERNEL(plain, )
#if defined(__x86_64__)
KERNEL(avx2, __attribute__((target("avx2"))))
KERNEL(avx512, __attribute__((target("avx512f,avx512bw"))))
#endif

const struct sl_bf16_kernel *sl_bf16_kernel_at(int index)
{
    const struct sl_bf16_kernel *found[3];
    int count = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"))
        found[count++] = &kernel_avx512;
    if (__builtin_cpu_supports("avx2"))
        found[count++] = &kernel_avx2;
#endif
    found[count++] = &kernel_plain;
    return index >= 0 && index < count ? found[index] : NULL;
}

void sl_bf16_round_kept(sl_bf16 *restrict rounded, sl_bf16 *restrict kept, const float *values, size_t n)
{
    sl_bf16_kernel_at(0)->round_kept(rounded, kept, values, n);
}
