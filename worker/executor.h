#pragma once
/* The worker's compute threads: runs of slots become gradients and statistics, runs of validation units become an evaluation.
 *
 *     wk_executor_submit(executor, &action, params);
 *     … wk_executor_fd can be read …
 *     while (wk_executor_take(executor, &result) == SL_OK) …
 *
 * Each thread computes whole slots; the slots of an aligned node are added in the order of the reduction tree, whichever thread finishes first. So the
 * results do not depend on the number of threads. Memory: about threads + log2(slots) gradient buffers of two tags each.
 * Thread: all functions belong to the loop's thread; buffers in results may be released by any.
 */
#include "common/buffer.h"
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
    int threads;
};

struct wk_result {
    enum sl_status status; /* not OK: error says why, nothing else is set */
    enum sl_phase phase;
    struct sl_node node;        /* train */
    struct sl_step_stats stats; /* train */
    struct sl_buffer *
            buffer; /* train: gradients, both tags, two whole flat vectors; validation: sums of the evaluation. Owned by the taker. */
    uint64_t compute_us; /* of all threads together */
    struct sl_error error;
};

/* wk_executor_create starts the threads. Owns: *ret_executor. */
SL_MUST_USE enum sl_status wk_executor_create(
        struct wk_executor **ret_executor, const struct wk_executor_options *options, struct sl_error *err);
/* wk_executor_destroy ends the threads after the slots they are at. All buffers of results must have been released. */
void wk_executor_destroy(struct wk_executor *executor);

/* wk_executor_fd can be read when there may be results. */
int wk_executor_fd(const struct wk_executor *executor);

/* wk_executor_submit starts a WK_ACTION_COMPUTE; the one before must be whole: after a failed run only destroy is left (asserted). params must not change until
 * all its results were taken. */
void wk_executor_submit(struct wk_executor *executor, const struct wk_action *run, const float *params);

/* wk_executor_take gives the next result. Errors: AGAIN. */
SL_MUST_USE enum sl_status wk_executor_take(struct wk_executor *executor, struct wk_result *ret_result);
