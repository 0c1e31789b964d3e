#pragma once
/* What goes on beside a slot's backward pass: blocks that the pass is done with are scaled (statistics slot), joined with those of other slots (joining.h), and given out when
 * that makes them whole for their node: so gradients leave while backward goes on, last layers first.
 *
 *     wk_finishing_begin(finishing, &(struct wk_finishing_pass){slot, gradients, NULL, coefficients, true});
 *     wk_workspace_tell(workspace, wk_finishing_range, finishing);
 *     wk_model_backward(…);
 *     uint64_t join_us = wk_finishing_us(finishing);
 *
 * A slot whose left sibling is done needs no gradient of its own: its pass writes folded vectors (model/fold.h), whose numbers are added to the sibling's and cleared range by range.
 *
 * Blocks are given in groups of about give_floats, so that a small model has no result more; what is left in the end goes with its node.
 * Thread: one; `give` is called by it, additions are also done by the team.
 */
#include "common/config.h"
#include "common/error.h"
#include "common/layout.h"
#include "common/team.h"
#include "worker/joining.h"
#include "worker/model/fold.h"

struct wk_finishing;

/* Borrowed pointers outlive it. */
struct wk_finishing_options {
    const struct sl_config *config;
    const struct sl_layout *layout;
    struct wk_joining *joining;
    const struct wk_fold *fold; /* of the model */
    struct sl_team *team;       /* NULL = the caller alone */
    size_t give_floats;
    /* These blocks of the slot's cut are whole; blocks (count,) is borrowed for the call. False: they were not taken, and may be given again. */
    bool (*give)(void *context, uint32_t slot, const int *blocks, int count);
    void *context;
};

/* Owns: *ret_finishing. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status wk_finishing_create(struct wk_finishing **ret_finishing,
        const struct wk_finishing_options *options, struct sl_error *err);
void wk_finishing_destroy(struct wk_finishing *finishing); /* NULL is fine */

/* wk_finishing_folded gives the folded gradients of this thread, zero but during a pass; made when first asked for. Shapes: (layout->vectors, fold->floats). NULL: out of memory. */
float *wk_finishing_folded(struct wk_finishing *finishing);

/* A backward pass of a slot that has entered the joining. */
struct wk_finishing_pass {
    uint32_t slot;
    float *gradients; /* (sl_layout_gradient_floats,) that the slot entered with; or the folded ones */
    float *into; /* (sl_layout_gradient_floats,) of its left sibling, to which folded ones are added; NULL = they are not folded */
    const double *
            coefficients; /* (modality_count,): extractors are scaled with them as modulation.scale says; NULL = not */
    bool gives;           /* whether blocks are given out at all */
};

void wk_finishing_begin(struct wk_finishing *finishing, const struct wk_finishing_pass *pass);
/* wk_finishing_range: the pass adds nothing more to [begin, end) of the flat vectors. Each number once. context: the finishing. */
void wk_finishing_range(void *context, size_t begin, size_t end);
/* wk_finishing_us is how long scaling and joining took since begin, by the clock. */
uint64_t wk_finishing_us(const struct wk_finishing *finishing);
