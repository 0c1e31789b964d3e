/* Cross-attention between modalities, forward and backward: see fusion.h. */
#include "worker/model/fusion.h"

#include "common/memory.h"
#include "worker/model/pool.h"

#include <stdio.h>
#include <string.h>

/* ---- the plan ---- */

enum sl_status wk_fusion_init(struct wk_fusion *fusion, const struct sl_config *config,
        const struct sl_layout *layout, const int *max_items, struct sl_error *err)
{
    size_t d = (size_t)config->fusion.dim, mlp = (size_t)config->fusion.mlp;
    char prefix[SL_PARAM_NAME_MAX];
    *fusion = (struct wk_fusion){.modalities = config->modality_count,
            .layers = config->fusion.layers,
            .heads = config->fusion.heads,
            .d = d,
            .classes = (size_t)config->label_count,
            .dropout = config->fusion.dropout};
    fusion->stream = sl_alloc((size_t)fusion->layers * (size_t)fusion->modalities, sizeof(*fusion->stream));
    if (fusion->stream == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the plan of the fusion");
    for (int m = 0; m < fusion->modalities; m++) {
        const char *name = config->modalities[m].name;
        fusion->width[m] = (size_t)config->modalities[m].hidden;
        fusion->max_items[m] = max_items[m];
        fusion->project[m] = wk_place_linear(layout, "fusion.project.", name, 1);
        fusion->norm[m] = wk_place_norm(layout, "fusion.layernorm.", name);
        for (int l = 0; l < fusion->layers; l++) {
            (void)snprintf(prefix, sizeof(prefix), "fusion.layer.%d.%s.", l, name);
            fusion->stream[l * fusion->modalities + m] = (struct wk_fusion_stream){
                    .norm_query = wk_place_norm(layout, prefix, "norm_query"),
                    .norm_context = wk_place_norm(layout, prefix, "norm_context"),
                    .norm_ffn = wk_place_norm(layout, prefix, "norm_ffn"),
                    .query = wk_place_linear(layout, prefix, "query", 1),
                    .key_value = wk_place_linear(layout, prefix, "key", 2),
                    .out = wk_place_linear(layout, prefix, "out", 1),
                    .ffn = {.in = d,
                            .mid = mlp,
                            .out = d,
                            .first = wk_place_linear(layout, prefix, "fc1", 1),
                            .second = wk_place_linear(layout, prefix, "fc2", 1)},
            };
        }
    }
    fusion->head = wk_place_linear(layout, "fusion.", "head", 1);
    return SL_OK;
}

void wk_fusion_fini(struct wk_fusion *fusion)
{
    sl_free(fusion->stream);
    memset(fusion, 0, sizeof(*fusion));
}

enum sl_status wk_fusion_state_init(
        struct wk_fusion_state *state, const struct wk_fusion *fusion, struct sl_error *err)
{
    state->node = sl_alloc((size_t)(fusion->layers + 1) * (size_t)fusion->modalities, sizeof(*state->node));
    if (state->node == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the activations of the fusion");
    return SL_OK;
}

void wk_fusion_state_fini(struct wk_fusion_state *state)
{
    sl_free(state->node);
    memset(state, 0, sizeof(*state));
}

static struct wk_dropout dropout_of(const struct wk_fusion *fusion, int m)
{
    return (struct wk_dropout){.p = fusion->dropout, .part = SL_MODALITIES_MAX + m};
}

/* Items of a sample at most: of modality m, and of all others. */
static size_t most_items(const struct wk_fusion *fusion, int m, size_t *ret_others)
{
    size_t others = 0;
    for (int o = 0; o < fusion->modalities; o++)
        others += o == m ? 0 : (size_t)fusion->max_items[o];
    *ret_others = others;
    return (size_t)fusion->max_items[m];
}

static void plan_node(struct wk_fusion_node *node, const struct wk_fusion *fusion, int m, size_t samples,
        bool training, struct wk_arena *kept)
{
    size_t d = fusion->d, others = 0, items = most_items(fusion, m, &others), rows = samples * items,
           context = samples * others;
    const struct wk_ffn *ffn = &fusion->stream[m].ffn; /* the same shape in all layers */
    struct wk_dropout dropout = dropout_of(fusion, m);
    node->query_in = wk_arena_floats(kept, rows, d);
    node->query_mean = wk_arena_floats(kept, rows, 1);
    node->query_rstd = wk_arena_floats(kept, rows, 1);
    node->q = wk_arena_floats(kept, rows, d);
    node->context_in = wk_arena_floats(kept, context, d);
    node->context_mean = wk_arena_floats(kept, context, 1);
    node->context_rstd = wk_arena_floats(kept, context, 1);
    node->kv = wk_arena_floats(kept, context, 2 * d);
    node->probs = wk_arena_floats(kept, training ? rows * (size_t)fusion->heads : items, others);
    node->context = wk_arena_floats(kept, rows, d);
    node->z = wk_arena_floats(kept, rows, d);
    node->hz = wk_arena_floats(kept, rows, d);
    node->z_mean = wk_arena_floats(kept, rows, 1);
    node->z_rstd = wk_arena_floats(kept, rows, 1);
    node->u = wk_arena_floats(kept, wk_ffn_kept(ffn, rows, training), ffn->mid);
    node->mask_attention = training ? wk_dropout_plan(kept, &dropout, rows, d) : NULL;
    node->mask_ffn = training ? wk_dropout_plan(kept, &dropout, rows, d) : NULL;
}

/* Buffers of a backward, and what one stream needs for the moment; sized for the largest stream. */
static void plan_scratch(struct wk_fusion_state *state, const struct wk_fusion *fusion, size_t samples,
        bool training, struct wk_arena *scratch)
{
    size_t d = fusion->d, rows = 0, context = 0, head = 0;
    for (int m = 0; m < fusion->modalities; m++) {
        size_t others = 0, items = most_items(fusion, m, &others);
        rows = samples * items > rows ? samples * items : rows;
        context = samples * others > context ? samples * others : context;
        head = items * others > head ? items * others : head;
        if (training) {
            state->g[m] = wk_arena_floats(scratch, samples * items, d);
            state->next[m] = wk_arena_floats(scratch, samples * items, d);
        }
    }
    size_t ffn = fusion->layers > 0 ? wk_ffn_scratch(&fusion->stream[0].ffn, training ? 1 : 0) : 0;
    head *= wk_arena_members(scratch);
    state->scratch = wk_arena_floats(scratch, ffn > head ? ffn : head, 1);
    if (!training)
        return;
    state->dpooled = wk_arena_floats(scratch, samples, d * (size_t)fusion->modalities);
    state->dq = wk_arena_floats(scratch, rows, d);
    state->dkv = wk_arena_floats(scratch, context, 2 * d);
    state->dcontext = wk_arena_floats(scratch, rows, d);
    state->d = wk_arena_floats(scratch, rows > context ? rows : context, d);
}

void wk_fusion_plan(struct wk_fusion_state *state, const struct wk_fusion *fusion, int samples, bool training,
        struct wk_arena *kept, struct wk_arena *scratch)
{
    size_t b = (size_t)samples, d = fusion->d;
    for (int m = 0; m < fusion->modalities; m++) {
        size_t rows = b * (size_t)fusion->max_items[m];
        struct wk_dropout dropout = dropout_of(fusion, m);
        for (int l = 0; l <= fusion->layers; l++) {
            struct wk_fusion_node *node = &state->node[l * fusion->modalities + m];
            /* without backward two inputs take turns, for a stream's output must not overwrite what another
             * still reads */
            if (!training && l >= 2) {
                *node = state->node[(l - 2) * fusion->modalities + m];
                continue;
            }
            if (l < fusion->layers)
                plan_node(node, fusion, m, b, training, kept);
            node->x = wk_arena_floats(kept, rows, d);
        }
        state->mask_projection[m] = training ? wk_dropout_plan(kept, &dropout, rows, d) : NULL;
        state->context_offset[m] = wk_arena_take(kept, b + 1, sizeof(int));
        state->normed[m] = wk_arena_floats(kept, rows, d);
        state->mean[m] = wk_arena_floats(kept, rows, 1);
        state->rstd[m] = wk_arena_floats(kept, rows, 1);
    }
    state->pooled = wk_arena_floats(kept, b, d * (size_t)fusion->modalities);
    plan_scratch(state, fusion, b, training, scratch);
}

/* ---- forward ---- */

static size_t rows_of(const struct wk_run *run, int m)
{
    return (size_t)run->batch->inputs[m].rows;
}

static void count_context(const struct wk_batch *batch, int modalities, int m, int *offset)
{
    offset[0] = 0;
    for (int b = 0; b < batch->count; b++) {
        offset[b + 1] = offset[b];
        for (int o = 0; o < modalities; o++)
            if (o != m)
                offset[b + 1] += batch->inputs[o].offset[b + 1] - batch->inputs[o].offset[b];
    }
}

static void project(const struct wk_run *run, const struct wk_fusion *fusion, struct wk_fusion_state *state,
        int m, const float *features)
{
    struct wk_dropout dropout = dropout_of(fusion, m);
    float *x = state->node[m].x;
    const struct wk_batch_input *input = &run->batch->inputs[m];
    wk_linear_forward(run, x, features, fusion->project[m], rows_of(run, m), fusion->d, fusion->width[m]);
    const uint8_t *mask = wk_dropout_draw(
            run, &dropout, state->mask_projection[m], 0, WK_SITE_EMBEDDING, input->offset, 1, fusion->d);
    if (mask != NULL)
        run->v->drop(x, x, mask, wk_dropout_scale(dropout.p), rows_of(run, m), fusion->d);
}

/* A stretch of context: rows `from` to `from + rows` of modality o's stream stand at row `at` of the context.
 */
struct stretch {
    int o;
    size_t from, rows, at;
};

/* Walks the context of modality m sample by sample, other by other. Start with *s and *b zero and s->o = -1;
 * false after the last. */
static bool next_stretch(const struct wk_batch *batch, int modalities, int m, int *b, struct stretch *s)
{
    s->at += s->rows;
    do {
        if (++s->o == modalities) {
            s->o = 0;
            (*b)++;
        }
    } while (s->o == m);
    if (*b >= batch->count)
        return false;
    const int *offset = batch->inputs[s->o].offset;
    s->from = (size_t)offset[*b];
    s->rows = (size_t)offset[*b + 1] - s->from;
    return true;
}

/* LN_context of all others' tokens into context_in, in the order of next_stretch. */
static void gather_context(
        const struct wk_run *run, const struct wk_fusion *fusion, struct wk_fusion_state *state, int l, int m)
{
    size_t d = fusion->d;
    const struct wk_fusion_node *layer = &state->node[l * fusion->modalities];
    const struct wk_fusion_node *node = &layer[m];
    struct wk_norm_at at = fusion->stream[l * fusion->modalities + m].norm_context;
    struct stretch s = {.o = -1};
    for (int b = 0; next_stretch(run->batch, fusion->modalities, m, &b, &s);)
        run->v->norm(node->context_in + s.at * d, node->context_mean + s.at, node->context_rstd + s.at,
                layer[s.o].x + s.from * d, run->params + at.gamma, run->params + at.beta, s.rows, d);
}

static struct wk_attention view(const struct wk_run *run, const struct wk_fusion *fusion,
        const struct wk_fusion_state *state, const struct wk_fusion_node *node, int m)
{
    return (struct wk_attention){.q = node->q,
            .k = node->kv,
            .v = node->kv + fusion->d,
            .q_stride = fusion->d,
            .k_stride = 2 * fusion->d,
            .q_offset = run->batch->inputs[m].offset,
            .k_offset = state->context_offset[m],
            .segments = run->batch->count,
            .heads = fusion->heads,
            .d = fusion->d};
}

static void stream_forward(
        const struct wk_run *run, const struct wk_fusion *fusion, struct wk_fusion_state *state, int l, int m)
{
    const struct wk_fusion_stream *stream = &fusion->stream[l * fusion->modalities + m];
    struct wk_fusion_node *node = &state->node[l * fusion->modalities + m], *next = node + fusion->modalities;
    size_t d = fusion->d, rows = rows_of(run, m),
           context = (size_t)state->context_offset[m][run->batch->count];
    const float *p = run->params;
    const int *offset = run->batch->inputs[m].offset;
    struct wk_dropout dropout = dropout_of(fusion, m);
    float scale = wk_dropout_scale(dropout.p);

    run->v->norm(node->query_in, node->query_mean, node->query_rstd, node->x, p + stream->norm_query.gamma,
            p + stream->norm_query.beta, rows, d);
    wk_linear_forward(run, node->q, node->query_in, stream->query, rows, d, d);
    gather_context(run, fusion, state, l, m);
    wk_linear_forward(run, node->kv, node->context_in, stream->key_value, context, 2 * d, d);

    struct wk_attention a = view(run, fusion, state, node, m);
    wk_attention_forward(run, node->context, node->probs, &a);
    const uint8_t *mask =
            wk_dropout_draw(run, &dropout, node->mask_attention, l, WK_SITE_ATTENTION, offset, 1, d);
    wk_product_forward(run, node->z, d, node->context, d, p + stream->out.weight, rows, d, d);
    run->v->add_norm(node->z, node->hz, node->z_mean, node->z_rstd, p + stream->out.bias, node->x, d, mask,
            scale, p + stream->norm_ffn.gamma, p + stream->norm_ffn.beta, rows, d);

    mask = wk_dropout_draw(run, &dropout, node->mask_ffn, l, WK_SITE_FFN, offset, 1, d);
    wk_ffn_forward(run, &stream->ffn, next->x, node->u, node->hz, rows, state->scratch);
    run->v->add_norm(next->x, NULL, NULL, NULL, p + stream->ffn.second.bias, node->z, d, mask, scale, NULL,
            NULL, rows, d);
}

size_t wk_fusion_layer_begin(const struct wk_fusion *fusion, int l)
{
    return l < fusion->layers ? fusion->stream[l * fusion->modalities].norm_query.gamma
                              : fusion->norm[0].gamma;
}

void wk_fusion_forward(const struct wk_run *run, const struct wk_fusion *fusion,
        struct wk_fusion_state *state, float *logits, const float *const features[])
{
    size_t d = fusion->d, side_by_side = d * (size_t)fusion->modalities;
    wk_run_need(run, fusion->project[0].weight, wk_fusion_layer_begin(fusion, 0));
    for (int m = 0; m < fusion->modalities; m++) {
        count_context(run->batch, fusion->modalities, m, state->context_offset[m]);
        project(run, fusion, state, m, features[m]);
    }
    for (int l = 0; l < fusion->layers; l++) {
        wk_run_need(run, wk_fusion_layer_begin(fusion, l), wk_fusion_layer_begin(fusion, l + 1));
        for (int m = 0; m < fusion->modalities; m++)
            stream_forward(run, fusion, state, l, m);
    }
    wk_run_need(run, fusion->norm[0].gamma, fusion->head.bias + fusion->classes);
    for (int m = 0; m < fusion->modalities; m++) {
        const float *x = state->node[fusion->layers * fusion->modalities + m].x;
        run->v->norm(state->normed[m], state->mean[m], state->rstd[m], x, run->params + fusion->norm[m].gamma,
                run->params + fusion->norm[m].beta, rows_of(run, m), d);
        wk_pool_mean(run, state->pooled + (size_t)m * d, side_by_side, state->normed[m],
                run->batch->inputs[m].offset, d);
    }
    wk_linear_forward(run, logits, state->pooled, fusion->head, (size_t)run->batch->count, fusion->classes,
            side_by_side);
}

/* ---- backward: g[m] is the gradient of the stream at the place where the walk is ---- */

static void through_norm(const struct wk_run *run, const struct wk_tags *tags, float *dx, const float *dy,
        const float *x, const float *mean, const float *rstd, struct wk_norm_at at, size_t rows, size_t d,
        bool add)
{
    struct wk_targets gamma = wk_targets(tags, at.gamma, at.frozen),
                      beta = wk_targets(tags, at.beta, at.frozen);
    run->v->norm_backward(
            dx, dy, gamma.at, beta.at, x, mean, rstd, run->params + at.gamma, rows, d, 1, 0, add);
}

static const float *undrop(const struct wk_run *run, const struct wk_fusion *fusion, float *into,
        const float *x, const uint8_t *mask, size_t rows)
{
    if (!run->training || !(fusion->dropout > 0.0F))
        return x;
    run->v->drop(into, x, mask, wk_dropout_scale(fusion->dropout), rows, fusion->d);
    return into;
}

/* g[m]: from the gradient of the layer's output to that of z. */
static void ffn_backward(const struct wk_run *run, const struct wk_tags *tags, const struct wk_fusion *fusion,
        struct wk_fusion_state *state, int l, int m)
{
    const struct wk_fusion_stream *stream = &fusion->stream[l * fusion->modalities + m];
    struct wk_fusion_node *node = &state->node[l * fusion->modalities + m];
    size_t rows = rows_of(run, m);
    const float *dy = undrop(run, fusion, state->dcontext, state->g[m], node->mask_ffn, rows);
    wk_ffn_backward(run, tags, &stream->ffn, state->d, dy, node->hz, node->u, rows, false, state->scratch);
    through_norm(run, tags, state->g[m], state->d, node->z, node->z_mean, node->z_rstd, stream->norm_ffn,
            rows, fusion->d, true);
}

/* Adds to next[o] of every other o what flows back through m's context: dcontext_in in state->d. */
static void scatter_context(const struct wk_run *run, const struct wk_tags *tags,
        const struct wk_fusion *fusion, struct wk_fusion_state *state, int l, int m)
{
    size_t d = fusion->d;
    const struct wk_fusion_node *layer = &state->node[l * fusion->modalities], *node = &layer[m];
    struct wk_norm_at at = fusion->stream[l * fusion->modalities + m].norm_context;
    struct stretch s = {.o = -1};
    for (int b = 0; next_stretch(run->batch, fusion->modalities, m, &b, &s);)
        through_norm(run, tags, state->next[s.o] + s.from * d, state->d + s.at * d, layer[s.o].x + s.from * d,
                node->context_mean + s.at, node->context_rstd + s.at, at, s.rows, d, true);
}

/* Adds to next[] what flows back through m's attention, whose residual's part is in next[m] already. g[m]:
 * the gradient of z. */
static void attention_backward(const struct wk_run *run, const struct wk_tags *tags,
        const struct wk_fusion *fusion, struct wk_fusion_state *state, int l, int m)
{
    const struct wk_fusion_stream *stream = &fusion->stream[l * fusion->modalities + m];
    struct wk_fusion_node *node = &state->node[l * fusion->modalities + m];
    size_t d = fusion->d, rows = rows_of(run, m),
           context = (size_t)state->context_offset[m][run->batch->count];
    const float *da = undrop(run, fusion, state->d, state->g[m], node->mask_attention, rows);
    wk_linear_backward(run, tags, state->dcontext, da, node->context, stream->out, rows, d, d, false);

    struct wk_attention a = view(run, fusion, state, node, m);
    struct wk_attention_gradient g = {
            .dq = state->dq, .dk = state->dkv, .dv = state->dkv + d, .dq_stride = d, .dk_stride = 2 * d};
    wk_attention_backward(run, 1, &g, state->dcontext, node->probs, &a, state->scratch);

    wk_linear_backward(run, tags, state->d, state->dq, node->query_in, stream->query, rows, d, d, false);
    through_norm(run, tags, state->next[m], state->d, node->x, node->query_mean, node->query_rstd,
            stream->norm_query, rows, d, true);
    wk_linear_backward(
            run, tags, state->d, state->dkv, node->context_in, stream->key_value, context, 2 * d, d, false);
    scatter_context(run, tags, fusion, state, l, m);
}

static void layer_backward(const struct wk_run *run, const struct wk_tags *tags,
        const struct wk_fusion *fusion, struct wk_fusion_state *state, int l)
{
    for (int m = 0; m < fusion->modalities; m++) {
        ffn_backward(run, tags, fusion, state, l, m);
        memcpy(state->next[m], state->g[m], rows_of(run, m) * fusion->d * sizeof(*state->g[m]));
    }
    for (int m = 0; m < fusion->modalities; m++)
        attention_backward(run, tags, fusion, state, l, m);
    for (int m = 0; m < fusion->modalities; m++) {
        float *done = state->next[m];
        state->next[m] = state->g[m];
        state->g[m] = done;
    }
}

void wk_fusion_backward(const struct wk_run *run, const struct wk_tags *tags, const struct wk_fusion *fusion,
        struct wk_fusion_state *state, float *const dfeatures[], const float *dlogits,
        const float *const features[])
{
    size_t d = fusion->d, side_by_side = d * (size_t)fusion->modalities;
    wk_linear_backward(run, tags, state->dpooled, dlogits, state->pooled, fusion->head,
            (size_t)run->batch->count, fusion->classes, side_by_side, false);
    for (int m = 0; m < fusion->modalities; m++) {
        const float *x = state->node[fusion->layers * fusion->modalities + m].x;
        wk_pool_mean_backward(run, state->g[m], state->dpooled + (size_t)m * d, side_by_side,
                run->batch->inputs[m].offset, d);
        through_norm(run, tags, state->g[m], state->g[m], x, state->mean[m], state->rstd[m], fusion->norm[m],
                rows_of(run, m), d, false);
    }
    for (int l = fusion->layers - 1; l >= 0; l--) {
        layer_backward(run, tags, fusion, state, l);
        wk_run_reached(run, wk_fusion_layer_begin(fusion, l));
    }
    for (int m = 0; m < fusion->modalities; m++) {
        const float *dx =
                undrop(run, fusion, state->g[m], state->g[m], state->mask_projection[m], rows_of(run, m));
        wk_linear_backward(run, tags, dfeatures[m], dx, features[m], fusion->project[m], rows_of(run, m), d,
                fusion->width[m], false);
    }
}

double wk_fusion_flops(const struct wk_fusion *fusion, const struct wk_batch *batch, const bool needed[])
{
    double d = (double)fusion->d, layer = 0.0, spared = 0.0,
           rest = 2.0 * batch->count * d * fusion->modalities * (double)fusion->classes;
    for (int m = 0; m < fusion->modalities; m++) {
        size_t rows = (size_t)batch->inputs[m].rows;
        double project = 2.0 * (double)rows * (double)fusion->width[m] * d;
        rest += project;
        spared += needed == NULL || needed[m] ? 0.0 : project;
        layer += 4.0 * (double)rows * d * d; /* query, out */
        if (fusion->layers > 0)
            layer += wk_ffn_flops(&fusion->stream[m].ffn, rows, 0, true);
        for (int o = 0; o < fusion->modalities; o++) {
            if (o == m)
                continue;
            layer += 4.0 * batch->inputs[o].rows * d * d; /* key, value */
            for (int b = 0; b < batch->count; b++)
                layer += 4.0 * (batch->inputs[m].offset[b + 1] - batch->inputs[m].offset[b]) *
                         (double)(batch->inputs[o].offset[b + 1] - batch->inputs[o].offset[b]) * d;
        }
    }
    return (needed == NULL ? 1.0 : 2.0) * (rest + fusion->layers * layer) - spared;
}
