#pragma once
/* What one forward or backward hands through all parts of the model, and how gradients are tagged on their
 * way back.
 *
 * Backward carries several gradients of the same activations at once: `tags` matrices stacked as rows, tag t
 * beginning t * rows * n floats after the first. So a product with a weight is one matrix product for all
 * tags, while each tag's weight gradients go to its own flat vector.
 */
#include "common/team.h"
#include "worker/model/arena.h"
#include "worker/model/batch.h"
#include "worker/model/fold.h"
#include "worker/model/place.h"
#include "worker/model/vector.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How far a backward pass has come. It walks through one part of the flat vector (heads, an extractor, the fusion) after the other, from the end of the part to its begin. */
struct wk_walk {
    /* Nothing more is added to [begin, end) of the gradients, of whatever tags. */
    void (*whole)(void *context, size_t begin, size_t end);
    void *context;
    size_t end; /* all that lies behind it within the part was told of */
};

struct wk_run {
    const struct wk_vector *v;
    const float *params; /* flat, as sl_layout orders it */
    const struct wk_batch *batch;
    bool training;
    uint64_t seed, step;  /* keys of dropout */
    struct sl_team *team; /* that works on it; NULL = the caller alone. The bits do not depend on it */
    struct wk_walk *walk; /* of a backward pass */
    /* Of a forward pass whose parameters are still coming: returns when [begin, end) of them may be read. NULL = all are there. */
    void (*need)(void *context, size_t begin, size_t end);
    void *need_context;
};

/* wk_run_need comes before a forward pass reads parameters [begin, end). */
static inline void wk_run_need(const struct wk_run *run, size_t begin, size_t end)
{
    if (run->need != NULL && begin < end)
        run->need(run->need_context, begin, end);
}

/* wk_run_reached says that a backward pass is done with everything from `begin` to the end of the part. Units: floats. */
static inline void wk_run_reached(const struct wk_run *run, size_t begin)
{
    struct wk_walk *walk = run->walk;
    if (begin >= walk->end)
        return;
    walk->whole(walk->context, begin, walk->end);
    walk->end = begin;
}

/* Where gradients go: grads[t] is a flat vector like params, or a folded one, into which tag t's gradients are added. */
struct wk_tags {
    int count; /* 1 or 2 */
    float *grads[WK_TAGS_MAX];
    const struct wk_fold *fold; /* NULL = flat */
};

/* wk_gradient_at is where the gradient of the parameter at `offset` of the flat vector is added to, for one tag. What follows it within a parameter follows it there. */
static inline float *wk_gradient_at(const struct wk_tags *tags, int tag, size_t offset)
{
    return tags->grads[tag] + (tags->fold == NULL ? offset : wk_fold_place(tags->fold, offset));
}

/* A place in the flat vector per tag, as the elementwise kernels take it. */
struct wk_targets {
    float *at[WK_TAGS_MAX];
};

/* frozen: NULL for each tag, for which a kernel sums up nothing. */
static inline struct wk_targets wk_targets(const struct wk_tags *tags, size_t offset, bool frozen)
{
    struct wk_targets targets = {{NULL}};
    for (int t = 0; t < tags->count && !frozen; t++)
        targets.at[t] = wk_gradient_at(tags, t, offset);
    return targets;
}
