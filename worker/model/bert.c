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
    bert->word = sl_layout_offset(layout, "%sembeddings.word_embeddings.weight", prefix);
    bert->position = sl_layout_offset(layout, "%sembeddings.position_embeddings.weight", prefix);
    bert->type = sl_layout_offset(layout, "%sembeddings.token_type_embeddings.weight", prefix);
    bert->encoder = (struct wk_encoder){.d = (size_t)m->hidden,
            .heads = m->heads,
            .layers = m->layers,
            .per_item = 1,
            .max_length = (size_t)m->max_tokens,
            .dropout = {.p = m->dropout, .part = modality}};
    enum sl_status status = wk_encoder_init(&bert->encoder, layout, layers, (size_t)m->mlp, err);
    if (status != SL_OK)
        return status;
    bert->encoder.node[0].gamma = sl_layout_offset(layout, "%sembeddings.LayerNorm.weight", prefix);
    bert->encoder.node[0].beta = sl_layout_offset(layout, "%sembeddings.LayerNorm.bias", prefix);
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
    wk_run_need(run, bert->word, bert->encoder.layer[0].begin);
    for (size_t r = 0; r < (size_t)input->rows; r++) {
        float *row = state->encoder.node[0].sum + r * d;
        memcpy(row, p + bert->word + (size_t)input->tokens[r] * d, d * sizeof(*row));
        run->v->bias(row, d, p + bert->position + (size_t)input->position[r] * d, 1, d);
        run->v->bias(row, d, p + bert->type, 1, d);
    }
    return wk_encoder_forward(
            run, &bert->encoder, &state->encoder, input->offset, run->batch->count, input->offset);
}

void wk_bert_backward(const struct wk_run *run, const struct wk_tags *tags, const struct wk_bert *bert,
        struct wk_bert_state *state, const float *dx)
{
    const struct wk_batch_input *input = &run->batch->inputs[bert->modality];
    size_t d = bert->encoder.d, rows = (size_t)input->rows;
    const float *g = wk_encoder_backward(run, tags, &bert->encoder, &state->encoder, dx);
    for (int t = 0; t < tags->count; t++) {
        const float *gt = g + (size_t)t * rows * d;
        float *word = wk_gradient_at(tags, t, bert->word),
              *position = wk_gradient_at(tags, t, bert->position);
        for (size_t r = 0; r < rows; r++) {
            run->v->axpy(word + (size_t)input->tokens[r] * d, gt + r * d, 1.0F, d);
            run->v->axpy(position + (size_t)input->position[r] * d, gt + r * d, 1.0F, d);
        }
        run->v->column_sum(wk_gradient_at(tags, t, bert->type), gt, d, rows, d);
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
    double encoder = wk_encoder_flops(&bert->encoder, (size_t)input->rows, squares);
    return tags == 0 ? encoder : 2.0 * tags * encoder;
}
