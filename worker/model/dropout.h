#pragma once
/* Inverted dropout (Srivastava et al. 2014): an element is kept with probability 1 − p and then divided by
 * it.
 *
 * A mask is a function of (seed, step, sample, site, place in the sample) alone, so it does not depend on
 * what else is in the batch, and a slot that is computed twice drops the same elements. It is drawn in
 * forward and kept as bits for backward. p is rounded to a multiple of 2^-16.
 */
#include "worker/model/run.h"

#include <stdint.h>

/* Where in the model a mask belongs: part is a modality, or SL_MODALITIES_MAX + modality for its stream in
 * the fusion. */
enum wk_site { WK_SITE_EMBEDDING, WK_SITE_ATTENTION, WK_SITE_FFN, WK_SITES };

struct wk_dropout {
    float p; /* 0 = off */
    int part;
};

/* wk_dropout_on says whether masks are drawn at all. */
static inline bool wk_dropout_on(const struct wk_run *run, const struct wk_dropout *dropout)
{
    return run->training && dropout->p > 0.0F;
}

/* wk_dropout_scale is what kept elements are multiplied with. */
float wk_dropout_scale(float p);

/* wk_dropout_plan takes the bits of a mask of (rows, n), or nothing where p is 0. */
uint8_t *wk_dropout_plan(struct wk_arena *arena, const struct wk_dropout *dropout, size_t rows, size_t n);

/* wk_dropout_draw fills the mask for the rows of all samples and returns it, or returns NULL where dropout is
 * off. Sample b has rows [offset[b] * every, offset[b + 1] * every). Shapes: offset (B + 1,), mask (offset[B]
 * * every rows of (n + 7) / 8 bytes). */
const uint8_t *wk_dropout_draw(const struct wk_run *run, const struct wk_dropout *dropout, uint8_t *mask,
        int layer, enum wk_site site, const int *offset, size_t every, size_t n);
