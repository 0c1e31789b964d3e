/* Blocks of parameters and their updates: see table.h. */
#include "ps/table.h"

#include "common/encoding.h"
#include "common/memory.h"
#include "common/tree.h"
#include "ps/changes.h"

#include <assert.h>
#include <math.h>
#include <stdalign.h>
#include <stdint.h>
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
    bool owned;                  /* else another server's */
    struct ps_block_state holds; /* all NULL until load or put */
    int64_t version;
    int64_t changed; /* the version at which values changed last, as far as that is known without looking at lines */
    struct ps_changes *changes; /* of a block with rows of tables, else NULL */
    int span_begin, span_end;
    struct sl_block_change change; /* of the last update */
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
        assert(b >= 0 && b < layout->block_count && !table->blocks[b].owned);
        table->blocks[b].owned = true;
        table->blocks[b].span_begin = spans;
        spans = add_spans(layout, &layout->blocks[b], table->spans, spans);
        table->blocks[b].span_end = spans;
        enum sl_status status = layout->blocks[b].sparse ? ps_changes_create(&table->blocks[b].changes,
                                                                   layout->blocks[b].count, err)
                                                         : SL_OK;
        if (status != SL_OK)
            return status;
    }
    *ret_table = SL_TAKE(table);
    return SL_OK;
}

void ps_table_destroy(struct ps_table *table)
{
    if (table == NULL)
        return;
    for (int b = 0; table->blocks != NULL && b < table->layout->block_count; b++) {
        ps_block_state_fini(&table->blocks[b].holds);
        ps_changes_destroy(table->blocks[b].changes);
    }
    sl_free(table->blocks);
    sl_free(table->spans);
    sl_free(table);
}

void ps_table_destroy_auto(struct ps_table **table)
{
    ps_table_destroy(*table);
}

void ps_block_state_fini(struct ps_block_state *state)
{
    sl_buffer_release(state->params);
    sl_buffer_release(state->m);
    sl_buffer_release(state->v);
    *state = (struct ps_block_state){0};
}

/* replace gives the block other buffers. Owns: takes them. */
static void replace(struct state *state, struct ps_block_state *with, int64_t version)
{
    ps_block_state_fini(&state->holds);
    state->holds = *with;
    state->version = state->changed = version;
    if (state->changes != NULL)
        ps_changes_begin(state->changes, version);
    *with = (struct ps_block_state){0};
}

/* copy_of gives a buffer of our own with these bytes, NULL = zeros; or NULL. */
static struct sl_buffer *copy_of(const void *bytes, size_t size)
{
    struct sl_buffer *copy = bytes == NULL ? sl_buffer_create(size) : sl_buffer_create_unset(size);
    if (copy != NULL && bytes != NULL)
        memcpy(copy->data, bytes, size);
    return copy;
}

static enum sl_status check_memory(
        const struct ps_table *table, const struct ps_block_state *state, size_t size, struct sl_error *err)
{
    bool second = ps_table_has_second(table);
    if (state->params != NULL && state->m != NULL && (state->v != NULL || !second))
        return SL_OK;
    return sl_fail(err, SL_NO_MEMORY,
            "out of memory for a block of %zu bytes with its moments: use more servers or a smaller model",
            size * (second ? 3 : 2));
}

/* ---- load, put ---- */

enum sl_status ps_table_load(struct ps_table *table, const float *params, const float *m, const float *v,
        int64_t version, struct sl_error *err)
{
    for (int b = 0; b < table->layout->block_count; b++) {
        if (!table->blocks[b].owned)
            continue;
        size_t at = table->layout->blocks[b].offset, size = table->layout->blocks[b].count * sizeof(float);
        SL_AUTO(ps_block_state_fini)
        struct ps_block_state new = {
                .params = copy_of(params + at, size), .m = copy_of(m == NULL ? NULL : m + at, size)};
        if (ps_table_has_second(table))
            new.v = copy_of(v == NULL ? NULL : v + at, size);
        enum sl_status status = check_memory(table, &new, size, err);
        if (status != SL_OK)
            return status;
        replace(&table->blocks[b], &new, version);
    }
    return SL_OK;
}

/* take_frame gives the frame's buffer where it holds just this and is aligned for floats, else a copy; zeros for none; or NULL. */
static struct sl_buffer *take_frame(const struct sl_frame *frame, size_t size)
{
    if (frame == NULL || frame->buffer == NULL)
        return copy_of(NULL, size);
    if (frame->data != frame->buffer->data || frame->buffer->size != size ||
            (uintptr_t)frame->data % alignof(float) != 0)
        return copy_of(frame->data, size);
    return sl_buffer_retain(frame->buffer);
}

static enum sl_status check_size(const struct sl_frame *frame, int block, size_t size, struct sl_error *err)
{
    if (frame == NULL || frame->buffer == NULL || frame->size == size)
        return SL_OK;
    return sl_fail(
            err, SL_BAD_DATA, "block %d came with %zu bytes, the layout says %zu", block, frame->size, size);
}

enum sl_status ps_table_put(struct ps_table *table, int block, const struct sl_frame *params,
        const struct sl_frame *m, const struct sl_frame *v, int64_t version, struct sl_error *err)
{
    assert(ps_table_owns(table, block));
    size_t size = table->layout->blocks[block].count * sizeof(float);
    bool second = ps_table_has_second(table);
    if (params->buffer == NULL)
        return sl_fail(err, SL_BAD_DATA, "block %d came without values", block);
    enum sl_status status = check_size(params, block, size, err);
    if (status == SL_OK)
        status = check_size(m, block, size, err);
    if (status == SL_OK && second)
        status = check_size(v, block, size, err);
    if (status != SL_OK)
        return status;
    SL_AUTO(ps_block_state_fini)
    struct ps_block_state new = {take_frame(params, size), take_frame(m, size), NULL};
    if (second)
        new.v = take_frame(v, size);
    status = check_memory(table, &new, size, err);
    if (status == SL_OK)
        replace(&table->blocks[block], &new, version);
    return status;
}

void ps_table_copy(const struct ps_table *table, float *ret_params, float *ret_m, float *ret_v)
{
    for (int b = 0; b < table->layout->block_count; b++) {
        const struct ps_block_state *holds = &table->blocks[b].holds;
        const struct sl_block *block = &table->layout->blocks[b];
        if (!ps_table_loaded(table, b))
            continue;
        size_t bytes = block->count * sizeof(float);
        memcpy(ret_params + block->offset, holds->params->data, bytes);
        if (ret_m != NULL)
            memcpy(ret_m + block->offset, holds->m->data, bytes);
        if (ret_v != NULL && holds->v != NULL)
            memcpy(ret_v + block->offset, holds->v->data, bytes);
    }
}

/* ---- measure, apply ---- */

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

/* A block is measured in parts, each a quarter of it, whose sums are then added in order: what four threads can do apart, one does alone in the same way. */
#define PARTS 4
#define PART_ALIGNMENT 16 /* floats: a cache line, so that two threads do not write into one */

struct measuring {
    const struct ps_table *table;
    int block;
    const struct ps_last_sum *last;
    struct sl_block_sums sums[PARTS];
};

static float *into(float *sum, size_t offset)
{
    return sum == NULL ? NULL : sum + offset;
}

static void add_tag(float *sum, const float *from, const float *more, size_t count)
{
    if (more == NULL)
        return;
    if (from == NULL)
        sl_vector_add(sum, more, count);
    else
        sl_vector_sum(sum, from, more, count);
}

/* One run of a part. Tags that are not added alike (a node without samples) are added before they are measured. */
static void measure_run(
        const struct measuring *measuring, struct sl_block_sums *sums, size_t offset, size_t count)
{
    const struct ps_kernels *kernels = measuring->table->optimiser.kernels;
    const struct ps_last_sum *last = measuring->last;
    float *u = into(last->sum[SL_TAG_UNIMODAL], offset), *f = into(last->sum[SL_TAG_FUSED], offset);
    const float *more_u = from(last->more[SL_TAG_UNIMODAL], offset),
                *more_f = from(last->more[SL_TAG_FUSED], offset),
                *from_u = from(last->from[SL_TAG_UNIMODAL], offset),
                *from_f = from(last->from[SL_TAG_FUSED], offset);
    bool alike = u == NULL || f == NULL || (from_u == NULL) == (from_f == NULL);
    if (alike && (u == NULL || more_u != NULL) && (f == NULL || more_f != NULL)) {
        kernels->add_measure(sums, u, from_u, more_u, f, from_f, more_f, count);
        return;
    }
    add_tag(u, from_u, more_u, count);
    add_tag(f, from_f, more_f, count);
    kernels->measure(sums, u, f, count);
}

static size_t part_begin(size_t count, int part)
{
    return part == PARTS ? count : count / PARTS / PART_ALIGNMENT * PART_ALIGNMENT * (size_t)part;
}

static void measure_part(void *context, int part, int member)
{
    (void)member;
    struct measuring *measuring = context;
    const struct ps_table *table = measuring->table;
    const struct state *state = &table->blocks[measuring->block];
    size_t count = table->layout->blocks[measuring->block].count;
    size_t part_from = part_begin(count, part), part_end = part_begin(count, part + 1);
    for (int s = state->span_begin; s < state->span_end; s++) {
        const struct span *span = &table->spans[s];
        size_t begin = span->offset > part_from ? span->offset : part_from;
        size_t end = span->offset + span->count < part_end ? span->offset + span->count : part_end;
        if (begin < end)
            measure_run(measuring, &measuring->sums[part], begin, end - begin);
    }
}

enum sl_status ps_table_add_measure(const struct ps_table *table, struct sl_team *team, int block,
        const struct ps_last_sum *last, struct sl_block_sums *ret_sums, struct sl_error *err)
{
    assert(table->blocks[block].owned);
    struct measuring measuring = {.table = table, .block = block, .last = last};
    sl_team_run(team, PARTS, measure_part, &measuring);
    struct sl_block_sums sums = measuring.sums[0];
    for (int part = 1; part < PARTS; part++) {
        sums.norm2 += measuring.sums[part].norm2;
        sums.dot += measuring.sums[part].dot;
        sums.unimodal2 += measuring.sums[part].unimodal2;
        sums.fused2 += measuring.sums[part].fused2;
    }
    /* squares of floats do not overflow a double, so one number that is not finite is all that can make these
     * so */
    const double most = GRADIENT_MAX * GRADIENT_MAX;
    if (!(sums.unimodal2 <= most && sums.fused2 <= most && isfinite(sums.norm2) && isfinite(sums.dot)))
        return report_bad(table, block, (const float *const[SL_TAGS]){last->sum[0], last->sum[1]}, err);
    *ret_sums = sums;
    return SL_OK;
}

enum sl_status ps_table_measure(const struct ps_table *table, int block, const float *const grads[SL_TAGS],
        struct sl_block_sums *ret_sums, struct sl_error *err)
{
    /* nothing is added, so nothing is written */
    struct ps_last_sum last = {
            .sum = {(float *)(uintptr_t)grads[SL_TAG_UNIMODAL], (float *)(uintptr_t)grads[SL_TAG_FUSED]}};
    return ps_table_add_measure(table, NULL, block, &last, ret_sums, err);
}

/* make_exclusive lets a buffer be written: one that others hold, or whose memory is not ours, becomes a copy. */
static enum sl_status make_exclusive(struct sl_buffer **buffer, struct sl_error *err)
{
    struct sl_buffer *old = *buffer;
    if (old == NULL ||
            (atomic_load_explicit(&old->references, memory_order_acquire) == 1 && old->free_data == NULL))
        return SL_OK;
    struct sl_buffer *copy = copy_of(old->data, old->size);
    if (copy == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a block of %zu bytes", old->size);
    *buffer = copy;
    sl_buffer_release(old);
    return SL_OK;
}

/* Of an update all that does not depend on where in the block it is. */
struct applying {
    const struct ps_optimiser *optimiser;
    struct ps_optimiser_step step;
    struct ps_optimiser_factors factors;
    const float *const *grads;
    unsigned char *lines; /* those that change get a bit; NULL = nobody asks */
    struct sl_block_change change;
};

#define COMPARED ((size_t)PS_OPTIMISER_CHUNK) /* floats that are still in cache when they are compared */

/* One run of a span: the numbers from `offset` of the block. */
static void apply_run(
        struct applying *a, const struct ps_optimiser_state *state, size_t offset, size_t n, bool decay)
{
    float before[COMPARED];
    struct ps_optimiser_state at = {
            state->params + offset, state->m + offset, state->v == NULL ? NULL : state->v + offset};
    if (a->lines != NULL)
        memcpy(before, at.params, n * sizeof(*before));
    ps_optimiser_update(a->optimiser, &a->step, &at, from(a->grads[SL_TAG_UNIMODAL], offset),
            from(a->grads[SL_TAG_FUSED], offset), n, &a->factors, decay, &a->change);
    if (a->lines != NULL)
        ps_changes_compare(a->lines, offset, before, at.params, n);
}

/* Where weight decay applies, it moves nearly every number at every step. */
static void apply_span(struct applying *a, const struct ps_optimiser_state *state, const struct span *span)
{
    unsigned char *lines = a->lines;
    bool decays = span->decay && a->optimiser->weight_decay > 0.0;
    if (lines != NULL && decays) {
        ps_changes_mark(lines, span->offset, span->count);
        a->lines = NULL;
    }
    size_t most = a->lines != NULL ? COMPARED : span->count;
    for (size_t done = 0; done < span->count; done += most)
        apply_run(a, state, span->offset + done, span->count - done < most ? span->count - done : most,
                span->decay);
    a->lines = lines;
}

enum sl_status ps_table_apply(struct ps_table *table, int block, int64_t version,
        const struct sl_commit *commit, const float *const grads[SL_TAGS], struct sl_error *err)
{
    assert(ps_table_loaded(table, block));
    struct state *state = &table->blocks[block];
    if (state->version != version)
        return sl_fail(err, SL_STALE, "block %d is at version %lld, not %lld", block,
                (long long)state->version, (long long)version);
    if (state->span_begin == state->span_end) { /* frozen: others may hold its values for ever */
        state->version = version + 1;
        return SL_OK;
    }
    /* what is copied here is in cache for the update that follows */
    enum sl_status status = make_exclusive(&state->holds.params, err);
    if (status == SL_OK)
        status = make_exclusive(&state->holds.m, err);
    if (status == SL_OK)
        status = make_exclusive(&state->holds.v, err);
    if (status != SL_OK)
        return status;
    const struct sl_block *place = &table->layout->blocks[block];
    struct applying applying = {.optimiser = &table->optimiser,
            .step = {version + 1, commit->inverse_weight, commit->clip, commit->rate},
            .factors = PS_OPTIMISER_PLAIN,
            .grads = grads,
            .lines = state->changes == NULL ? NULL : ps_changes_next(state->changes)};
    if (place->part == SL_PART_EXTRACTOR)
        applying.factors = (struct ps_optimiser_factors){commit->coefficient[place->modality],
                commit->fused[place->modality], commit->update[place->modality]};
    struct ps_optimiser_state whole = {state->holds.params->data, state->holds.m->data,
            state->holds.v == NULL ? NULL : state->holds.v->data};
    for (int s = state->span_begin; s < state->span_end; s++) {
        applying.step.rate = commit->rate * (double)table->spans[s].lr_scale;
        apply_span(&applying, &whole, &table->spans[s]);
    }
    state->version = state->changed = version + 1;
    state->change = applying.change;
    return SL_OK;
}

bool ps_table_changed_since(const struct ps_table *table, int block, int64_t held, unsigned char *ret_lines)
{
    const struct state *state = &table->blocks[block];
    if (held > state->version)
        return false;
    memset(ret_lines, 0, sl_encoding_bitmap_size(table->layout->blocks[block].count));
    return held >= state->changed ||
           (state->changes != NULL && ps_changes_since(state->changes, held, ret_lines));
}

struct sl_block_change ps_table_change(const struct ps_table *table, int block)
{
    return table->blocks[block].change;
}

struct sl_buffer *ps_table_share(const struct ps_table *table, int block)
{
    assert(ps_table_loaded(table, block));
    return sl_buffer_retain(table->blocks[block].holds.params);
}

struct ps_block_state ps_table_capture(const struct ps_table *table, int block)
{
    assert(ps_table_loaded(table, block));
    struct ps_block_state state = table->blocks[block].holds;
    (void)sl_buffer_retain(state.params);
    (void)sl_buffer_retain(state.m);
    if (state.v != NULL)
        (void)sl_buffer_retain(state.v);
    return state;
}

bool ps_table_owns(const struct ps_table *table, int block)
{
    return block >= 0 && block < table->layout->block_count && table->blocks[block].owned;
}

bool ps_table_loaded(const struct ps_table *table, int block)
{
    return ps_table_owns(table, block) && table->blocks[block].holds.params != NULL;
}

int64_t ps_table_version(const struct ps_table *table, int block)
{
    return table->blocks[block].version;
}

bool ps_table_has_second(const struct ps_table *table)
{
    return table->optimiser.kind == SL_OPTIMISER_ADAMW;
}
