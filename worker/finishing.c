/* Blocks that leave during a backward pass: see finishing.h. */
#include "worker/finishing.h"

#include "common/clock.h"
#include "common/memory.h"

struct wk_finishing {
    struct wk_finishing_options options;
    uint32_t slot;
    float *gradients;
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
    sl_free(f->left);
    sl_free(f->ready);
    sl_free(f->whole);
    sl_free(f->held);
    sl_free(f);
}

void wk_finishing_begin(
        struct wk_finishing *f, uint32_t slot, float *gradients, const double *coefficients, bool gives)
{
    const struct sl_layout *layout = f->options.layout;
    f->slot = slot;
    f->gradients = gradients;
    f->gives = gives;
    f->scales = coefficients != NULL;
    for (int m = 0; f->scales && m < layout->modality_count; m++)
        f->coefficient[m] = (float)coefficients[m];
    f->us = 0;
    f->held_count = 0;
    f->held_floats = 0;
    for (int b = 0; b < layout->block_count; b++)
        f->left[b] = layout->blocks[b].count;
}

static void scale(const struct wk_finishing *f, const struct sl_block *block)
{
    bool both = f->options.config->modulation.scale == SL_SCALE_GRADIENT;
    for (int tag = SL_TAG_UNIMODAL; tag <= (both ? SL_TAG_FUSED : SL_TAG_UNIMODAL); tag++) {
        float *at = f->gradients + sl_layout_gradient_at(f->options.layout, tag, block->offset);
        for (size_t i = 0; i < block->count; i++)
            at[i] *= f->coefficient[block->modality];
    }
}

static void finish_block(void *context, int part, int member)
{
    (void)member;
    struct wk_finishing *f = context;
    const struct sl_block *block = &f->options.layout->blocks[f->ready[part]];
    if (f->scales && block->part == SL_PART_EXTRACTOR)
        scale(f, block);
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
        if (from >= to)
            continue;
        f->left[b] -= to - from;
        if (f->left[b] == 0)
            f->ready[f->ready_count++] = b;
    }
}

void wk_finishing_range(void *context, size_t begin, size_t end)
{
    struct wk_finishing *f = context;
    note_range(f, begin, end);
    if (f->ready_count == 0)
        return;
    int64_t start_us = sl_clock_monotonic_us();
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
