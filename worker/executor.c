/* Compute threads: see executor.h. A run is claimed unit by unit under one lock; everything heavy happens outside it (units.c). */
#include "worker/executor_parts.h"

#include "common/clock.h"
#include "common/memory.h"

#include <assert.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- results ---- */

void wk_executor_give(struct wk_executor *x, const struct wk_result *result)
{
    struct result_link *link = sl_alloc(1, sizeof(*link));
    if (link != NULL) {
        link->result = *result;
    } else {
        link = &x->reserve;
        link->result = (struct wk_result){
                .kind = WK_RESULT_FAILED, .status = result->status, .error = result->error};
        if (result->status == SL_OK)
            link->result.status =
                    sl_fail(&link->result.error, SL_NO_MEMORY, "out of memory for the result of a run");
        x->failed = true;
        sl_buffer_release(result->buffer);
        sl_buffer_release(result->blocks);
    }
    *x->last = link;
    x->last = &link->next;
    uint64_t one = 1;
    ssize_t written = write(x->event_fd, &one, sizeof(one));
    assert(written == sizeof(one));
}

void wk_executor_fail(struct wk_executor *x, enum sl_status status, const struct sl_error *error)
{
    if (x->failed)
        return;
    x->failed = true;
    wk_arrivals_give_up(x->arrivals);
    struct wk_result result = {
            .kind = WK_RESULT_FAILED, .status = status, .run = x->run.run, .error = *error};
    wk_executor_give(x, &result);
}

/* Called with the lock held, whenever a unit is done or the rest is skipped: the last one tells it. Sums that wait for a sibling which was cancelled wait in vain. */
static void end_run_if_idle(struct wk_executor *x)
{
    if (!x->going || x->failed || x->computing > 0 || x->next < x->end)
        return;
    if (x->cancelled)
        wk_joining_clear(x->joining);
    x->going = false;
    struct wk_result result = {.kind = WK_RESULT_IDLE, .run = x->run.run};
    wk_executor_give(x, &result);
}

/* ---- threads ---- */

/* Waits for a unit and claims it. Returns false when the executor ends. */
static bool claim(struct compute_thread *t, uint32_t *ret_unit, int *ret_count)
{
    struct wk_executor *x = t->executor;
    (void)pthread_mutex_lock(&x->lock);
    while (!x->leaving && (x->failed || x->next >= x->end))
        (void)pthread_cond_wait(&x->work, &x->lock);
    bool claimed = !x->leaving;
    if (claimed) {
        *ret_unit = x->next++;
        x->computing++;
        if (x->run.phase == SL_PHASE_VALIDATE)
            wk_sampler_slot(x->validation_order, *ret_unit, 0, t->indices, ret_count);
        else if (x->run.phase != SL_PHASE_SKIP)
            wk_sampler_slot(x->train_order, x->run.step, (int)*ret_unit, t->indices, ret_count);
    }
    (void)pthread_mutex_unlock(&x->lock);
    return claimed;
}

static void *thread_main(void *argument)
{
    struct compute_thread *t = argument;
    struct wk_executor *x = t->executor;
    uint32_t unit = 0;
    int count = 0;
    while (claim(t, &unit, &count)) {
        struct sl_error error = {0};
        int64_t start_us = sl_clock_monotonic_us();
        t->waited_us = 0;
        enum sl_status status = wk_unit_compute(t, unit, count, &error);
        (void)pthread_mutex_lock(&x->lock);
        x->busy_us += wk_unit_computed_us(t, start_us);
        x->computing--;
        if (status != SL_OK && status != SL_AGAIN)
            wk_executor_fail(x, status, &error);
        end_run_if_idle(x);
        (void)pthread_mutex_unlock(&x->lock);
    }
    return NULL;
}

/* ---- create ---- */

#define LARGE_BYTES                                                                                          \
    ((size_t)512                                                                                             \
            << 20) /* of a slot's gradients: from there on threads work together rather than need that much each */
#define LARGE_TEAM 4 /* threads that find enough tiles in the products of one slot */

/* How many threads claim slots. The others are divided among them as evenly as may be: what a slot yields does not depend on it. */
static int claiming_threads(const struct wk_executor *x)
{
    int threads = x->options.threads, per_slot = x->options.config->cluster.threads_per_slot;
    if (per_slot == 0)
        per_slot =
                sl_layout_gradient_floats(x->options.layout) * sizeof(float) >= LARGE_BYTES ? LARGE_TEAM : 1;
    return (threads + per_slot - 1) / per_slot;
}

static int largest_team(const struct wk_executor *x)
{
    return (x->options.threads + x->thread_count - 1) / x->thread_count;
}

/* n_samples / (K n_c), as "balanced" is commonly defined: the mean weight over the training set is 1. A class without samples never needs one. */
static enum sl_status balance(struct wk_executor *x, struct sl_error *err)
{
    const struct sl_config *config = x->options.config;
    if (config->loss.class_weights != SL_WEIGHTS_BALANCED)
        return SL_OK;
    x->class_weights = sl_alloc((size_t)config->label_count, sizeof(*x->class_weights));
    if (x->class_weights == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for class weights");
    double total = (double)wk_dataset_count(x->options.train);
    for (int k = 0; k < config->label_count; k++) {
        double count = (double)wk_dataset_label_count(x->options.train, k);
        x->class_weights[k] = count > 0.0 ? (float)(total / (config->label_count * count)) : 1.0F;
    }
    return SL_OK;
}

static enum sl_status start_thread(struct wk_executor *x, int index, struct sl_error *err)
{
    struct compute_thread *t = &x->threads[index];
    int size = x->options.threads / x->thread_count + (index < x->options.threads % x->thread_count);
    const struct sl_config *config = x->options.config;
    int capacity = config->batch.slot_size;
    t->executor = x;
    t->indices = sl_alloc((size_t)capacity, sizeof(*t->indices));
    if (t->indices == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a compute thread");
    enum sl_status status = size > 1 ? sl_team_create(&t->team, size, err) : SL_OK;
    if (status == SL_OK)
        status = wk_activations_init(&t->own, x->options.model, config, largest_team(x), err);
    if (status == SL_OK)
        status = sl_evaluation_create(&t->evaluation, config->modality_count + 1, config->label_count, err);
    if (status == SL_OK)
        status = wk_finishing_create(&t->finishing,
                &(struct wk_finishing_options){.config = config,
                        .layout = x->options.layout,
                        .joining = x->joining,
                        .fold = wk_model_fold(x->options.model),
                        .team = t->team,
                        .give_floats = x->options.give_floats > 0 ? x->options.give_floats : SL_BLOCK_FLOATS,
                        .give = wk_unit_give_blocks,
                        .context = x},
                err);
    if (status != SL_OK)
        return status;
    int failed = pthread_create(&t->handle, NULL, thread_main, t);
    if (failed != 0)
        return sl_fail(err, SL_FAILED, "cannot start a compute thread: %s", strerror(failed));
    t->started = true;
    return SL_OK;
}

static enum sl_status prepare(struct wk_executor *x, struct sl_error *err)
{
    const struct sl_config *config = x->options.config;
    x->thread_count = claiming_threads(x);
    x->threads = sl_alloc((size_t)x->thread_count, sizeof(*x->threads));
    x->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (x->threads == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the compute threads");
    if (x->event_fd < 0)
        return sl_fail_errno(err, "cannot make an eventfd");
    enum sl_status status = balance(x, err);
    if (status == SL_OK)
        status = wk_gradient_pool_create(&x->pool, x->options.layout, err);
    if (status == SL_OK)
        status = wk_arrivals_create(&x->arrivals, x->options.layout, err);
    if (status == SL_OK)
        status = wk_joining_create(&x->joining, x->options.layout, (uint32_t)config->batch.slots, err);
    if (status == SL_OK && config->modulation.exchange == SL_EXCHANGE_EARLY)
        status = wk_kept_create(&x->kept, x->options.model, config, largest_team(x),
                (size_t)config->cluster.activations_mb << 20, err);
    if (status == SL_OK)
        status = wk_sampler_create(&x->train_order, x->options.plan, true, err);
    if (status == SL_OK && x->options.validation != NULL)
        status = wk_sampler_create(&x->validation_order,
                &(struct sl_plan_options){.count = wk_dataset_count(x->options.validation),
                        .slots = 1,
                        .slot_size = config->batch.slot_size,
                        .seed = config->seed},
                false, err);
    if (status == SL_OK)
        status = sl_evaluation_create(&x->evaluation, config->modality_count + 1, config->label_count, err);
    return status;
}

enum sl_status wk_executor_create(
        struct wk_executor **ret_executor, const struct wk_executor_options *options, struct sl_error *err)
{
    struct wk_executor *x = sl_alloc(1, sizeof(*x));
    if (x == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the compute threads");
    x->options = *options;
    x->event_fd = -1;
    x->last = &x->first;
    (void)pthread_mutex_init(&x->lock, NULL);
    (void)pthread_cond_init(&x->work, NULL);
    enum sl_status status = prepare(x, err);
    for (int i = 0; status == SL_OK && i < x->thread_count; i++)
        status = start_thread(x, i, err);
    if (status != SL_OK) {
        wk_executor_destroy(x);
        return status;
    }
    *ret_executor = x;
    return SL_OK;
}

static void stop_threads(struct wk_executor *x)
{
    (void)pthread_mutex_lock(&x->lock);
    x->leaving = true;
    (void)pthread_cond_broadcast(&x->work);
    if (x->arrivals != NULL)
        wk_arrivals_give_up(x->arrivals);
    (void)pthread_mutex_unlock(&x->lock);
    for (int i = 0; x->threads != NULL && i < x->thread_count; i++) {
        struct compute_thread *t = &x->threads[i];
        if (t->started)
            (void)pthread_join(t->handle, NULL);
        wk_activations_fini(&t->own);
        sl_team_destroy(t->team);
        wk_finishing_destroy(t->finishing);
        sl_evaluation_destroy(t->evaluation);
        sl_free(t->indices);
    }
}

void wk_executor_destroy(struct wk_executor *x)
{
    if (x == NULL)
        return;
    stop_threads(x);
    struct wk_result result;
    while (wk_executor_take(x, &result) == SL_OK)
        wk_result_fini(&result);
    wk_joining_destroy(x->joining);
    wk_arrivals_destroy(x->arrivals);
    wk_gradient_pool_destroy(x->pool);
    wk_kept_destroy(x->kept);
    wk_sampler_destroy(x->train_order);
    wk_sampler_destroy(x->validation_order);
    sl_evaluation_destroy(x->evaluation);
    sl_free(x->class_weights);
    sl_free(x->threads);
    if (x->event_fd >= 0)
        (void)close(x->event_fd);
    (void)pthread_cond_destroy(&x->work);
    (void)pthread_mutex_destroy(&x->lock);
    sl_free(x);
}

/* ---- the loop's side ---- */

int wk_executor_fd(const struct wk_executor *x)
{
    return x->event_fd;
}

void wk_executor_submit(struct wk_executor *x, const struct wk_action *run, const float *params)
{
    (void)pthread_mutex_lock(&x->lock);
    assert(!x->failed && !x->going && run->begin < run->end);
    x->run = *run;
    x->params = params;
    x->next = run->begin;
    x->end = run->end;
    x->unmerged = run->end - run->begin;
    x->going = true;
    x->cancelled = false;
    x->cut_count = 0;
    x->validation_us = 0;
    sl_evaluation_clear(x->evaluation);
    for (uint32_t at = run->begin; run->phase != SL_PHASE_VALIDATE && at < run->end;) {
        struct sl_node node = sl_tree_cover(run->slots, at, run->end);
        assert(x->cut_count < WK_CUTS_MAX);
        x->cuts[x->cut_count++] = node;
        at = sl_tree_end(run->slots, node);
    }
    wk_joining_begin(x->joining, run->slots, x->cuts, x->cut_count);
    wk_arrivals_begin(x->arrivals, run->arriving ? run->here : NULL);
    if (run->phase == SL_PHASE_SKIP) {
        x->next = 0;
        x->end = (uint32_t)x->cut_count;
    }
    (void)pthread_cond_broadcast(&x->work);
    (void)pthread_mutex_unlock(&x->lock);
}

void wk_executor_arrived(struct wk_executor *x, int block)
{
    wk_arrivals_add(x->arrivals, block);
}

void wk_executor_cancel(struct wk_executor *x)
{
    (void)pthread_mutex_lock(&x->lock);
    if (x->going) {
        x->cancelled = true;
        wk_arrivals_give_up(x->arrivals);
        x->next = x->end;
        end_run_if_idle(x);
    }
    (void)pthread_mutex_unlock(&x->lock);
}

uint64_t wk_executor_busy_us(struct wk_executor *x)
{
    (void)pthread_mutex_lock(&x->lock);
    uint64_t busy_us = x->busy_us;
    (void)pthread_mutex_unlock(&x->lock);
    return busy_us;
}

enum sl_status wk_executor_take(struct wk_executor *x, struct wk_result *ret_result)
{
    (void)pthread_mutex_lock(&x->lock);
    struct result_link *link = x->first;
    uint64_t count = 0;
    if (link == NULL) {
        (void)!read(x->event_fd, &count, sizeof(count)); /* nothing left: the descriptor sleeps again */
    } else {
        x->first = link->next;
        if (x->first == NULL)
            x->last = &x->first;
    }
    (void)pthread_mutex_unlock(&x->lock);
    if (link == NULL)
        return SL_AGAIN;
    *ret_result = link->result;
    if (link != &x->reserve)
        sl_free(link);
    return SL_OK;
}

void wk_result_fini(struct wk_result *result)
{
    sl_buffer_release(SL_TAKE(result->buffer));
    sl_buffer_release(SL_TAKE(result->blocks));
}
