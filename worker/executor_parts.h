#pragma once
/* What the parts of the executor share. executor.c: threads, runs, results. units.c: what a thread does with a slot of training, a node that is skipped, a unit of validation. */
#include "common/evaluation.h"
#include "common/random.h"
#include "worker/activations.h"
#include "worker/arrivals.h"
#include "worker/dataset/sampler.h"
#include "worker/executor.h"
#include "worker/finishing.h"
#include "worker/gradient_pool.h"
#include "worker/joining.h"

#include <pthread.h>

#define WK_CUTS_MAX 64 /* aligned nodes that make up a run: at most two a level */

struct compute_thread {
    struct wk_executor *executor;
    pthread_t handle;
    bool started;
    struct sl_team *team; /* that computes its slots with it, NULL = none */
    struct wk_activations own;
    struct wk_finishing *finishing;
    struct sl_evaluation *evaluation;
    uint64_t *indices;  /* (slot_size,) */
    uint64_t waited_us; /* of the unit that it is at: for parameters, by the clock */
};

struct result_link {
    struct wk_result result;
    struct result_link *next;
};

struct wk_executor {
    struct wk_executor_options options;
    struct compute_thread *threads; /* (thread_count,) */
    int thread_count;               /* that claim slots; their teams have options.threads together */
    struct wk_gradient_pool *pool;
    struct wk_joining *joining; /* of the gradients of slots that are computed */
    struct wk_arrivals *arrivals;
    struct wk_kept *kept; /* NULL: exchange tagged */
    struct wk_sampler *train_order, *validation_order;
    float *class_weights; /* (K,), NULL = all 1 */
    int event_fd;
    pthread_mutex_t lock;
    pthread_cond_t work;
    /* under the lock */
    struct wk_action run;
    const float *params;
    uint32_t next, end; /* units to claim: slots, of SKIP places in cuts, of VALIDATE runs of samples */
    uint32_t unmerged;  /* units of validation that are not in `evaluation` yet */
    int computing;      /* units that threads are at */
    bool going;         /* from submit until IDLE is told */
    bool cancelled, failed, leaving;
    uint64_t busy_us;
    struct sl_node cuts[WK_CUTS_MAX];
    int cut_count;
    struct sl_evaluation *evaluation;
    uint64_t validation_us;
    struct result_link *first, **last;
    struct result_link reserve; /* for the news that memory is out */
};

/* ---- executor.c; all of them with the lock held ---- */

/* wk_executor_give hands a result out. One that there is no memory for fails the run; that much can always be said. Owns: takes what the result owns. */
void wk_executor_give(struct wk_executor *executor, const struct wk_result *result);
/* wk_executor_fail ends the run with the first of its errors. */
void wk_executor_fail(struct wk_executor *executor, enum sl_status status, const struct sl_error *error);

/* ---- units.c; all of them without the lock ---- */

/* wk_unit_compute does a unit of the run, of count samples whose numbers are in t->indices. The run stays as it is while a unit of it is computed: only then may it be read without the lock. Errors: AGAIN for a unit that is dropped. */
SL_MUST_USE enum sl_status wk_unit_compute(
        struct compute_thread *t, uint32_t unit, int count, struct sl_error *err);
/* wk_unit_give_blocks is wk_finishing_options.give; context: the executor. */
bool wk_unit_give_blocks(void *context, uint32_t slot, const int *blocks, int count);
/* wk_unit_computed_us is the time of all threads that were at a unit since start_us, without waiting for parameters: of what began after the unit did and before any waiting. */
uint64_t wk_unit_computed_us(const struct compute_thread *t, int64_t start_us);
