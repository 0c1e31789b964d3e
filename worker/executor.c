/* Compute threads: see executor.h. A run is claimed unit by unit under one lock; everything heavy happens outside it. */
#include "worker/executor.h"

#include "common/clock.h"
#include "common/coefficient.h"
#include "common/evaluation.h"
#include "common/memory.h"
#include "common/random.h"
#include "worker/activations.h"
#include "worker/arrivals.h"
#include "worker/dataset/sampler.h"
#include "worker/finishing.h"
#include "worker/gradient_pool.h"
#include "worker/joining.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CUTS_MAX 64 /* aligned nodes that make up a run: at most two a level */

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
    struct sl_node cuts[CUTS_MAX];
    int cut_count;
    struct sl_evaluation *evaluation;
    uint64_t validation_us;
    struct result_link *first, **last;
    struct result_link reserve; /* for the news that memory is out */
};

/* ---- results ---- */

/* Called with the lock held. A result that there is no memory for fails the run; that much can always be said. */
static void give_result(struct wk_executor *x, const struct wk_result *result)
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

/* Called with the lock held. */
static void fail_run(struct wk_executor *x, enum sl_status status, const struct sl_error *error)
{
    if (x->failed)
        return;
    x->failed = true;
    wk_arrivals_give_up(x->arrivals);
    struct wk_result result = {
            .kind = WK_RESULT_FAILED, .status = status, .run = x->run.run, .error = *error};
    give_result(x, &result);
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
    give_result(x, &result);
}

/* ---- parameters that are still coming ---- */

/* Before a forward pass reads [begin, end). */
static void await_parameters(void *context, size_t begin, size_t end)
{
    struct compute_thread *t = context;
    t->waited_us += wk_arrivals_wait(t->executor->arrivals, begin, end);
}

/* After a forward pass: AGAIN if the run was given up before all parameters were there, so that the pass means nothing. */
static enum sl_status check_parameters(const struct wk_executor *x)
{
    return wk_arrivals_whole(x->arrivals) ? SL_OK : SL_AGAIN;
}

/* ---- one slot of training ---- */

static enum sl_status load_batch(
        struct compute_thread *t, struct wk_dataset *dataset, int count, struct sl_error *err)
{
    wk_batch_clear(t->own.batch);
    for (int i = 0; i < count; i++) {
        struct wk_sample sample = {0};
        enum sl_status status = wk_dataset_read(dataset, t->indices[i], &sample, err);
        if (status == SL_OK)
            status = wk_batch_add(t->own.batch, t->executor->options.config, &sample, err);
        wk_sample_fini(&sample);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

/* A result of a run that still counts; of one that was cancelled nobody hears. */
static void give_unless_dropped(struct wk_executor *x, const struct wk_result *result)
{
    (void)pthread_mutex_lock(&x->lock);
    if (x->failed || x->cancelled) {
        sl_buffer_release(result->buffer);
        sl_buffer_release(result->blocks);
    } else {
        give_result(x, result);
    }
    (void)pthread_mutex_unlock(&x->lock);
}

/* A whole node of the run's cut leaves. Called without the lock: hashing reads every byte. Owns: takes gradients, of SCORE NULL. */
static void give_node(struct wk_executor *x, struct sl_node node, const struct wk_node_sums *sums,
        struct sl_buffer *gradients)
{
    struct wk_result result = {.kind = WK_RESULT_NODE,
            .run = x->run.run,
            .node = node,
            .stats = sums->stats,
            .buffer = gradients,
            .compute_us = sums->compute_us,
            .spent = sums->spent};
    if (x->run.hash)
        result.hash = wk_gradient_hash(x->options.layout, gradients->data, &result.stats);
    give_unless_dropped(x, &result);
}

/* Time of all threads that were at it. */
static uint64_t spent_us(const struct compute_thread *t, int64_t start_us)
{
    return (uint64_t)(sl_clock_monotonic_us() - start_us) * (uint64_t)sl_team_threads(t->team);
}

/* The same without waiting for parameters, of what began after the unit did and before any waiting. */
static uint64_t computed_us(const struct compute_thread *t, int64_t start_us)
{
    uint64_t waited_us = t->waited_us * (uint64_t)sl_team_threads(t->team), all_us = spent_us(t, start_us);
    return all_us > waited_us ? all_us - waited_us : 0;
}

/* A slot is done: the last one of a node gives it. */
static void deposit(struct wk_executor *x, uint32_t slot, struct wk_node_sums *sums)
{
    struct sl_node cut = wk_joining_cut(x->joining, slot);
    if (wk_joining_deposit(x->joining, slot, sums))
        give_node(x, cut, sums, wk_joining_take(x->joining, cut));
}

/* Blocks of a node leave before it is whole. Without memory they stay until then. */
static bool give_blocks(void *context, uint32_t slot, const int *blocks, int count)
{
    struct wk_executor *x = context;
    struct sl_buffer *copy = sl_buffer_create((size_t)count * sizeof(*blocks));
    if (copy == NULL)
        return false;
    memcpy(copy->data, blocks, (size_t)count * sizeof(*blocks));
    struct sl_node node = wk_joining_cut(x->joining, slot);
    struct wk_result result = {.kind = WK_RESULT_BLOCKS,
            .run = x->run.run,
            .node = node,
            .buffer = sl_buffer_retain(wk_joining_peek(x->joining, node)),
            .blocks = copy,
            .block_count = count};
    give_unless_dropped(x, &result);
    return true;
}

/* statistics slot: what a worker with this slot alone would do by its own scores. The server adds what it gets. Shapes: ret_k (modality_count,). */
static void coefficients_of_slot(
        const struct sl_config *config, struct sl_step_stats *stats, double ret_k[SL_MODALITIES_MAX])
{
    for (int m = 0; m < config->modality_count; m++) {
        ret_k[m] = sl_coefficient_of_scores(&config->modulation, stats->score, config->modality_count, m);
        stats->coefficient[m] = ret_k[m] * stats->count;
    }
}

/* Reads the slot's samples and runs the forward pass in the thread's own activations, as parameters come. Errors: AGAIN as check_parameters. */
static enum sl_status forward_slot(struct compute_thread *t, const struct wk_action *run, int count,
        struct sl_spent *spent, struct sl_error *err)
{
    struct wk_executor *x = t->executor;
    int64_t start_us = sl_clock_monotonic_us();
    enum sl_status status = load_batch(t, x->options.train, count, err);
    if (status != SL_OK)
        return status;
    int64_t loaded_us = sl_clock_monotonic_us();
    struct wk_mode mode = {.training = true,
            .seed = x->options.config->seed,
            .step = (uint64_t)run->step,
            .class_weights = x->class_weights};
    wk_workspace_use_team(t->own.workspace, t->team);
    wk_workspace_await(t->own.workspace, await_parameters, t);
    wk_model_forward(x->options.model, x->params, t->own.batch, &mode, t->own.workspace, &t->own.stats);
    spent->us[SL_SPENT_DATA] += (uint64_t)(loaded_us - start_us) * (uint64_t)sl_team_threads(t->team);
    spent->us[SL_SPENT_FORWARD] += computed_us(t, loaded_us);
    uint32_t slots = run->end - run->begin, threads = (uint32_t)x->thread_count;
    spent->us[SL_SPENT_PULL] += t->waited_us / (slots < threads ? slots : threads);
    return check_parameters(x);
}

static struct wk_activations_key key_of(const struct wk_action *run, uint32_t slot)
{
    return (struct wk_activations_key){run->parameters, run->step, slot};
}

/* The forward pass of a slot for its scores; its backward pass comes with a later run, if it is ours. */
static enum sl_status score_slot(
        struct compute_thread *t, const struct wk_action *run, uint32_t slot, int count, struct sl_error *err)
{
    struct wk_executor *x = t->executor;
    int64_t start_us = sl_clock_monotonic_us();
    struct wk_node_sums sums = {0};
    enum sl_status status = forward_slot(t, run, count, &sums.spent, err);
    if (status != SL_OK)
        return status;
    sums.stats = t->own.stats;
    wk_kept_put(x->kept, key_of(run, slot), &t->own);
    sums.compute_us = computed_us(t, start_us);
    deposit(x, slot, &sums);
    return SL_OK;
}

/* Where a slot's gradients go: into a buffer of their own, or folded and from there into that of the left sibling, which is done. */
struct target {
    struct sl_buffer *own; /* NULL = folded */
    float *at, *into;      /* as in wk_finishing_pass */
    size_t vector;         /* floats from one tag's vector to the next one's */
};

static enum sl_status find_target(
        struct compute_thread *t, uint32_t slot, struct target *ret_target, struct sl_error *err)
{
    const struct wk_executor *x = t->executor;
    struct sl_buffer *left = wk_joining_left(x->joining, slot);
    float *folded = left == NULL ? NULL : wk_finishing_folded(t->finishing);
    *ret_target = (struct target){.vector = x->options.layout->count};
    if (folded != NULL) {
        *ret_target = (struct target){NULL, folded, left->data, wk_model_fold(x->options.model)->floats};
        return SL_OK;
    }
    enum sl_status status = wk_gradient_pool_take(x->pool, t->team, &ret_target->own, err);
    if (status == SL_OK)
        ret_target->at = ret_target->own->data;
    return status;
}

/* The backward pass, in whose course blocks are joined and leave. Owns: takes the target's buffer. */
static void backward_slot(struct compute_thread *t, const struct wk_action *run, uint32_t slot,
        const struct wk_activations *forward, struct target *target, struct wk_node_sums *sums)
{
    const struct wk_executor *x = t->executor;
    const struct wk_model *model = x->options.model;
    bool by_slot = x->options.config->modulation.statistics == SL_STATISTICS_SLOT;
    float *at = target->at, *const tags[SL_TAGS] = {at, at + target->vector};
    double k[SL_MODALITIES_MAX];
    int64_t start_us = sl_clock_monotonic_us();
    if (by_slot)
        coefficients_of_slot(x->options.config, &sums->stats, k);
    wk_joining_enter(x->joining, slot, &target->own);
    wk_finishing_begin(t->finishing, &(struct wk_finishing_pass){slot, at, target->into, by_slot ? k : NULL,
                                             run->phase == SL_PHASE_TRAIN});
    wk_workspace_use_team(forward->workspace, t->team); /* it may be of another thread's forward pass */
    wk_workspace_fold(forward->workspace, target->into != NULL);
    wk_workspace_tell(forward->workspace, wk_finishing_range, t->finishing);
    if (x->kept != NULL)
        wk_model_backward_early(model, x->params, forward->batch, forward->workspace, run->coefficient, at);
    else
        wk_model_backward(model, x->params, forward->batch, forward->workspace, tags);
    uint64_t join_us = wk_finishing_us(t->finishing) * (uint64_t)sl_team_threads(t->team),
             all_us = spent_us(t, start_us);
    sums->spent.us[SL_SPENT_JOIN] += join_us;
    sums->spent.us[SL_SPENT_BACKWARD] += all_us > join_us ? all_us - join_us : 0;
}

static enum sl_status train_slot(
        struct compute_thread *t, const struct wk_action *run, uint32_t slot, int count, struct sl_error *err)
{
    struct wk_executor *x = t->executor;
    int64_t start_us = sl_clock_monotonic_us();
    struct wk_activations before;
    bool kept = x->kept != NULL && wk_kept_take(x->kept, key_of(run, slot), &before);
    const struct wk_activations *forward = kept ? &before : &t->own;
    struct wk_node_sums sums = {0};
    struct target target;
    enum sl_status status = kept ? SL_OK : forward_slot(t, run, count, &sums.spent, err);
    if (status == SL_OK)
        status = find_target(t, slot, &target, err);
    if (status == SL_OK) {
        sums.stats = forward->stats;
        backward_slot(t, run, slot, forward, &target, &sums);
    }
    if (kept)
        wk_kept_return(x->kept, &before);
    if (status != SL_OK)
        return status;
    sums.compute_us = computed_us(t, start_us);
    deposit(x, slot, &sums);
    return SL_OK;
}

/* A node of slots whose samples nobody can read: zeros, no samples. */
static enum sl_status skip_node(struct compute_thread *t, uint32_t cut, struct sl_error *err)
{
    struct wk_executor *x = t->executor;
    await_parameters(t, 0, x->options.layout->count); /* no result of a run comes before they are here */
    if (check_parameters(x) != SL_OK)
        return SL_AGAIN;
    struct wk_node_sums sums = {0};
    struct sl_buffer *zeros = NULL;
    enum sl_status status = wk_gradient_pool_take(x->pool, NULL, &zeros, err);
    if (status == SL_OK)
        give_node(x, x->cuts[cut], &sums, zeros);
    return status;
}

/* ---- one unit of validation ---- */

/* Called with the lock held when the last unit is merged. */
static void give_validation(struct wk_executor *x)
{
    int branches = sl_evaluation_branches(x->evaluation), classes = sl_evaluation_classes(x->evaluation);
    size_t ints = sl_evaluation_int_count(branches, classes) * sizeof(int64_t);
    size_t doubles = sl_evaluation_double_count(branches, classes) * sizeof(double);
    struct sl_error error = {0};
    struct sl_buffer *buffer = sl_buffer_create(ints + doubles);
    if (buffer == NULL) {
        fail_run(x, sl_fail(&error, SL_NO_MEMORY, "out of memory for the validation's result"), &error);
        return;
    }
    memcpy(buffer->data, sl_evaluation_ints(x->evaluation), ints);
    memcpy((char *)buffer->data + ints, sl_evaluation_doubles(x->evaluation), doubles);
    struct wk_result result = {.kind = WK_RESULT_EVALUATION,
            .run = x->run.run,
            .buffer = buffer,
            .compute_us = x->validation_us};
    give_result(x, &result);
}

static enum sl_status validate_unit(struct compute_thread *t, int count, struct sl_error *err)
{
    struct wk_executor *x = t->executor;
    int64_t start_us = sl_clock_monotonic_us();
    int branches = x->options.config->modality_count + 1, classes = x->options.config->label_count;
    enum sl_status status = load_batch(t, x->options.validation, count, err);
    if (status != SL_OK)
        return status;
    struct sl_step_stats stats;
    struct wk_mode mode = {.training = false};
    sl_evaluation_clear(t->evaluation);
    wk_workspace_use_team(t->own.workspace, t->team);
    wk_workspace_await(t->own.workspace, await_parameters, t);
    wk_model_forward(x->options.model, x->params, t->own.batch, &mode, t->own.workspace, &stats);
    if (check_parameters(x) != SL_OK)
        return SL_AGAIN;
    for (int i = 0; i < count; i++) {
        for (int b = 0; b < branches && t->own.batch->labels[i] != WK_LABEL_NONE; b++) {
            const float *logits = wk_model_logits(t->own.workspace, b) + (size_t)i * (size_t)classes;
            status = sl_evaluation_add_logits(t->evaluation, b, logits, t->own.batch->labels[i], err);
            if (status != SL_OK)
                return status;
        }
    }
    (void)pthread_mutex_lock(&x->lock);
    x->validation_us += computed_us(t, start_us);
    status = sl_evaluation_merge(x->evaluation, t->evaluation, err);
    x->unmerged--;
    if (status == SL_OK && x->unmerged == 0 && !x->failed && !x->cancelled)
        give_validation(x); /* under the same lock: once it is out, the next run may be submitted */
    (void)pthread_mutex_unlock(&x->lock);
    return status;
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

/* The run stays as it is while a unit of it is computed: only then may it be read without the lock. Errors: AGAIN for a unit that is dropped. */
static enum sl_status compute(struct compute_thread *t, uint32_t unit, int count, struct sl_error *err)
{
    switch (t->executor->run.phase) {
    case SL_PHASE_VALIDATE:
        return validate_unit(t, count, err);
    case SL_PHASE_SKIP:
        return skip_node(t, unit, err);
    case SL_PHASE_SCORE:
        return score_slot(t, &t->executor->run, unit, count, err);
    default:
        return train_slot(t, &t->executor->run, unit, count, err);
    }
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
        enum sl_status status = compute(t, unit, count, &error);
        (void)pthread_mutex_lock(&x->lock);
        x->busy_us += computed_us(t, start_us);
        x->computing--;
        if (status != SL_OK && status != SL_AGAIN)
            fail_run(x, status, &error);
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
                        .give = give_blocks,
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
        assert(x->cut_count < CUTS_MAX);
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
