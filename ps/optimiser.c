/* AdamW and SGD over a run of parameters: see optimiser.h. */
#include "ps/optimiser.h"

#include <assert.h>
#include <math.h>

struct ps_optimiser ps_optimiser_from_config(const struct sl_config *config)
{
    struct ps_optimiser optimiser = {
            .kind = config->optimiser.kind,
            .second_moment = config->optimiser.second_moment,
            .beta1 = (double)config->optimiser.beta1,
            .beta2 = (double)config->optimiser.beta2,
            .eps = (double)config->optimiser.eps,
            .momentum = (double)config->optimiser.momentum,
            .weight_decay = (double)config->optimiser.weight_decay,
            .clip_norm = (double)config->optimiser.clip_norm,
            .clip_by = config->optimiser.clip_by,
            .kernels = ps_kernels_best(),
    };
    return optimiser;
}

double ps_optimiser_clip(const struct ps_optimiser *optimiser, double norm)
{
    if (!isfinite(norm))
        return 0.0;
    if (!(optimiser->clip_norm > 0.0))
        return 1.0;
    double clip = optimiser->clip_norm / (norm + 1e-6);
    return clip < 1.0 ? clip : 1.0;
}

/* make_factors rounds to float once, here, after powers and roots were taken in double. */
static struct ps_factors make_factors(const struct ps_optimiser *optimiser,
        const struct ps_optimiser_step *step, const struct ps_optimiser_factors *of, bool decay)
{
    double t = (double)step->count;
    bool adamw = optimiser->kind == SL_OPTIMISER_ADAMW; /* its decay is not part of what s scales */
    struct ps_factors factors = {
            .scale = (float)(step->clip * step->inverse_weight),
            .unimodal = (float)of->unimodal,
            .fused = (float)of->fused,
            .beta1 = (float)optimiser->beta1,
            .one_minus_beta1 = (float)(1.0 - optimiser->beta1),
            .beta2 = (float)optimiser->beta2,
            .one_minus_beta2 = (float)(1.0 - optimiser->beta2),
            .inverse_bias1 = (float)((adamw ? of->update : 1.0) / (1.0 - pow(optimiser->beta1, t))),
            .inverse_sqrt_bias2 = (float)(1.0 / sqrt(1.0 - pow(optimiser->beta2, t))),
            .eps = (float)optimiser->eps,
            .momentum = (float)optimiser->momentum,
            .rate = (float)(adamw ? step->rate : step->rate * of->update),
            .decay = decay ? (float)optimiser->weight_decay : 0.0F,
            .bound = optimiser->second_moment == SL_SECOND_BOUND,
    };
    return factors;
}

void ps_optimiser_update(const struct ps_optimiser *optimiser, const struct ps_optimiser_step *step,
        const struct ps_optimiser_state *state, const float *unimodal, const float *fused, size_t n,
        const struct ps_optimiser_factors *of, bool decay, struct sl_block_change *change)
{
    assert(step->count >= 1);
    const struct ps_kernels *kernels = optimiser->kernels;
    struct ps_factors factors = make_factors(optimiser, step, of, decay);
    for (size_t done = 0; done < n; done += PS_OPTIMISER_CHUNK) {
        size_t now = n - done < PS_OPTIMISER_CHUNK ? n - done : PS_OPTIMISER_CHUNK;
        const float *u = unimodal == NULL ? NULL : unimodal + done, *f = fused == NULL ? NULL : fused + done;
        if (optimiser->kind == SL_OPTIMISER_ADAMW)
            kernels->adamw(
                    state->params + done, state->m + done, state->v + done, u, f, now, &factors, change);
        else
            kernels->sgd(state->params + done, state->m + done, u, f, now, &factors, change);
    }
}
