#pragma once
/* The loops over numbers of the server, compiled for several instruction sets and picked once at run time.
 *
 * All of them are element by element, or add in lanes of a fixed count, with IEEE operations alone (no fused
 * multiply-add), so that every set gives the same bits: a test holds each against the reference twins.
 */
#include "common/message.h"

#include <stdbool.h>
#include <stddef.h>

/* What one update needs besides numbers per element. */
struct ps_factors {
    float scale;           /* of gradients: clip / sum of weights */
    float unimodal, fused; /* of the two branches' gradients */
    float beta1, one_minus_beta1;
    float beta2, one_minus_beta2;
    float inverse_bias1;      /* s / (1 - beta1^t) */
    float inverse_sqrt_bias2; /* 1 / sqrt(1 - beta2^t) */
    float eps;
    float momentum; /* SGD */
    float rate;
    float decay; /* 0 where weights do not decay */
    bool bound;  /* what enters v is bounded by the unmodulated gradient from below (optimiser.h) */
};

struct ps_kernels {
    const char *name;
    /* adamw: one step with g = scale * (unimodal u + fused f); into v goes, squared, g or the larger of |g| and scale * |u + f|. u or f
     * may be NULL = zero. What it does to params is added into change, in 16 lanes of floats, element i into lane i % 16: n should be some
     * thousands at most. Shapes: (n,). */
    void (*adamw)(float *restrict params, float *restrict m, float *restrict v, const float *unimodal,
            const float *fused, size_t n, const struct ps_factors *factors, struct sl_block_change *change);
    /* sgd: one step with momentum; decay is added to the gradient, as PyTorch does. g, change: as in adamw. Shapes: (n,). */
    void (*sgd)(float *restrict params, float *restrict m, const float *unimodal, const float *fused,
            size_t n, const struct ps_factors *factors, struct sl_block_change *change);
    /* measure adds into sums. Runs of 256 elements, each with element i in lane i % 16 of floats; then the lanes of a run in order, and the
     * runs, in doubles. A run whose squares leave float's range is done again in doubles, one element after the other. Of each sum of
     * squares at most 1.2e-6 is rounding (of norm2, 18 roundings of 2^-24; a norm has half of that), of dot the same share of the sum of |u f|;
     * what is below 1e-19, squared, may count as nothing. Either of u and f may be NULL = zero. Shapes: (n,). */
    void (*measure)(struct sl_block_sums *sums, const float *unimodal, const float *fused, size_t n);
    /* add_measure does unimodal = from_unimodal + more_unimodal and the same of fused, and measures the results as measure does, all in one
     * pass: a gradient's last addition. from may be NULL = the sum itself, of both or of none; a sum may be NULL = zero, and then so is what
     * would be added. Shapes: (n,). */
    void (*add_measure)(struct sl_block_sums *sums, float *unimodal, const float *from_unimodal,
            const float *more_unimodal, float *fused, const float *from_fused, const float *more_fused,
            size_t n);
};

/* ps_kernels_best gives the widest set that this CPU has. */
const struct ps_kernels *ps_kernels_best(void);
/* ps_kernels_at gives the index-th set that this CPU has, widest first, or NULL after the last: for tests. */
const struct ps_kernels *ps_kernels_at(int index);
/* ps_kernels_reference is the plain twin: one element after the other. */
const struct ps_kernels *ps_kernels_reference(void);
