/* Frames to features: see vit.h. */
#include "worker/model/vit.h"

#include <stdio.h>
#include <string.h>

enum sl_status wk_vit_init(struct wk_vit *vit, const struct sl_config *config, int modality,
        const struct sl_layout *layout, struct sl_error *err)
{
    const struct sl_modality_config *m = &config->modalities[modality];
    size_t side = (size_t)(m->image / m->patch);
    char prefix[SL_PARAM_NAME_MAX], outer[SL_PARAM_NAME_MAX];
    vit->modality = modality;
    vit->patches = side * side;
    vit->patch_floats = 3 * (size_t)m->patch * (size_t)m->patch;
    (void)snprintf(prefix, sizeof(prefix), "extractor.%s.vit.", m->name);
    vit->cls = wk_place_find(layout, prefix, "embeddings.cls_token");
    vit->position = wk_place_find(layout, prefix, "embeddings.position_embeddings");
    vit->patch = wk_place_linear(layout, prefix, "embeddings.patch_embeddings.projection", 1);
    (void)snprintf(outer, sizeof(outer), "extractor.%s.", m->name);
    vit->temporal = wk_place_find(layout, outer, "temporal_embeddings");
    vit->encoder = (struct wk_encoder){.d = (size_t)m->hidden,
            .heads = m->heads,
            .layers = m->layers,
            .pre_norm = true,
            .first_only = true,
            .period = vit->patches + 1,
            .per_item = vit->patches + 1,
            .max_length = vit->patches + 1,
            .dropout = {.p = m->dropout, .part = modality}};
    char layers[SL_PARAM_NAME_MAX + 32];
    (void)snprintf(layers, sizeof(layers), "%sencoder.layer.", prefix);
    enum sl_status status = wk_encoder_init(&vit->encoder, layout, layers, (size_t)m->mlp, err);
    if (status != SL_OK)
        return status;
    vit->encoder.node[m->layers] = wk_place_norm(layout, prefix, "layernorm");
    wk_encoder_find_lowest(
            &vit->encoder, vit->cls.frozen && vit->position.frozen && wk_linear_frozen(vit->patch));
    return SL_OK;
}

void wk_vit_fini(struct wk_vit *vit)
{
    wk_encoder_fini(&vit->encoder);
}

/* Frames whose patches are worked on at a time: their rows make one chunk. */
static size_t frames_at_once(const struct wk_vit *vit)
{
    size_t frames = wk_chunk_most(vit->encoder.d) / vit->patches;
    return frames == 0 ? 1 : frames;
}

void wk_vit_plan(struct wk_vit_state *state, const struct wk_vit *vit, size_t frames, int tags,
        struct wk_arena *kept, struct wk_arena *scratch)
{
    size_t length = vit->encoder.period;
    wk_encoder_plan(&state->encoder, &vit->encoder, frames * length, tags, kept, scratch);
    state->offset = wk_arena_take(kept, frames + 1, sizeof(int));
    if (state->offset != NULL)
        for (size_t f = 0; f <= frames; f++)
            state->offset[f] = (int)(f * length);
    state->output = wk_arena_floats(kept, frames, vit->encoder.d);
    state->scratch = wk_arena_floats(scratch, frames_at_once(vit) * vit->patches, vit->encoder.d);
}

/* sum[0]: for each frame the [CLS] token, then its patches through the convolution; positions added. */
static void embed(const struct wk_run *run, const struct wk_vit *vit, struct wk_vit_state *state,
        const struct wk_batch_input *input)
{
    size_t d = vit->encoder.d, patches = vit->patches, at_once = frames_at_once(vit),
           frames = (size_t)input->rows;
    const float *p = run->params, *position = p + vit->position.offset;
    for (size_t first = 0; first < frames; first += at_once) {
        size_t count = frames - first < at_once ? frames - first : at_once;
        wk_product_forward(run, state->scratch, d, input->values + first * patches * vit->patch_floats,
                vit->patch_floats, p + vit->patch.weight, count * patches, d, vit->patch_floats);
        for (size_t f = 0; f < count; f++) {
            float *row = state->encoder.node[0].sum + (first + f) * (patches + 1) * d;
            memcpy(row, p + vit->cls.offset, d * sizeof(*row));
            memcpy(row + d, state->scratch + f * patches * d, patches * d * sizeof(*row));
            run->v->bias(row + d, d, p + vit->patch.bias, patches, d);
            run->v->bias(row, (patches + 1) * d, position, 1, (patches + 1) * d);
        }
    }
}

const float *wk_vit_forward(const struct wk_run *run, const struct wk_vit *vit, struct wk_vit_state *state)
{
    const struct wk_batch_input *input = &run->batch->inputs[vit->modality];
    size_t d = vit->encoder.d;
    wk_run_need(run, vit->temporal.offset, vit->encoder.layer[0].begin);
    embed(run, vit, state, input);
    const float *cls = wk_encoder_forward(
            run, &vit->encoder, &state->encoder, state->offset, input->rows, input->offset);
    memcpy(state->output, cls, (size_t)input->rows * d * sizeof(*cls));
    for (int r = 0; r < input->rows; r++)
        run->v->axpy(state->output + (size_t)r * d,
                run->params + vit->temporal.offset + (size_t)input->position[r] * d, 1.0F, d);
    return state->output;
}

/* Inverts embed for one tag: g is the gradient of sum[0]. */
static void embed_backward(const struct wk_run *run, const struct wk_tags *tags, int tag,
        const struct wk_vit *vit, struct wk_vit_state *state, const float *g,
        const struct wk_batch_input *input)
{
    size_t d = vit->encoder.d, patches = vit->patches, length = patches + 1, at_once = frames_at_once(vit);
    size_t frames = (size_t)input->rows;
    if (!vit->cls.frozen)
        run->v->column_sum(wk_gradient_at(tags, tag, vit->cls.offset), g, length * d, frames, d);
    if (!vit->position.frozen) /* one row of all rows of a frame */
        run->v->column_sum(
                wk_gradient_at(tags, tag, vit->position.offset), g, length * d, frames, length * d);
    for (size_t first = 0; first < frames && !wk_linear_frozen(vit->patch); first += at_once) {
        size_t count = frames - first < at_once ? frames - first : at_once;
        for (size_t f = 0; f < count; f++)
            memcpy(state->scratch + f * patches * d, g + ((first + f) * length + 1) * d,
                    patches * d * sizeof(*g));
        wk_linear_gradient(run, tags, tag, vit->patch, state->scratch, d,
                input->values + first * patches * vit->patch_floats, vit->patch_floats, count * patches, d,
                vit->patch_floats);
    }
}

bool wk_vit_frozen(const struct wk_vit *vit)
{
    return vit->temporal.frozen && wk_encoder_frozen(&vit->encoder);
}

void wk_vit_backward(const struct wk_run *run, const struct wk_tags *tags, const struct wk_vit *vit,
        struct wk_vit_state *state, const float *dx)
{
    const struct wk_batch_input *input = &run->batch->inputs[vit->modality];
    size_t d = vit->encoder.d, rows = (size_t)input->rows;
    const float *g = wk_encoder_backward(run, tags, &vit->encoder, &state->encoder, dx);
    for (int t = 0; t < tags->count && !vit->temporal.frozen; t++) {
        float *temporal = wk_gradient_at(tags, t, vit->temporal.offset);
        for (size_t r = 0; r < rows; r++)
            run->v->axpy(temporal + (size_t)input->position[r] * d, dx + ((size_t)t * rows + r) * d, 1.0F, d);
    }
    for (int t = 0; t < tags->count && g != NULL; t++)
        embed_backward(run, tags, t, vit, state, g + (size_t)t * rows * vit->encoder.period * d, input);
}

double wk_vit_flops(const struct wk_vit *vit, const struct wk_batch *batch, int tags)
{
    size_t frames = (size_t)batch->inputs[vit->modality].rows, length = vit->encoder.period;
    double patch = wk_linear_flops(vit->patch, frames * vit->patches, vit->encoder.d, vit->patch_floats, tags,
            false); /* pixels need no gradient */
    return patch + wk_encoder_flops(&vit->encoder, frames * length, (double)(frames * length * length), tags);
}
