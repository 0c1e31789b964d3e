#pragma once
/* The worker's compute threads: runs of slots become gradients and statistics, runs of validation units become an evaluation.
 *
 *     wk_executor_submit(executor, &action, params);
 *     … wk_executor_fd can be read …
 *     while (wk_executor_take(executor, &result) == SL_OK) …
 *
 * Each thread computes whole slots; the slots of an aligned node are added in the order of the reduction tree, whichever thread finishes first. Where the model is large
 * (or cluster.threads_per_slot says so), threads compute a slot together: worker/model/kernels.h says how that gives the same bits. So the results do not depend on the number of
 * threads. A block of a node is given out as soon as the last of the node's slots has passed the block's layers in its backward pass (finishing.h, joining.h). Memory: about as many gradient buffers as slots are computed at a time, and log2(slots) more.
 *
 * With exchange early, a run of SCORE is the forward pass alone; its activations are kept as far as cluster.activations_mb allows (activations.h), and a run of TRAIN of the same step on the same
 * parameters goes on from there, or does the forward pass again.
 *
 * Every run ends with one result IDLE, after all others: then nothing reads the parameters any more, and the next run may come. A cancelled one too.
 * A failed one does not: a worker that cannot compute leaves.
 * Thread: all functions belong to the loop's thread; buffers in results may be released by any, also after the executor is gone.
 */
#include "common/buffer.h"
#include "common/plan.h"
#include "worker/core.h"
#include "worker/dataset/dataset.h"
#include "worker/model/model.h"

struct wk_executor;

/* Borrowed pointers outlive the executor. */
struct wk_executor_options {
    const struct sl_config *config;
    const struct sl_layout *layout;
    const struct wk_model *model;
    struct wk_dataset *train, *validation; /* validation may be NULL */
    const struct sl_plan_options *plan;    /* of the training set; borrowed for create */
    int threads;                           /* all of them, those that help others counted */
    size_t give_floats; /* blocks leave before their node is whole in groups of so many floats; 0 = SL_BLOCK_FLOATS */
};

enum wk_result_kind {
    WK_RESULT_BLOCKS,     /* of TRAIN: some blocks of a node that is not whole yet */
    WK_RESULT_NODE,       /* the sums of an aligned node of the run; BLOCKS may have brought a part of them */
    WK_RESULT_EVALUATION, /* of a whole validation */
    WK_RESULT_IDLE,       /* nothing is being computed any more */
    WK_RESULT_FAILED      /* status and error say why; told once, nothing comes after it */
};

struct wk_result {
    enum wk_result_kind kind;
    enum sl_status status;      /* FAILED */
    uint64_t run;               /* of the action that asked for it */
    struct sl_node node;        /* BLOCKS, NODE */
    struct sl_step_stats stats; /* NODE */
    struct sl_buffer *
            buffer; /* BLOCKS, NODE: gradients, sl_layout_gradient_floats, of SCORE NULL; EVALUATION: its sums. Owned by the taker. */
    struct sl_buffer
            *blocks; /* BLOCKS: int (block_count,): those that will not change. Owned by the taker. */
    int block_count;
    uint64_t compute_us; /* of all threads together */
    struct sl_spent
            spent; /* NODE: the kinds of compute threads; and how long they waited for parameters, by the clock */
    uint64_t
            hash; /* NODE of a run that asked for it: XXH3-64 of what backward writes and of the statistics */
    struct sl_error error; /* FAILED */
};

void wk_result_fini(struct wk_result *result); /* releases what the taker owns */

/* wk_executor_create starts the threads. Owns: *ret_executor. */
SL_MUST_USE enum sl_status wk_executor_create(
        struct wk_executor **ret_executor, const struct wk_executor_options *options, struct sl_error *err);
/* wk_executor_destroy ends the threads after the slots they are at. All buffers of results must have been released. */
void wk_executor_destroy(struct wk_executor *executor);

/* wk_executor_fd can be read when there may be results. */
int wk_executor_fd(const struct wk_executor *executor);

/* wk_executor_submit starts a WK_ACTION_COMPUTE. None may be going on: IDLE was taken since the last one (asserted). params must not change until IDLE, but for blocks of a run whose parameters are `arriving` that are not `here`: each of them
 * until wk_executor_arrived says that it is there. Batches are read meanwhile, and a forward pass waits before each layer for what that reads.
 * TRAIN and AUDIT compute alike; SKIP gives zeros for its nodes without reading data. */
void wk_executor_submit(struct wk_executor *executor, const struct wk_action *run, const float *params);

/* wk_executor_arrived: this block of the parameters of the run that is going on is there. Each once; all must come, or the run be cancelled. */
void wk_executor_arrived(struct wk_executor *executor, int block);

/* wk_executor_cancel skips what is not begun of the run; what is being computed or waits for parameters is dropped when it is done, and then IDLE comes. Nothing going on: nothing happens. */
void wk_executor_cancel(struct wk_executor *executor);

/* wk_executor_take gives the next result. Errors: AGAIN. */
SL_MUST_USE enum sl_status wk_executor_take(struct wk_executor *executor, struct wk_result *ret_result);

/* wk_executor_busy_us is what all threads together have spent on computing, ever, without waiting for parameters. */
uint64_t wk_executor_busy_us(struct wk_executor *executor);
