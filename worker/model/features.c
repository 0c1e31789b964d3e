/* Stored rows to features: see features.h. */
#include "worker/model/features.h"

#include <stdio.h>
#include <string.h>

void wk_features_init(struct wk_features *features, const struct sl_config *config, int modality,
        const struct sl_layout *layout)
{
    const struct sl_modality_config *m = &config->modalities[modality];
    char prefix[SL_PARAM_NAME_MAX];
    (void)snprintf(prefix, sizeof(prefix), "extractor.%s.", m->name);
    features->modality = modality;
    features->dropout = (struct wk_dropout){.p = m->dropout, .part = modality};
    features->ffn = (struct wk_ffn){.in = (size_t)m->input,
            .mid = (size_t)m->hidden,
            .out = (size_t)m->hidden,
            .first = wk_place_linear(layout, prefix, "fc1", 1),
            .second = wk_place_linear(layout, prefix, "fc2", 1)};
    features->norm = wk_place_norm(layout, prefix, "layernorm");
}

void wk_features_plan(struct wk_features_state *state, const struct wk_features *features, size_t rows,
        int tags, struct wk_arena *kept, struct wk_arena *scratch)
{
    size_t d = features->ffn.out;
    state->u = wk_arena_floats(kept, wk_ffn_kept(&features->ffn, rows, tags > 0), features->ffn.mid);
    state->sum = wk_arena_floats(kept, rows, d);
    state->output = wk_arena_floats(kept, rows, d);
    state->mean = wk_arena_floats(kept, rows, 1);
    state->rstd = wk_arena_floats(kept, rows, 1);
    state->mask = tags > 0 ? wk_dropout_plan(kept, &features->dropout, rows, d) : NULL;
    state->scratch = wk_arena_floats(scratch, wk_ffn_scratch(&features->ffn, tags), 1);
    state->g = wk_arena_floats(scratch, (size_t)tags * rows, d);
}

const float *wk_features_forward(
        const struct wk_run *run, const struct wk_features *features, struct wk_features_state *state)
{
    const struct wk_batch_input *input = &run->batch->inputs[features->modality];
    size_t d = features->ffn.out, rows = (size_t)input->rows;
    const float *p = run->params;
    wk_run_need(run, features->ffn.first.weight, features->norm.beta + d);
    wk_ffn_forward(run, &features->ffn, state->sum, state->u, input->values, rows, state->scratch);
    run->v->bias(state->sum, d, p + features->ffn.second.bias, rows, d);
    const uint8_t *mask =
            wk_dropout_draw(run, &features->dropout, state->mask, 0, WK_SITE_FFN, input->offset, 1, d);
    if (mask != NULL)
        run->v->drop(state->sum, state->sum, mask, wk_dropout_scale(features->dropout.p), rows, d);
    run->v->norm(state->output, state->mean, state->rstd, state->sum, p + features->norm.gamma,
            p + features->norm.beta, rows, d);
    return state->output;
}

void wk_features_backward(const struct wk_run *run, const struct wk_tags *tags,
        const struct wk_features *features, struct wk_features_state *state, const float *dx)
{
    const struct wk_batch_input *input = &run->batch->inputs[features->modality];
    size_t d = features->ffn.out, rows = (size_t)input->rows;
    struct wk_targets gamma = wk_targets(tags, features->norm.gamma, features->norm.frozen),
                      beta = wk_targets(tags, features->norm.beta, features->norm.frozen);
    if (wk_features_frozen(features))
        return;
    run->v->norm_backward(state->g, dx, gamma.at, beta.at, state->sum, state->mean, state->rstd,
            run->params + features->norm.gamma, rows, d, tags->count, rows * d, 0);
    if (wk_ffn_frozen(&features->ffn))
        return;
    if (wk_dropout_on(run, &features->dropout))
        for (size_t t = 0; t < (size_t)tags->count; t++)
            run->v->drop(state->g + t * rows * d, state->g + t * rows * d, state->mask,
                    wk_dropout_scale(features->dropout.p), rows, d);
    wk_ffn_backward(
            run, tags, &features->ffn, NULL, state->g, input->values, state->u, rows, false, state->scratch);
}

bool wk_features_frozen(const struct wk_features *features)
{
    return features->norm.frozen && wk_ffn_frozen(&features->ffn);
}

double wk_features_flops(const struct wk_features *features, const struct wk_batch *batch, int tags)
{
    size_t rows = (size_t)batch->inputs[features->modality].rows;
    if (tags > 0 && wk_ffn_frozen(&features->ffn))
        return 0.0;
    return wk_ffn_flops(&features->ffn, rows, tags, false); /* the input needs no gradient */
}
