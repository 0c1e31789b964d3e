/* Blocks that leave during a backward pass: see finishing.h. */
#include "worker/finishing.h"

#include "common/clock.h"
#include "common/memory.h"
#include "common/tree.h"

#include <string.h>

struct wk_finishing {
    struct wk_finishing_options options;
    float *folded; /* (layout->vectors, fold->floats), NULL = not needed so far */
    uint32_t slot;
    float *gradients, *into; /* into: of a pass that is folded, else NULL */
    bool scales, gives;
    float coefficient[SL_MODALITIES_MAX];
    uint64_t us;
    size_t *left; /* (block_count,) floats that the pass is not done with */
    /* of a range: blocks that it completes, and what became of them */
    int *ready;           /* (block_count,) */
    unsigned char *whole; /* (block_count,) in the order of ready: whole for the cut too */
    int ready_count;
    /* whole for the cut, not given yet */
    int *held; /* (block_count,) */
    int held_count;
    size_t held_floats;
};

enum sl_status wk_finishing_create(
        struct wk_finishing **ret_finishing, const struct wk_finishing_options *options, struct sl_error *err)
{
    size_t blocks = (size_t)options->layout->block_count;
    struct wk_finishing *f = sl_alloc(1, sizeof(*f));
    if (f == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a compute thread");
    f->options = *options;
    f->left = sl_alloc(blocks, sizeof(*f->left));
    f->ready = sl_alloc(blocks, sizeof(*f->ready));
    f->whole = sl_alloc(blocks, 1);
    f->held = sl_alloc(blocks, sizeof(*f->held));
    if (f->left == NULL || f->ready == NULL || f->whole == NULL || f->held == NULL) {
        wk_finishing_destroy(f);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a compute thread");
    }
    *ret_finishing = f;
    return SL_OK;
}

void wk_finishing_destroy(struct wk_finishing *f)
{
    if (f == NULL)
        return;
    sl_free(f->folded);
    sl_free(f->left);
    sl_free(f->ready);
    sl_free(f->whole);
    sl_free(f->held);
    sl_free(f);
}

float *wk_finishing_folded(struct wk_finishing *f)
{
    if (f->folded == NULL)
        f->folded = sl_alloc_aligned(
                (size_t)f->options.layout->vectors * f->options.fold->floats, sizeof(*f->folded));
    return f->folded;
}

void wk_finishing_begin(struct wk_finishing *f, const struct wk_finishing_pass *pass)
{
    const struct sl_layout *layout = f->options.layout;
    f->slot = pass->slot;
    f->gradients = pass->gradients;
    f->into = pass->into;
    f->gives = pass->gives;
    f->scales = pass->coefficients != NULL;
    for (int m = 0; f->scales && m < layout->modality_count; m++)
        f->coefficient[m] = (float)pass->coefficients[m];
    f->us = 0;
    f->held_count = 0;
    f->held_floats = 0;
    for (int b = 0; b < layout->block_count; b++)
        f->left[b] = layout->blocks[b].count;
}

/* What the slot's gradients of a tag are multiplied with: 1, but in extractors. */
static float factor_of(const struct wk_finishing *f, const struct sl_block *block, int tag)
{
    bool both = f->options.config->modulation.scale == SL_SCALE_GRADIENT;
    if (!f->scales || block->part != SL_PART_EXTRACTOR || (tag == SL_TAG_FUSED && !both))
        return 1.0F;
    return f->coefficient[block->modality];
}

static void scale(float *x, size_t count, float factor)
{
    for (size_t i = 0; factor != 1.0F && i < count; i++)
        x[i] *= factor;
}

/* ---- folded gradients ---- */

#define UNFOLD_PART ((size_t)1 << 16) /* floats: enough to be worth a thread's while */

/* A run of one tag's folded gradient that goes to the sibling's; of frozen blocks it goes nowhere. */
struct unfolding {
    float *from, *to; /* to NULL = nowhere */
    size_t count;
    float factor;
};

static void unfold_part(void *context, int part, int member)
{
    (void)member;
    const struct unfolding *u = context;
    size_t begin = (size_t)part * UNFOLD_PART, left = u->count - begin,
           now = left < UNFOLD_PART ? left : UNFOLD_PART;
    if (u->to != NULL) {
        scale(u->from + begin, now, u->factor);
        sl_vector_add(u->to + begin, u->from + begin, now);
    }
    memset(u->from + begin, 0, now * sizeof(*u->from));
}

static int block_at(const struct sl_layout *layout, size_t offset)
{
    int b = 0;
    while (layout->blocks[b].offset + layout->blocks[b].count <= offset)
        b++;
    return b;
}

/* The end of the blocks from b on that are frozen as b is, or trained as b is. */
static size_t end_of_alike(const struct sl_layout *layout, int b)
{
    int end = b;
    while (end < layout->block_count && layout->blocks[end].frozen == layout->blocks[b].frozen)
        end++;
    return layout->blocks[end - 1].offset + layout->blocks[end - 1].count;
}

/* [begin, end) lies within one range of the fold, and so within one part of the model; all its blocks are frozen, or none. */
static void unfold_run(const struct wk_finishing *f, const struct sl_block *block, size_t begin, size_t end)
{
    const struct sl_layout *layout = f->options.layout;
    const struct wk_fold *fold = f->options.fold;
    for (int tag = 0; tag < SL_TAGS; tag++) {
        size_t vector = layout->vectors == 1 ? 0 : (size_t)tag * fold->floats;
        float *to = f->into + sl_layout_gradient_at(layout, tag, begin);
        struct unfolding u = {f->gradients + vector + wk_fold_place(fold, begin), block->frozen ? NULL : to,
                end - begin, factor_of(f, block, tag)};
        if (block->tagged[tag])
            sl_team_run(f->options.team, (int)((u.count + UNFOLD_PART - 1) / UNFOLD_PART), unfold_part, &u);
    }
}

static void unfold(const struct wk_finishing *f, size_t begin, size_t end)
{
    const struct sl_layout *layout = f->options.layout;
    const struct wk_fold *fold = f->options.fold;
    while (begin < end) {
        int b = block_at(layout, begin);
        size_t range_end = fold->begin[wk_fold_range(fold, begin) + 1], to = end_of_alike(layout, b);
        to = to < range_end ? to : range_end;
        to = to < end ? to : end;
        unfold_run(f, &layout->blocks[b], begin, to);
        begin = to;
    }
}

/* ---- blocks ---- */

static void finish_block(void *context, int part, int member)
{
    (void)member;
    struct wk_finishing *f = context;
    const struct sl_block *block = &f->options.layout->blocks[f->ready[part]];
    for (int tag = 0; tag < SL_TAGS && f->into == NULL; tag++)
        if (block->tagged[tag])
            scale(f->gradients + sl_layout_gradient_at(f->options.layout, tag, block->offset), block->count,
                    factor_of(f, block, tag));
    f->whole[part] = wk_joining_add(f->options.joining, f->slot, f->ready[part]);
}

/* Counts the range down in the blocks that it touches; the latest layers' blocks come first. */
static void note_range(struct wk_finishing *f, size_t begin, size_t end)
{
    const struct sl_layout *layout = f->options.layout;
    f->ready_count = 0;
    for (int b = layout->block_count - 1; b >= 0; b--) {
        size_t from = layout->blocks[b].offset, to = from + layout->blocks[b].count;
        from = from > begin ? from : begin;
        to = to < end ? to : end;
        if (from >= to || layout->blocks[b].frozen)
            continue;
        f->left[b] -= to - from;
        if (f->left[b] == 0)
            f->ready[f->ready_count++] = b;
    }
}

void wk_finishing_range(void *context, size_t begin, size_t end)
{
    struct wk_finishing *f = context;
    int64_t start_us = sl_clock_monotonic_us();
    if (f->into != NULL)
        unfold(f, begin, end);
    note_range(f, begin, end);
    if (f->ready_count > 0)
        sl_team_run(f->options.team, f->ready_count, finish_block, f);
    f->us += (uint64_t)(sl_clock_monotonic_us() - start_us);
    for (int i = 0; i < f->ready_count; i++) {
        if (!f->whole[i])
            continue;
        f->held[f->held_count++] = f->ready[i];
        f->held_floats += f->options.layout->blocks[f->ready[i]].count;
    }
    if (!f->gives || f->held_count == 0 || f->held_floats < f->options.give_floats)
        return;
    if (f->options.give(f->options.context, f->slot, f->held, f->held_count)) {
        f->held_count = 0;
        f->held_floats = 0;
    }
}

uint64_t wk_finishing_us(const struct wk_finishing *f)
{
    return f->us;
}
