/* The kinds of extractor behind one face: see extractor.h. */
#include "worker/model/extractor.h"

#include <string.h>

enum sl_status wk_extractor_init(struct wk_extractor *extractor, const struct sl_config *config, int modality,
        const struct sl_layout *layout, struct sl_error *err)
{
    const struct sl_modality_config *m = &config->modalities[modality];
    extractor->kind = m->kind;
    extractor->d = (size_t)m->hidden;
    switch (m->kind) {
    case SL_KIND_VIT:
        extractor->max_items = m->frames;
        return wk_vit_init(&extractor->vit, config, modality, layout, err);
    case SL_KIND_BERT:
        extractor->max_items = m->max_tokens;
        extractor->pool_first = true;
        return wk_bert_init(&extractor->bert, config, modality, layout, err);
    case SL_KIND_FEATURES:
        break;
    }
    extractor->max_items = m->max_items;
    wk_features_init(&extractor->features, config, modality, layout);
    return SL_OK;
}

void wk_extractor_fini(struct wk_extractor *extractor)
{
    if (extractor->kind == SL_KIND_VIT)
        wk_vit_fini(&extractor->vit);
    else if (extractor->kind == SL_KIND_BERT)
        wk_bert_fini(&extractor->bert);
}

enum sl_status wk_extractor_state_init(
        struct wk_extractor_state *state, const struct wk_extractor *extractor, struct sl_error *err)
{
    if (extractor->kind == SL_KIND_VIT)
        return wk_encoder_state_init(&state->vit.encoder, &extractor->vit.encoder, err);
    if (extractor->kind == SL_KIND_BERT)
        return wk_encoder_state_init(&state->bert.encoder, &extractor->bert.encoder, err);
    return SL_OK;
}

void wk_extractor_state_fini(struct wk_extractor_state *state, const struct wk_extractor *extractor)
{
    if (extractor->kind == SL_KIND_VIT)
        wk_encoder_state_fini(&state->vit.encoder);
    else if (extractor->kind == SL_KIND_BERT)
        wk_encoder_state_fini(&state->bert.encoder);
}

void wk_extractor_plan(struct wk_extractor_state *state, const struct wk_extractor *extractor, int samples,
        int tags, struct wk_arena *kept, struct wk_arena *scratch)
{
    size_t items = (size_t)samples * (size_t)extractor->max_items;
    switch (extractor->kind) {
    case SL_KIND_VIT:
        wk_vit_plan(&state->vit, &extractor->vit, items, tags, kept, scratch);
        break;
    case SL_KIND_BERT:
        wk_bert_plan(&state->bert, &extractor->bert, items, tags, kept, scratch);
        break;
    case SL_KIND_FEATURES:
        wk_features_plan(&state->features, &extractor->features, items, tags, kept, scratch);
        break;
    }
}

void wk_extractor_forward(
        const struct wk_run *run, const struct wk_extractor *extractor, struct wk_extractor_state *state)
{
    switch (extractor->kind) {
    case SL_KIND_VIT:
        state->output = wk_vit_forward(run, &extractor->vit, &state->vit);
        break;
    case SL_KIND_BERT:
        state->output = wk_bert_forward(run, &extractor->bert, &state->bert);
        break;
    case SL_KIND_FEATURES:
        state->output = wk_features_forward(run, &extractor->features, &state->features);
        break;
    }
}

bool wk_extractor_frozen(const struct wk_extractor *extractor)
{
    switch (extractor->kind) {
    case SL_KIND_VIT:
        return wk_vit_frozen(&extractor->vit);
    case SL_KIND_BERT:
        return wk_bert_frozen(&extractor->bert);
    case SL_KIND_FEATURES:
        break;
    }
    return wk_features_frozen(&extractor->features);
}

void wk_extractor_backward(const struct wk_run *run, const struct wk_tags *tags,
        const struct wk_extractor *extractor, struct wk_extractor_state *state, const float *dx)
{
    switch (extractor->kind) {
    case SL_KIND_VIT:
        wk_vit_backward(run, tags, &extractor->vit, &state->vit, dx);
        break;
    case SL_KIND_BERT:
        wk_bert_backward(run, tags, &extractor->bert, &state->bert, dx);
        break;
    case SL_KIND_FEATURES:
        wk_features_backward(run, tags, &extractor->features, &state->features, dx);
        break;
    }
}

/* NULL for features. */
static const struct wk_encoder *encoder_of(const struct wk_extractor *extractor)
{
    switch (extractor->kind) {
    case SL_KIND_VIT:
        return &extractor->vit.encoder;
    case SL_KIND_BERT:
        return &extractor->bert.encoder;
    case SL_KIND_FEATURES:
        break;
    }
    return NULL;
}

int wk_extractor_layers(const struct wk_extractor *extractor)
{
    const struct wk_encoder *encoder = encoder_of(extractor);
    return encoder == NULL ? 0 : encoder->layers;
}

size_t wk_extractor_layer_begin(const struct wk_extractor *extractor, int layer)
{
    return encoder_of(extractor)->layer[layer].begin;
}

double wk_extractor_flops(const struct wk_extractor *extractor, const struct wk_batch *batch, int tags)
{
    switch (extractor->kind) {
    case SL_KIND_VIT:
        return wk_vit_flops(&extractor->vit, batch, tags);
    case SL_KIND_BERT:
        return wk_bert_flops(&extractor->bert, batch, tags);
    case SL_KIND_FEATURES:
        break;
    }
    return wk_features_flops(&extractor->features, batch, tags);
}
