/* Transformer layers, forward and backward: see encoder.h. */
#include "worker/model/encoder.h"

#include "common/memory.h"

#include <stdio.h>
#include <string.h>

/* ---- the plan ---- */

enum sl_status wk_encoder_init(struct wk_encoder *encoder, const struct sl_layout *layout, const char *prefix,
        size_t mlp, struct sl_error *err)
{
    if (encoder->layers < 1)
        return sl_fail(
                err, SL_USAGE, "%s: layers is %d; an encoder needs at least 1", prefix, encoder->layers);
    encoder->layer = sl_alloc((size_t)encoder->layers, sizeof(*encoder->layer));
    encoder->node = sl_alloc((size_t)encoder->layers + 1, sizeof(*encoder->node));
    if (encoder->layer == NULL || encoder->node == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the plan of %d layers", encoder->layers);
    bool pre = encoder->pre_norm;
    for (int l = 0; l < encoder->layers; l++) {
        char in[SL_PARAM_NAME_MAX];
        (void)snprintf(in, sizeof(in), "%s%d.", prefix, l);
        encoder->layer[l] = (struct wk_encoder_layer){
                .qkv = wk_place_linear(
                        layout, in, pre ? "attention.attention.query" : "attention.self.query", 3),
                .out = wk_place_linear(layout, in, "attention.output.dense", 1),
                .mid = wk_place_norm(layout, in, pre ? "layernorm_after" : "attention.output.LayerNorm"),
                .ffn = {.in = encoder->d,
                        .mid = mlp,
                        .out = encoder->d,
                        .first = wk_place_linear(layout, in, "intermediate.dense", 1),
                        .second = wk_place_linear(layout, in, "output.dense", 1)},
        };
        encoder->layer[l].begin = encoder->layer[l].qkv.weight;
        if (pre) {
            encoder->node[l] = wk_place_norm(layout, in, "layernorm_before");
            encoder->layer[l].begin = encoder->node[l].gamma;
        } else {
            encoder->node[l + 1] = wk_place_norm(layout, in, "output.LayerNorm");
        }
    }
    return SL_OK;
}

/* ---- how deep a backward pass goes ---- */

/* The places of a layer in the order of the forward pass. */
enum stage { STAGE_NORM, STAGE_QKV, STAGE_OUT, STAGE_MID, STAGE_FFN, STAGES };

static bool stage_frozen(const struct wk_encoder *encoder, int l, enum stage stage)
{
    const struct wk_encoder_layer *layer = &encoder->layer[l];
    switch (stage) {
    case STAGE_NORM:
        return encoder->node[l].frozen;
    case STAGE_QKV:
        return wk_linear_frozen(layer->qkv);
    case STAGE_OUT:
        return wk_linear_frozen(layer->out);
    case STAGE_MID:
        return layer->mid.frozen;
    case STAGE_FFN:
    case STAGES:
        break;
    }
    return wk_ffn_frozen(&layer->ffn);
}

void wk_encoder_find_lowest(struct wk_encoder *encoder, bool input_frozen)
{
    int end = encoder->layers * STAGES, at = 0;
    encoder->lowest = -1;
    if (!input_frozen)
        return;
    while (at < end && stage_frozen(encoder, at / STAGES, (enum stage)(at % STAGES)))
        at++;
    encoder->lowest = at == end && encoder->node[encoder->layers].frozen ? end + 1 : at;
}

bool wk_encoder_frozen(const struct wk_encoder *encoder)
{
    return encoder->lowest > encoder->layers * STAGES;
}

/* Whether a backward pass comes to this stage: something trains there or before it. */
static bool reaches(const struct wk_encoder *encoder, int layer, enum stage stage)
{
    return encoder->lowest <= layer * STAGES + (int)stage;
}

void wk_encoder_fini(struct wk_encoder *encoder)
{
    sl_free(encoder->layer);
    sl_free(encoder->node);
    memset(encoder, 0, sizeof(*encoder));
}

enum sl_status wk_encoder_state_init(
        struct wk_encoder_state *state, const struct wk_encoder *encoder, struct sl_error *err)
{
    state->node = sl_alloc((size_t)encoder->layers + 1, sizeof(*state->node));
    if (state->node == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the activations of %d layers", encoder->layers);
    return SL_OK;
}

void wk_encoder_state_fini(struct wk_encoder_state *state)
{
    sl_free(state->node);
    memset(state, 0, sizeof(*state));
}

static bool narrow(const struct wk_encoder *encoder, int layer)
{
    return encoder->first_only && layer == encoder->layers - 1;
}

/* Rows of mid[layer] and all that follows from it up to sum[layer + 1]. */
static size_t query_rows(const struct wk_encoder *encoder, int layer, size_t rows)
{
    return narrow(encoder, layer) ? rows / encoder->period : rows;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The index-th of the linear layers of one matrix. */
static struct wk_linear_at packed_at(struct wk_linear_at at, size_t index, size_t d)
{
    at.weight += index * d * d;
    at.bias += index * d;
    return at;
}

static struct wk_single_query single_query(const struct wk_encoder *encoder, int layer)
{
    struct wk_linear_at at = encoder->layer[layer].qkv;
    size_t d = encoder->d;
    return (struct wk_single_query){.d = d,
            .length = encoder->period,
            .heads = encoder->heads,
            .query = at,
            .key = packed_at(at, 1, d),
            .value = packed_at(at, 2, d)};
}

/* Floats of queries, keys and values of a layer, or what stands for them; their gradients have as many for each tag. */
static size_t qkv_floats(const struct wk_encoder *encoder, int layer, size_t rows)
{
    struct wk_single_query single = single_query(encoder, layer);
    return narrow(encoder, layer) ? query_rows(encoder, layer, rows) * wk_single_query_floats(&single)
                                  : rows * 3 * encoder->d;
}

/* The first layer is like all but the last. */
static size_t largest_qkv(const struct wk_encoder *encoder, size_t rows)
{
    return larger(qkv_floats(encoder, 0, rows), qkv_floats(encoder, encoder->layers - 1, rows));
}

/* Probabilities that one thread has to do with at a time: of one head of one segment, or of one query. */
static size_t probs_at_once(const struct wk_encoder *encoder)
{
    return encoder->max_length *
           larger(encoder->max_length, encoder->first_only ? (size_t)encoder->heads : 0);
}

static void plan_node(struct wk_encoder_node *node, const struct wk_encoder *encoder, int l, size_t rows,
        bool training, struct wk_arena *kept)
{
    size_t d = encoder->d, node_rows = l > 0 ? query_rows(encoder, l - 1, rows) : rows;
    node->sum = wk_arena_floats(kept, node_rows, d);
    node->h = wk_arena_floats(kept, node_rows, d);
    node->mean = wk_arena_floats(kept, node_rows, 1);
    node->rstd = wk_arena_floats(kept, node_rows, 1);
    if (l == encoder->layers)
        return;
    size_t queries = query_rows(encoder, l, rows);
    size_t per_row = (narrow(encoder, l) ? 1 : encoder->max_length) * (size_t)encoder->heads;
    node->qkv = wk_arena_floats(kept, l > 0 ? qkv_floats(encoder, l, rows) : largest_qkv(encoder, rows), 1);
    node->probs = training ? wk_arena_floats(kept, rows, per_row)
                           : wk_arena_floats(kept, probs_at_once(encoder), 1);
    node->context = wk_arena_floats(kept, queries, d);
    node->mid = wk_arena_floats(kept, queries, d);
    node->hmid = wk_arena_floats(kept, queries, d);
    node->mean_mid = wk_arena_floats(kept, queries, 1);
    node->rstd_mid = wk_arena_floats(kept, queries, 1);
    node->u = wk_arena_floats(
            kept, wk_ffn_kept(&encoder->layer[l].ffn, queries, training), encoder->layer[l].ffn.mid);
    if (training) {
        node->mask_attention = wk_dropout_plan(kept, &encoder->dropout, queries, d);
        node->mask_ffn = wk_dropout_plan(kept, &encoder->dropout, queries, d);
    }
}

void wk_encoder_plan(struct wk_encoder_state *state, const struct wk_encoder *encoder, size_t rows, int tags,
        struct wk_arena *kept, struct wk_arena *scratch)
{
    bool training = tags > 0;
    size_t d = encoder->d, stacked = (size_t)tags * rows;
    for (int l = 0; l <= encoder->layers; l++) {
        /* where no backward comes every layer may overwrite what the one before it left, so these nodes are all the first,
         * which is the largest */
        if (l == 0 || (training && reaches(encoder, l, l < encoder->layers ? STAGE_FFN : STAGE_NORM)))
            plan_node(&state->node[l], encoder, l, rows, training, kept);
        else
            state->node[l] = state->node[0];
    }
    state->mask_embedding = training ? wk_dropout_plan(kept, &encoder->dropout, rows, d) : NULL;
    size_t floats = wk_ffn_scratch(&encoder->layer[0].ffn, tags),
           probs = probs_at_once(encoder) * wk_arena_members(scratch);
    state->scratch = wk_arena_floats(scratch, larger(floats, probs), 1);
    if (!training || wk_encoder_frozen(encoder))
        return;
    state->g = wk_arena_floats(scratch, stacked, d);
    state->d = wk_arena_floats(scratch, stacked, d);
    state->dqkv = wk_arena_floats(scratch, (size_t)tags, largest_qkv(encoder, rows));
    state->dcontext = wk_arena_floats(scratch, stacked, d);
}

/* ---- forward ---- */

/* q, k and v of a layer, as they lie in qkv. */
static struct wk_attention view(const struct wk_encoder *encoder, const struct wk_encoder_state *state, int l)
{
    size_t d = encoder->d;
    const float *qkv = state->node[l].qkv;
    return (struct wk_attention){.q = qkv,
            .k = qkv + d,
            .v = qkv + 2 * d,
            .q_stride = 3 * d,
            .k_stride = 3 * d,
            .q_offset = state->offset,
            .k_offset = state->offset,
            .segments = state->segments,
            .heads = encoder->heads,
            .d = d};
}

/* context of layer l from h[l]. */
static void attend(
        const struct wk_run *run, const struct wk_encoder *encoder, struct wk_encoder_state *state, int l)
{
    struct wk_encoder_node *node = &state->node[l];
    if (narrow(encoder, l)) {
        struct wk_single_query single = single_query(encoder, l);
        wk_single_query_forward(run, &single, node->context, node->qkv, node->probs, node->h,
                query_rows(encoder, l, state->rows));
        return;
    }
    struct wk_attention a = view(encoder, state, l);
    wk_linear_forward(
            run, node->qkv, node->h, encoder->layer[l].qkv, state->rows, 3 * encoder->d, encoder->d);
    wk_attention_forward(run, node->context, node->probs, &a);
}

/* sum = residual + dropout(product + bias) and its norm, where `product` fills rows [r, r + n) of sum: the
 * epilogue of attention. */
static void close_attention(
        const struct wk_run *run, const struct wk_encoder *encoder, struct wk_encoder_state *state, int l)
{
    struct wk_encoder_node *node = &state->node[l];
    const struct wk_encoder_layer *layer = &encoder->layer[l];
    size_t d = encoder->d, rows = query_rows(encoder, l, state->rows), chunk = wk_chunk(d, rows);
    size_t every = narrow(encoder, l) ? encoder->period : 1;
    const float *from = encoder->pre_norm ? node->sum : node->h, *p = run->params;
    const uint8_t *mask = wk_dropout_draw(run, &encoder->dropout, node->mask_attention, l, WK_SITE_ATTENTION,
            state->item_offset, narrow(encoder, l) ? 1 : encoder->per_item, d);
    for (size_t r = 0; r < rows; r += chunk) {
        size_t n = rows - r < chunk ? rows - r : chunk;
        wk_product_forward(
                run, node->mid + r * d, d, node->context + r * d, d, p + layer->out.weight, n, d, d);
        run->v->add_norm(node->mid + r * d, node->hmid + r * d, node->mean_mid + r, node->rstd_mid + r,
                p + layer->out.bias, from + r * every * d, every * d,
                mask == NULL ? NULL : mask + r * ((d + 7) / 8), wk_dropout_scale(encoder->dropout.p),
                p + layer->mid.gamma, p + layer->mid.beta, n, d);
    }
}

static void feed_forward(
        const struct wk_run *run, const struct wk_encoder *encoder, struct wk_encoder_state *state, int l)
{
    struct wk_encoder_node *node = &state->node[l], *next = node + 1;
    const struct wk_ffn *ffn = &encoder->layer[l].ffn;
    size_t d = encoder->d, rows = query_rows(encoder, l, state->rows);
    const float *from = encoder->pre_norm ? node->mid : node->hmid, *p = run->params;
    const uint8_t *mask = wk_dropout_draw(run, &encoder->dropout, node->mask_ffn, l, WK_SITE_FFN,
            state->item_offset, narrow(encoder, l) ? 1 : encoder->per_item, d);
    size_t chunk = wk_chunk(ffn->mid, rows);
    for (size_t r = 0; r < rows; r += chunk) {
        size_t n = rows - r < chunk ? rows - r : chunk;
        float *u = run->training ? node->u + r * ffn->mid : node->u;
        wk_ffn_forward(run, ffn, next->sum + r * d, u, node->hmid + r * d, n, state->scratch);
        run->v->add_norm(next->sum + r * d, next->h + r * d, next->mean + r, next->rstd + r,
                p + ffn->second.bias, from + r * d, d, mask == NULL ? NULL : mask + r * ((d + 7) / 8),
                wk_dropout_scale(encoder->dropout.p), p + encoder->node[l + 1].gamma,
                p + encoder->node[l + 1].beta, n, d);
    }
}

/* A layer ends with the norm of the node behind it. */
static void need_layer(const struct wk_run *run, const struct wk_encoder *encoder, int l)
{
    wk_run_need(run, encoder->layer[l].begin, encoder->node[l + 1].beta + encoder->d);
}

const float *wk_encoder_forward(const struct wk_run *run, const struct wk_encoder *encoder,
        struct wk_encoder_state *state, const int *offset, int segments, const int *item_offset)
{
    struct wk_encoder_node *first = &state->node[0];
    size_t d = encoder->d, rows = (size_t)offset[segments];
    state->offset = offset;
    state->item_offset = item_offset;
    state->segments = segments;
    state->rows = rows;
    need_layer(run, encoder, 0); /* its first norm may be the embeddings' */
    const uint8_t *mask = wk_dropout_draw(run, &encoder->dropout, state->mask_embedding, 0, WK_SITE_EMBEDDING,
            item_offset, encoder->per_item, d);
    float scale = wk_dropout_scale(encoder->dropout.p);
    if (mask != NULL && encoder->pre_norm)
        run->v->drop(first->sum, first->sum, mask, scale, rows, d);
    run->v->norm(first->h, first->mean, first->rstd, first->sum, run->params + encoder->node[0].gamma,
            run->params + encoder->node[0].beta, rows, d);
    if (mask != NULL && !encoder->pre_norm)
        run->v->drop(first->h, first->h, mask, scale, rows, d);
    for (int l = 0; l < encoder->layers; l++) {
        need_layer(run, encoder, l);
        attend(run, encoder, state, l);
        close_attention(run, encoder, state, l);
        feed_forward(run, encoder, state, l);
    }
    return state->node[encoder->layers].h;
}

/* ---- backward ----
 * state->g holds the gradient of the place where the walk is, per tag; state->d that of a branch before it is joined to g. */

/* The gradient before dropout: x itself, or the kept elements of it in `into`. */
static const float *undrop(const struct wk_run *run, const struct wk_encoder *encoder, int tags, float *into,
        const float *x, const uint8_t *mask, size_t rows)
{
    if (!wk_dropout_on(run, &encoder->dropout))
        return x;
    for (size_t t = 0; t < (size_t)tags; t++)
        run->v->drop(into + t * rows * encoder->d, x + t * rows * encoder->d, mask,
                wk_dropout_scale(encoder->dropout.p), rows, encoder->d);
    return into;
}

/* dx = (add: +=) the gradient of x through LayerNorm `at`. */
static void through_norm(const struct wk_run *run, const struct wk_tags *tags, float *dx, const float *dy,
        const float *x, const float *mean, const float *rstd, struct wk_norm_at at, size_t rows, size_t d,
        bool add)
{
    struct wk_targets gamma = wk_targets(tags, at.gamma, at.frozen),
                      beta = wk_targets(tags, at.beta, at.frozen);
    run->v->norm_backward(dx, dy, gamma.at, beta.at, x, mean, rstd, run->params + at.gamma, rows, d,
            tags->count, rows * d, add);
}

/* Inverts feed_forward and the norm of mid: g goes from the gradient of sum[l + 1] to that of mid[l], where the pass goes on. */
static void feed_forward_backward(const struct wk_run *run, const struct wk_tags *tags,
        const struct wk_encoder *encoder, struct wk_encoder_state *state, int l)
{
    struct wk_encoder_node *node = &state->node[l];
    const struct wk_encoder_layer *layer = &encoder->layer[l];
    size_t rows = query_rows(encoder, l, state->rows);
    const float *dy = undrop(run, encoder, tags->count, state->dcontext, state->g, node->mask_ffn, rows);
    bool deeper = reaches(encoder, l, STAGE_MID);
    float *dhmid =
            encoder->pre_norm ? state->d : state->g; /* post-norm: the residual's part is in g already */
    wk_ffn_backward(run, tags, &layer->ffn, deeper ? dhmid : NULL, dy, node->hmid, node->u, rows,
            !encoder->pre_norm, state->scratch);
    if (!deeper)
        return;
    through_norm(run, tags, state->g, dhmid, node->mid, node->mean_mid, node->rstd_mid, layer->mid, rows,
            encoder->d, encoder->pre_norm);
}

/* Inverts attend and the product of close_attention: dh = (add: +=) the gradient of h[l], where the pass goes on. */
static void attention_backward(const struct wk_run *run, const struct wk_tags *tags,
        const struct wk_encoder *encoder, struct wk_encoder_state *state, int l, float *dh, bool add)
{
    struct wk_encoder_node *node = &state->node[l];
    size_t d = encoder->d, rows = state->rows, queries = query_rows(encoder, l, rows);
    const float *da = undrop(run, encoder, tags->count, state->d, state->g, node->mask_attention, queries);
    bool deeper = reaches(encoder, l, STAGE_QKV);
    wk_linear_backward(run, tags, deeper ? state->dcontext : NULL, da, node->context, encoder->layer[l].out,
            queries, d, d, false);
    if (!deeper)
        return;
    if (!reaches(encoder, l, STAGE_NORM))
        dh = NULL;
    if (narrow(encoder, l)) { /* pre-norm: dh holds nothing yet */
        struct wk_single_query single = single_query(encoder, l);
        wk_single_query_backward(run, tags, &single, dh, state->dcontext, node->qkv, node->probs, node->h,
                queries, state->dqkv, state->scratch);
        return;
    }
    struct wk_attention a = view(encoder, state, l);
    struct wk_attention_gradient g = {.dq = state->dqkv,
            .dk = state->dqkv + d,
            .dv = state->dqkv + 2 * d,
            .dq_stride = 3 * d,
            .dk_stride = 3 * d,
            .dq_tag = rows * 3 * d,
            .dk_tag = rows * 3 * d};
    wk_attention_backward(run, tags->count, &g, state->dcontext, node->probs, &a, state->scratch);
    wk_linear_backward(run, tags, dh, state->dqkv, node->h, encoder->layer[l].qkv, rows, 3 * d, d, add);
}

/* From the gradient of mid[l] in g to that of sum[l], where the pass goes on: attention, its projections, the norm of node l and the
 * residual. */
static void node_backward(const struct wk_run *run, const struct wk_tags *tags,
        const struct wk_encoder *encoder, struct wk_encoder_state *state, int l)
{
    struct wk_encoder_node *node = &state->node[l];
    size_t d = encoder->d, rows = state->rows;
    bool pre = encoder->pre_norm;
    attention_backward(run, tags, encoder, state, l, pre ? state->d : state->g, !pre);
    if (!reaches(encoder, l, STAGE_NORM))
        return;
    if (!pre) { /* from[l] = h[l] */
        const float *dh = state->g;
        if (l == 0)
            dh = undrop(run, encoder, tags->count, state->d, state->g, state->mask_embedding, rows);
        through_norm(
                run, tags, state->g, dh, node->sum, node->mean, node->rstd, encoder->node[l], rows, d, false);
        return;
    }
    if (!narrow(encoder, l)) { /* from[l] = sum[l] */
        through_norm(run, tags, state->g, state->d, node->sum, node->mean, node->rstd, encoder->node[l], rows,
                d, true);
        return;
    }
    /* g holds the first rows of the segments only: the residual's part goes to these rows of the whole */
    size_t stacked = (size_t)tags->count * rows / encoder->period;
    through_norm(run, tags, state->d, state->d, node->sum, node->mean, node->rstd, encoder->node[l], rows, d,
            false);
    for (size_t r = 0; r < stacked; r++)
        run->v->axpy(state->d + r * encoder->period * d, state->g + r * d, 1.0F, d);
    float *whole = state->d;
    state->d = state->g;
    state->g = whole;
}

static void layer_backward(const struct wk_run *run, const struct wk_tags *tags,
        const struct wk_encoder *encoder, struct wk_encoder_state *state, int l)
{
    if (reaches(encoder, l, STAGE_FFN))
        feed_forward_backward(run, tags, encoder, state, l);
    if (reaches(encoder, l, STAGE_OUT))
        node_backward(run, tags, encoder, state, l);
}

float *wk_encoder_backward(const struct wk_run *run, const struct wk_tags *tags,
        const struct wk_encoder *encoder, struct wk_encoder_state *state, const float *dh)
{
    int last = encoder->layers;
    struct wk_encoder_node *end = &state->node[last];
    if (!wk_encoder_frozen(encoder))
        through_norm(run, tags, state->g, dh, end->sum, end->mean, end->rstd, encoder->node[last],
                query_rows(encoder, last - 1, state->rows), encoder->d, false);
    for (int l = last - 1; l >= 0; l--) {
        layer_backward(run, tags, encoder, state, l);
        wk_run_reached(run, encoder->layer[l].begin); /* of what is frozen too */
    }
    if (encoder->lowest >= 0)
        return NULL;
    if (encoder->pre_norm && wk_dropout_on(run, &encoder->dropout))
        (void)undrop(run, encoder, tags->count, state->g, state->g, state->mask_embedding, state->rows);
    return state->g;
}

double wk_encoder_flops(const struct wk_encoder *encoder, size_t rows, double squares, int tags)
{
    double flops = 0.0;
    size_t d = encoder->d;
    for (int l = 0; l < encoder->layers; l++) {
        const struct wk_encoder_layer *layer = &encoder->layer[l];
        struct wk_single_query single = single_query(encoder, l);
        size_t queries = query_rows(encoder, l, rows);
        bool goes[STAGES];
        for (int stage = 0; stage < STAGES; stage++)
            goes[stage] = tags == 0 || reaches(encoder, l, (enum stage)stage);
        if (goes[STAGE_FFN])
            flops += wk_ffn_flops(&layer->ffn, queries, tags, goes[STAGE_MID]);
        if (goes[STAGE_OUT])
            flops += wk_linear_flops(layer->out, queries, d, d, tags, goes[STAGE_QKV]);
        if (goes[STAGE_QKV])
            flops += narrow(encoder, l)
                             ? wk_single_query_flops(&single, queries, tags, goes[STAGE_NORM])
                             : wk_linear_flops(layer->qkv, rows, 3 * d, d, tags, goes[STAGE_NORM]) +
                                       (tags == 0 ? 4.0 : 8.0 * tags) * squares * (double)d;
    }
    return flops;
}
