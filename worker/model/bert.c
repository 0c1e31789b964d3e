/* Tokens to features: see bert.h. */
#include "worker/model/bert.h"

#include <stdio.h>
#include <string.h>

enum sl_status wk_bert_init(struct wk_bert *bert, const struct sl_config *config, int modality,
        const struct sl_layout *layout, struct sl_error *err)
{
    const struct sl_modality_config *m = &config->modalities[modality];
    char prefix[SL_PARAM_NAME_MAX], layers[SL_PARAM_NAME_MAX + 32];
    bert->modality = modality;
    (void)snprintf(prefix, sizeof(prefix), "extractor.%s.bert.", m->name);
    (void)snprintf(layers, sizeof(layers), "%sencoder.layer.", prefix);
    bert->word = wk_place_find(layout, prefix, "embeddings.word_embeddings.weight");
    bert->position = wk_place_find(layout, prefix, "embeddings.position_embeddings.weight");
    bert->type = wk_place_find(layout, prefix, "embeddings.token_type_embeddings.weight");
    bert->encoder = (struct wk_encoder){.d = (size_t)m->hidden,
            .heads = m->heads,
            .layers = m->layers,
            .per_item = 1,
            .max_length = (size_t)m->max_tokens,
            .dropout = {.p = m->dropout, .part = modality}};
    enum sl_status status = wk_encoder_init(&bert->encoder, layout, layers, (size_t)m->mlp, err);
    if (status != SL_OK)
        return status;
    bert->encoder.node[0] = wk_place_norm(layout, prefix, "embeddings.LayerNorm");
    wk_encoder_find_lowest(&bert->encoder, bert->word.frozen && bert->position.frozen && bert->type.frozen);
    return SL_OK;
}

void wk_bert_fini(struct wk_bert *bert)
{
    wk_encoder_fini(&bert->encoder);
}

void wk_bert_plan(struct wk_bert_state *state, const struct wk_bert *bert, size_t tokens, int tags,
        struct wk_arena *kept, struct wk_arena *scratch)
{
    wk_encoder_plan(&state->encoder, &bert->encoder, tokens, tags, kept, scratch);
}

const float *wk_bert_forward(
        const struct wk_run *run, const struct wk_bert *bert, struct wk_bert_state *state)
{
    const struct wk_batch_input *input = &run->batch->inputs[bert->modality];
    size_t d = bert->encoder.d;
    const float *p = run->params;
    wk_run_need(run, bert->word.offset, bert->encoder.layer[0].begin);
    for (size_t r = 0; r < (size_t)input->rows; r++) {
        float *row = state->encoder.node[0].sum + r * d;
        memcpy(row, p + bert->word.offset + (size_t)input->tokens[r] * d, d * sizeof(*row));
        run->v->bias(row, d, p + bert->position.offset + (size_t)input->position[r] * d, 1, d);
        run->v->bias(row, d, p + bert->type.offset, 1, d);
    }
    return wk_encoder_forward(
            run, &bert->encoder, &state->encoder, input->offset, run->batch->count, input->offset);
}

/* The table's rows that were read get the gradients of their readers. */
static void table_backward(const struct wk_run *run, const struct wk_tags *tags, int tag,
        struct wk_place table, const int32_t *row, const float *g, size_t rows, size_t d)
{
    if (table.frozen)
        return;
    float *at = wk_gradient_at(tags, tag, table.offset);
    for (size_t r = 0; r < rows; r++)
        run->v->axpy(at + (size_t)row[r] * d, g + r * d, 1.0F, d);
}

void wk_bert_backward(const struct wk_run *run, const struct wk_tags *tags, const struct wk_bert *bert,
        struct wk_bert_state *state, const float *dx)
{
    const struct wk_batch_input *input = &run->batch->inputs[bert->modality];
    size_t d = bert->encoder.d, rows = (size_t)input->rows;
    const float *g = wk_encoder_backward(run, tags, &bert->encoder, &state->encoder, dx);
    for (int t = 0; t < tags->count && g != NULL; t++, g += rows * d) {
        table_backward(run, tags, t, bert->word, input->tokens, g, rows, d);
        table_backward(run, tags, t, bert->position, input->position, g, rows, d);
        if (!bert->type.frozen)
            run->v->column_sum(wk_gradient_at(tags, t, bert->type.offset), g, d, rows, d);
    }
}

double wk_bert_flops(const struct wk_bert *bert, const struct wk_batch *batch, int tags)
{
    const struct wk_batch_input *input = &batch->inputs[bert->modality];
    double squares = 0.0;
    for (int b = 0; b < batch->count; b++) {
        double length = input->offset[b + 1] - input->offset[b];
        squares += length * length;
    }
    return wk_encoder_flops(&bert->encoder, (size_t)input->rows, squares, tags);
}
