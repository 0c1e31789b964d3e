/* What a compute thread does with a unit that it has claimed: see executor_parts.h. */
#include "worker/executor_parts.h"

#include "common/clock.h"
#include "common/coefficient.h"

#include <string.h>

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
        wk_executor_give(x, result);
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

uint64_t wk_unit_computed_us(const struct compute_thread *t, int64_t start_us)
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
bool wk_unit_give_blocks(void *context, uint32_t slot, const int *blocks, int count)
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
    spent->us[SL_SPENT_FORWARD] += wk_unit_computed_us(t, loaded_us);
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
    sums.compute_us = wk_unit_computed_us(t, start_us);
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
    sums.compute_us = wk_unit_computed_us(t, start_us);
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
        wk_executor_fail(
                x, sl_fail(&error, SL_NO_MEMORY, "out of memory for the validation's result"), &error);
        return;
    }
    memcpy(buffer->data, sl_evaluation_ints(x->evaluation), ints);
    memcpy((char *)buffer->data + ints, sl_evaluation_doubles(x->evaluation), doubles);
    struct wk_result result = {.kind = WK_RESULT_EVALUATION,
            .run = x->run.run,
            .buffer = buffer,
            .compute_us = x->validation_us};
    wk_executor_give(x, &result);
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
    x->validation_us += wk_unit_computed_us(t, start_us);
    status = sl_evaluation_merge(x->evaluation, t->evaluation, err);
    x->unmerged--;
    if (status == SL_OK && x->unmerged == 0 && !x->failed && !x->cancelled)
        give_validation(x); /* under the same lock: once it is out, the next run may be submitted */
    (void)pthread_mutex_unlock(&x->lock);
    return status;
}

enum sl_status wk_unit_compute(struct compute_thread *t, uint32_t unit, int count, struct sl_error *err)
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
