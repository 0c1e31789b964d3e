/* Blocks of parameters and their updates: see table.h. */
#include "ps/table.h"

#include "common/memory.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Beyond this the sum of two gradients or a square may leave float's range: as good as infinite. */
#define GRADIENT_MAX 1e36

/* A run of elements of a block that are treated alike. */
struct span {
    size_t offset, count; /* floats, from the block's start */
    bool decay;
    float lr_scale;
};

struct state {
    struct sl_buffer *params; /* NULL: another server's block */
    float *m, *v;
    int64_t version;
    int span_begin, span_end;
};

struct ps_table {
    const struct sl_layout *layout;
    struct ps_optimiser optimiser;
    struct state *blocks; /* (layout->block_count,) */
    struct span *spans;
};

/* Trained parameters that follow each other without a gap and are treated alike make one span; a block may begin
 * and end inside a parameter. */
static int add_spans(
        const struct sl_layout *layout, const struct sl_block *block, struct span *spans, int count)
{
    int first = count;
    size_t block_end = block->offset + block->count;
    for (int p = 0; p < layout->param_count; p++) {
        const struct sl_param *param = &layout->params[p];
        size_t begin = param->offset > block->offset ? param->offset : block->offset;
        size_t end = param->offset + param->count < block_end ? param->offset + param->count : block_end;
        if (begin >= end || param->frozen)
            continue;
        struct span span = {begin - block->offset, end - begin, param->decay, param->lr_scale};
        struct span *last = count > first ? &spans[count - 1] : NULL;
        if (last != NULL && last->decay == span.decay && last->lr_scale == span.lr_scale &&
                last->offset + last->count == span.offset)
            last->count += span.count;
        else
            spans[count++] = span;
    }
    return count;
}

static enum sl_status create_block(struct ps_table *table, int b, struct sl_error *err)
{
    struct state *state = &table->blocks[b];
    size_t count = table->layout->blocks[b].count;
    state->params = sl_buffer_create(count * sizeof(float));
    state->m = sl_alloc_aligned(count, sizeof(float));
    bool second = ps_table_has_second(table);
    if (second)
        state->v = sl_alloc_aligned(count, sizeof(float));
    if (state->params == NULL || state->m == NULL || (second && state->v == NULL))
        return sl_fail(err, SL_NO_MEMORY,
                "out of memory for %zu parameters with their moments: use more servers or a smaller model",
                table->layout->count);
    return SL_OK;
}

enum sl_status ps_table_create(struct ps_table **ret_table, const struct sl_layout *layout,
        const struct ps_optimiser *optimiser, const int *blocks, int block_count, struct sl_error *err)
{
    SL_AUTO(ps_table_destroy_auto) struct ps_table *table = sl_alloc(1, sizeof(*table));
    if (table == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a table");
    table->layout = layout;
    table->optimiser = *optimiser;
    table->blocks = sl_alloc((size_t)layout->block_count, sizeof(*table->blocks));
    /* every block adds at most one piece of a parameter that was begun before it */
    table->spans = sl_alloc((size_t)layout->param_count + (size_t)layout->block_count, sizeof(*table->spans));
    if (table->blocks == NULL || table->spans == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a table of %d blocks", layout->block_count);
    int spans = 0;
    for (int i = 0; i < (blocks == NULL ? layout->block_count : block_count); i++) {
        int b = blocks == NULL ? i : blocks[i];
        assert(b >= 0 && b < layout->block_count && table->blocks[b].params == NULL);
        enum sl_status s = create_block(table, b, err);
        if (s != SL_OK)
            return s;
        table->blocks[b].span_begin = spans;
        spans = add_spans(layout, &layout->blocks[b], table->spans, spans);
        table->blocks[b].span_end = spans;
    }
    *ret_table = SL_TAKE(table);
    return SL_OK;
}

void ps_table_destroy(struct ps_table *table)
{
    if (table == NULL)
        return;
    for (int b = 0; table->blocks != NULL && b < table->layout->block_count; b++) {
        sl_buffer_release(table->blocks[b].params);
        sl_free(table->blocks[b].m);
        sl_free(table->blocks[b].v);
    }
    sl_free(table->blocks);
    sl_free(table->spans);
    sl_free(table);
}

void ps_table_destroy_auto(struct ps_table **table)
{
    ps_table_destroy(*table);
}

/* make_exclusive lets the block's values be written: where messages still hold them, in a copy. */
static enum sl_status make_exclusive(struct state *state, struct sl_error *err)
{
    if (atomic_load_explicit(&state->params->references, memory_order_acquire) == 1)
        return SL_OK;
    struct sl_buffer *copy = sl_buffer_create(state->params->size);
    if (copy == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a block of %zu bytes", state->params->size);
    memcpy(copy->data, state->params->data, copy->size);
    sl_buffer_release(state->params);
    state->params = copy;
    return SL_OK;
}

/* load_moment copies a block's part of a flat vector, or zeros. */
static void load_moment(float *to, const float *flat, const struct sl_block *block)
{
    if (to == NULL)
        return;
    if (flat != NULL)
        memcpy(to, flat + block->offset, block->count * sizeof(float));
    else
        memset(to, 0, block->count * sizeof(float));
}

enum sl_status ps_table_load(struct ps_table *table, const float *params, const float *m, const float *v,
        int64_t version, struct sl_error *err)
{
    for (int b = 0; b < table->layout->block_count; b++) {
        struct state *state = &table->blocks[b];
        const struct sl_block *block = &table->layout->blocks[b];
        if (state->params == NULL)
            continue;
        enum sl_status s = make_exclusive(state, err);
        if (s != SL_OK)
            return s;
        memcpy(state->params->data, params + block->offset, block->count * sizeof(float));
        load_moment(state->m, m, block);
        load_moment(state->v, v, block);
        state->version = version;
    }
    return SL_OK;
}

void ps_table_copy(const struct ps_table *table, float *ret_params, float *ret_m, float *ret_v)
{
    for (int b = 0; b < table->layout->block_count; b++) {
        const struct state *state = &table->blocks[b];
        const struct sl_block *block = &table->layout->blocks[b];
        if (state->params == NULL)
            continue;
        size_t bytes = block->count * sizeof(float);
        memcpy(ret_params + block->offset, state->params->data, bytes);
        if (ret_m != NULL)
            memcpy(ret_m + block->offset, state->m, bytes);
        if (ret_v != NULL && state->v != NULL)
            memcpy(ret_v + block->offset, state->v, bytes);
    }
}

static const float *from(const float *gradient, size_t offset)
{
    return gradient == NULL ? NULL : gradient + offset;
}

/* report_bad finds what the sums only hint at: which parameter, and how many numbers of the block. */
static enum sl_status report_bad(
        const struct ps_table *table, int b, const float *const grads[SL_TAGS], struct sl_error *err)
{
    const struct state *state = &table->blocks[b];
    size_t bad = 0, first = 0;
    for (int s = state->span_begin; s < state->span_end; s++) {
        const struct span *span = &table->spans[s];
        for (size_t i = span->offset; i < span->offset + span->count; i++) {
            bool fine = true;
            for (int tag = 0; tag < SL_TAGS; tag++)
                fine = fine && (grads[tag] == NULL || fabsf(grads[tag][i]) <= (float)GRADIENT_MAX);
            if (!fine && bad++ == 0)
                first = i;
        }
    }
    const char *name = "?";
    for (int p = 0; p < table->layout->param_count; p++) {
        const struct sl_param *param = &table->layout->params[p];
        if (param->offset <= table->layout->blocks[b].offset + first)
            name = param->name;
    }
    return sl_fail(err, SL_DIVERGED,
            "step %lld: %zu numbers of the gradient of %s are not finite: try a lower learning rate, a "
            "longer "
            "warm-up or clipping",
            (long long)state->version, bad, name);
}

enum sl_status ps_table_measure(const struct ps_table *table, int block, const float *const grads[SL_TAGS],
        struct sl_block_sums *ret_sums, struct sl_error *err)
{
    const struct state *state = &table->blocks[block];
    assert(state->params != NULL);
    struct sl_block_sums sums = {0};
    for (int s = state->span_begin; s < state->span_end; s++) {
        const struct span *span = &table->spans[s];
        table->optimiser.kernels->measure(&sums, from(grads[SL_TAG_UNIMODAL], span->offset),
                from(grads[SL_TAG_FUSED], span->offset), span->count);
    }
    /* squares of floats do not overflow a double, so one number that is not finite is all that can make these
     * so */
    const double most = GRADIENT_MAX * GRADIENT_MAX;
    if (!(sums.unimodal2 <= most && sums.fused2 <= most && isfinite(sums.norm2) && isfinite(sums.dot)))
        return report_bad(table, block, grads, err);
    *ret_sums = sums;
    return SL_OK;
}

enum sl_status ps_table_apply(struct ps_table *table, int block, int64_t version,
        const struct sl_commit *commit, const float *const grads[SL_TAGS], struct sl_error *err)
{
    struct state *state = &table->blocks[block];
    assert(state->params != NULL);
    if (state->version != version)
        return sl_fail(err, SL_STALE, "block %d is at version %lld, not %lld", block,
                (long long)state->version, (long long)version);
    enum sl_status status = make_exclusive(state, err);
    if (status != SL_OK)
        return status;
    const struct sl_block *place = &table->layout->blocks[block];
    double coefficient = place->part == SL_PART_EXTRACTOR ? commit->coefficient[place->modality] : 1.0;
    struct ps_optimiser_step step = {version + 1, commit->inverse_weight, commit->clip, commit->rate};
    float *params = state->params->data;
    for (int s = state->span_begin; s < state->span_end; s++) {
        const struct span *span = &table->spans[s];
        step.rate = commit->rate * (double)span->lr_scale;
        struct ps_optimiser_state run = {params + span->offset, state->m + span->offset, state->v};
        if (run.v != NULL)
            run.v += span->offset;
        ps_optimiser_update(&table->optimiser, &step, &run, from(grads[SL_TAG_UNIMODAL], span->offset),
                from(grads[SL_TAG_FUSED], span->offset), span->count, coefficient, span->decay);
    }
    state->version = version + 1;
    return SL_OK;
}

struct sl_buffer *ps_table_share(struct ps_table *table, int block)
{
    assert(table->blocks[block].params != NULL);
    return sl_buffer_retain(table->blocks[block].params);
}

bool ps_table_owns(const struct ps_table *table, int block)
{
    return block >= 0 && block < table->layout->block_count && table->blocks[block].params != NULL;
}

int64_t ps_table_version(const struct ps_table *table, int block)
{
    return table->blocks[block].version;
}

bool ps_table_has_second(const struct ps_table *table)
{
    return table->optimiser.kind == SL_OPTIMISER_ADAMW;
}
