#pragma once
/* bfloat16: the upper 16 bits of a float32, with its range and eight bits of precision. Rounding is to the nearest, ties to even, in integers: what the CPU's own instruction does to
 * subnormal numbers, which it makes zero, cannot happen here. NaN stays NaN (a quiet one), what is too large becomes infinite.
 *
 * What rounding takes away can be kept and given to the next number that travels the same way (error feedback), so that sums over many rounds lose nothing:
 *
 *     sl_bf16_round_kept(rounded, kept, gradient, n);     rounded = bf16(gradient + kept), kept = bf16(gradient + kept - rounded)
 *
 * Thread: any. Source of the method: Seide et al. 2014, 1-bit stochastic gradient descent; Karimireddy et al. 2019. */
#include <stddef.h>
#include <stdint.h>

typedef uint16_t sl_bf16; /* its bits */

/* sl_bf16_widen is exact. Shapes: (n,). */
void sl_bf16_widen(float *restrict values, const sl_bf16 *rounded, size_t n);

/* sl_bf16_round_kept: see above. Where the rounded number is not finite nothing is kept. Shapes: rounded, kept, values (n,). */
void sl_bf16_round_kept(sl_bf16 *restrict rounded, sl_bf16 *restrict kept, const float *values, size_t n);

/* The same compiled for one instruction set, all to the same bits. */
struct sl_bf16_kernel {
    const char *name;
    void (*round_kept)(sl_bf16 *restrict rounded, sl_bf16 *restrict kept, const float *values, size_t n);
};

/* sl_bf16_kernel_at gives the index-th set that this CPU has, widest first, or NULL after the last: for tests. */
const struct sl_bf16_kernel *sl_bf16_kernel_at(int index);
