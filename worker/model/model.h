#pragma once
/* The model of docs/design.md: extractors, unimodal heads, cross-attention fusion; forward and hand-written backward.
 *
 * A model is an immutable plan (shapes and offsets into the flat parameter vector of sl_layout). A workspace holds the activations and
 * scratch of one batch: one per compute thread, planned once; forward and backward allocate nothing.
 *
 *     wk_model_forward(model, params, batch, &mode, workspace, &stats);
 *     wk_model_backward(model, params, batch, workspace, grads);
 *
 * Thread: a model may be shared; a workspace belongs to one thread at a time. The bits depend on params, batch, mode and the CPU's
 * instruction set, never on threads.
 */
#include "common/config.h"
#include "common/error.h"
#include "common/layout.h"
#include "common/stats.h"
#include "common/team.h"
#include "worker/model/batch.h"
#include "worker/model/fold.h"

#include <stdbool.h>
#include <stdint.h>

struct wk_model;
struct wk_workspace;

struct wk_mode {
    bool training;              /* dropout on, activations kept for backward */
    uint64_t seed;              /* of the config */
    uint64_t step;              /* dropout is keyed by (seed, step, sample, site) */
    const float *class_weights; /* (K,) or NULL = 1 */
};

/* wk_model_create plans the model. config and layout must outlive it. Owns: *ret_model. */
SL_MUST_USE enum sl_status wk_model_create(struct wk_model **ret_model, const struct sl_config *config,
        const struct sl_layout *layout, struct sl_error *err);
void wk_model_destroy(struct wk_model *model);
/* wk_model_fold borrows how gradients are folded. */
const struct wk_fold *wk_model_fold(const struct wk_model *model);

/* wk_workspace_create plans memory for batches of up to capacity samples; training = false keeps no activations for backward. With exchange early there is room for
 * wk_model_backward_early alone. Errors: NO_MEMORY with the
 * bytes that were wanted. Owns: *ret_workspace. */
SL_MUST_USE enum sl_status wk_workspace_create(struct wk_workspace **ret_workspace,
        const struct wk_model *model, int capacity, bool training, struct sl_error *err);
/* wk_workspace_create_for is wk_workspace_create for teams of up to `threads` threads. */
SL_MUST_USE enum sl_status wk_workspace_create_for(struct wk_workspace **ret_workspace,
        const struct wk_model *model, int capacity, bool training, int threads, struct sl_error *err);
/* wk_workspace_use_team lets a team work on every batch from now on: on its products and the heads of its attention. The bits are those of one thread. NULL = the
 * caller alone, as at first. Borrows team, which has no more threads than the workspace was created for (asserted). */
void wk_workspace_use_team(struct wk_workspace *workspace, struct sl_team *team);
/* wk_workspace_tell lets the next backward passes say which gradients are whole while they go on: whole(context, begin, end) is called by the thread of the pass when nothing more will be added to
 * [begin, end) of the flat vectors. The ranges of a pass cover [0, count), each number once: heads, fusion, then the extractors from the last one's last layer to the first one's embeddings. NULL = nobody, as at first. */
void wk_workspace_tell(struct wk_workspace *workspace, void (*whole)(void *context, size_t begin, size_t end),
        void *context);
/* wk_workspace_await lets the next forward passes begin before all parameters are there: need(context, begin, end) is called by the thread of the pass before it reads [begin, end) of them, and returns
 * when it may: extractors in order, each with its head behind it, then the fusion; in the end all of [0, count). NULL = they are there, as at first. */
void wk_workspace_await(
        struct wk_workspace *workspace, void (*need)(void *context, size_t begin, size_t end), void *context);
/* wk_workspace_fold lets the next backward passes write folded vectors (fold.h), of wk_model_fold(model)->floats each, in place of flat ones. They must be zero when a pass begins; whoever is told of a range (wk_workspace_tell) takes it out
 * of them and leaves zeros. */
void wk_workspace_fold(struct wk_workspace *workspace, bool folded);
void wk_workspace_destroy(struct wk_workspace *workspace);
size_t wk_workspace_size(const struct wk_workspace *workspace); /* bytes */

/* wk_model_forward computes logits, losses (sums, class-weighted and smoothed, not yet times loss.weight) and scores. Shapes: params (layout->count,). Labels may be WK_LABEL_NONE when not
 * training: such samples add nothing to losses. batch->count >= 1. */
void wk_model_forward(const struct wk_model *model, const float *params, const struct wk_batch *batch,
        const struct wk_mode *mode, struct wk_workspace *workspace, struct sl_step_stats *ret_stats);

/* wk_model_logits borrows the logits of the last forward until the next. Shapes: (B, K). branch: modality, or modality_count = fused. */
const float *wk_model_logits(const struct wk_workspace *workspace, int branch);

/* wk_model_backward adds the gradients of the SUMS of losses over the batch, each times its loss.weight, into grads.
 * grads[SL_TAG_UNIMODAL]: flat vector of which [0, extractor_end) is written: unimodal branches on heads and extractors.
 * grads[SL_TAG_FUSED]: flat vector of which [head_end, count) is written: the fused branch on extractors and fusion.
 * Of frozen parameters nothing is computed and the gradients stay as they were, but where a frozen one is part of one matrix or norm with one that trains.
 * Both pointers are to offset 0 of a whole flat vector, or of a folded one (wk_workspace_fold). Must follow a training forward of the same batch in the same workspace. */
void wk_model_backward(const struct wk_model *model, const float *params, const struct wk_batch *batch,
        struct wk_workspace *workspace, float *const grads[SL_TAGS]);

/* wk_model_backward_early is one backward for all branches, where the coefficients are known: each unimodal branch enters its extractor times its coefficient, heads are
 * not scaled. Equals the tags' modulated sum to rounding. Shapes: coefficients (modality_count,), grads (layout->count,), added into. */
void wk_model_backward_early(const struct wk_model *model, const float *params, const struct wk_batch *batch,
        struct wk_workspace *workspace, const double *coefficients, float *grads);

/* wk_model_flops counts the floating-point operations (2 m n k) of the matrix products of one forward of the batch (tags 0), or of one backward: with SL_TAGS
 * tags, or of wk_model_backward_early (1). Those that are really done, on what is present. For benchmarks. */
double wk_model_flops(const struct wk_model *model, const struct wk_batch *batch, int tags);
