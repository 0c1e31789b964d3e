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
            .first = {sl_layout_offset(layout, "%sfc1.weight", prefix),
                    sl_layout_offset(layout, "%sfc1.bias", prefix)},
            .second = {sl_layout_offset(layout, "%sfc2.weight", prefix),
                    sl_layout_offset(layout, "%sfc2.bias", prefix)}};
    features->norm.gamma = sl_layout_offset(layout, "%slayernorm.weight", prefix);
    features->norm.beta = sl_layout_offset(layout, "%slayernorm.bias", prefix);
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
    struct wk_targets gamma = wk_targets(tags, features->norm.gamma),
                      beta = wk_targets(tags, features->norm.beta);
    run->v->norm_backward(state->g, dx, gamma.at, beta.at, state->sum, state->mean, state->rstd,
            run->params + features->norm.gamma, rows, d, tags->count, rows * d, 0);
    if (wk_dropout_on(run, &features->dropout))
        for (size_t t = 0; t < (size_t)tags->count; t++)
            run->v->drop(state->g + t * rows * d, state->g + t * rows * d, state->mask,
                    wk_dropout_scale(features->dropout.p), rows, d);
    wk_ffn_backward(
            run, tags, &features->ffn, NULL, state->g, input->values, state->u, rows, false, state->scratch);
}

double wk_features_flops(const struct wk_features *features, const struct wk_batch *batch, int tags)
{
    const struct wk_ffn *ffn = &features->ffn;
    size_t rows = (size_t)batch->inputs[features->modality].rows;
    double first = 2.0 * (double)rows * (double)ffn->in * (double)ffn->mid, all = wk_ffn_flops(ffn, rows);
    return tags == 0 ? all : tags * (2.0 * all - first); /* the input needs no gradient */
}
