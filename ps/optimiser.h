#pragma once
/* One update of a run of parameters from its two tag gradients: AdamW or SGD with momentum.
 *
 * With u the unimodal and f the fused sum of gradients over the global batch, W the sum of weights, k_u, k_f and s the factors of the
 * modality (balance.h: for the method k_u is the coefficient, k_f and s are 1):
 *
 *     r = (u + f) / W            the unmodulated gradient
 *     g = (k_u u + k_f f) / W    the modulated one
 *     c = min(1, clip_norm / (norm of r over all parameters + 1e-6))      clip_by modulated: of g
 *
 *     adamw:  m <- beta1 m + (1 - beta1) c g
 *             v <- beta2 v + (1 - beta2) (c max(|g|, |r|))^2    second_moment bound, the default
 *             v <- beta2 v + (1 - beta2) (c g)^2                second_moment modulated
 *             w <- w - rate (s m^ / (sqrt(v^) + eps) + decay w)   m^, v^ with bias correction
 *     sgd:    m <- momentum m + c g + decay w
 *             w <- w - s rate m
 *
 * AdamW divides a constant factor of its gradient away, so a coefficient would hardly slow the modality that
 * is ahead; v bounded by the unmodulated gradient keeps it, and no step outgrows plain AdamW's.
 *
 * Every element is computed alone, with the same operations on every instruction set: the bits do not depend
 * on how parameters are cut into blocks or on the CPU.
 */
#include "common/config.h"
#include "common/error.h"
#include "ps/kernels.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Floats after which what an update did to parameters is taken up: runs that are cut at multiples of it add the same bits to a change. */
#define PS_OPTIMISER_CHUNK 2048

struct ps_optimiser {
    enum sl_optimiser_kind kind;
    enum sl_second_moment second_moment;
    double beta1, beta2, eps, momentum, weight_decay;
    double clip_norm;                 /* 0 = no clipping */
    enum sl_clip_by clip_by;          /* whose norm that is */
    const struct ps_kernels *kernels; /* the loops in use */
};

/* The numbers of one step that all parameters share, but for the factors. */
struct ps_optimiser_step {
    int64_t count;         /* updates with this one: >= 1, for bias correction */
    double inverse_weight; /* 1 / sum of weights */
    double clip;           /* c */
    double rate;
};

/* Of the modality that the parameters belong to. */
struct ps_optimiser_factors {
    double unimodal, fused; /* k_u, k_f */
    double update;          /* s */
};
#define PS_OPTIMISER_PLAIN ((struct ps_optimiser_factors){1.0, 1.0, 1.0})

/* What is updated. Shapes: (n,) each; v is unused by SGD. */
struct ps_optimiser_state {
    float *params, *m, *v;
};

/* ps_optimiser_from_config takes the optimiser part of a checked config (eps > 0 for adamw, betas in [0, 1)).
 */
struct ps_optimiser ps_optimiser_from_config(const struct sl_config *config);

/* ps_optimiser_clip is c for a global norm. NaN-safe: a norm that is not finite gives 0. */
double ps_optimiser_clip(const struct ps_optimiser *optimiser, double norm);

/* ps_optimiser_update does one update. Shapes: unimodal, fused (n,); either may be NULL = zero. decay: whether weight decay applies. change: what it did to the parameters is
 * added here. Source: Loshchilov & Hutter 2019, alg. 2; torch.optim.SGD. */
void ps_optimiser_update(const struct ps_optimiser *optimiser, const struct ps_optimiser_step *step,
        const struct ps_optimiser_state *state, const float *unimodal, const float *fused, size_t n,
        const struct ps_optimiser_factors *factors, bool decay, struct sl_block_change *change);
