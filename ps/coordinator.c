/* The coordinator's decisions: see coordinator.h. One message kind, one function; a step's life is read from top to bottom. */
#include "ps/coordinator.h"

#include "common/memory.h"
#include "ps/optimiser.h"
#include "ps/schedule.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WORKERS_MAX 4096
#define UNITS_MAX (1U << 26) /* of a validation: the table of who has which is 4 bytes for each */
#define UNIT_TODO (-1)
#define UNIT_DONE (-2)

enum state {
    STATE_WAITING,
    STATE_TRAINING,
    STATE_COMMITTING,
    STATE_VALIDATING,
    STATE_SAVING,
    STATE_FINISHED
};

struct worker {
    uint64_t id;
    uint32_t rank;
    uint32_t threads, pid;
    int64_t joined_us, heard_us;
    uint64_t slots; /* computed and counted */
    uint32_t units; /* assigned and not reported */
    char host[SL_NAME_MAX];
    char name[SL_NAME_MAX + 32]; /* "w3 host:pid" */
};

struct ps_coordinator {
    struct ps_coordinator_options options;
    struct ps_modulation_config modulation;
    struct ps_optimiser optimiser; /* for its clipping */
    struct ps_training training;
    enum state state;
    struct worker *workers; /* that take part now */
    int worker_count, worker_capacity;
    uint32_t next_rank;
    uint64_t sequence, lost;
    int64_t steps_per_epoch, total_steps;
    /* what is being computed: slots of a step, or units of validation */
    int32_t *owner; /* (unit_capacity,): worker index, UNIT_TODO or UNIT_DONE */
    uint32_t unit_capacity, units, units_done;
    int64_t opened_us;
    /* the step */
    struct sl_step_stats *node_stats; /* (2 * width,), heap order of the slot tree */
    unsigned char *node_present;
    uint64_t compute_us;
    struct sl_block_sums *sums; /* (block_count,) */
    bool reduced;
    struct ps_step_record record; /* of the step being committed */
    struct sl_evaluation *evaluation, *part;
    /* ends */
    bool snapshot_busy, snapshot_wanted, snapshot_best;
    int64_t snapshot_step; /* of the one being written */
    bool stopping, finish_after_save;
    enum sl_status finish_status;
    char finish_text[SL_MESSAGE_TEXT_MAX];
    int64_t beat_us;
    int keep_branch;
    enum sl_metric keep_metric;
    /* of the event being handled */
    int64_t now_us;
    struct ps_updates *updates;
};

static enum sl_status open_step(struct ps_coordinator *c, struct sl_error *err);
static enum sl_status open_validation(struct ps_coordinator *c, struct sl_error *err);
static enum sl_status begin_finish(
        struct ps_coordinator *c, enum sl_status status, const char *text, struct sl_error *err);
static enum sl_status end_run(struct ps_coordinator *c, struct sl_error *err);

/* ---- create ---- */

static uint32_t validation_units(const struct ps_coordinator *c)
{
    uint64_t size = (uint64_t)c->options.config->batch.slot_size;
    return (uint32_t)((c->training.validation_count + size - 1) / size);
}

/* Room for as many units as the larger of a step and a validation has. */
static enum sl_status reserve_units(struct ps_coordinator *c, uint32_t units, struct sl_error *err)
{
    if (units <= c->unit_capacity)
        return SL_OK;
    int32_t *owner = sl_realloc(c->owner, units, sizeof(*owner));
    if (owner == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %u units of work", units);
    c->owner = owner;
    c->unit_capacity = units;
    return SL_OK;
}

/* Sizes follow from the data: known at once when resuming, from the first worker otherwise. */
static enum sl_status plan_steps(struct ps_coordinator *c, struct sl_error *err)
{
    const struct sl_config *config = c->options.config;
    int64_t batch = (int64_t)config->batch.slots * config->batch.slot_size;
    c->steps_per_epoch = ((int64_t)c->training.train_count + batch - 1) / batch;
    c->total_steps = c->steps_per_epoch * config->epochs;
    if (config->max_steps > 0 && config->max_steps < c->total_steps)
        c->total_steps = config->max_steps;
    return reserve_units(c, validation_units(c), err);
}

enum sl_status ps_coordinator_create(struct ps_coordinator **ret_coordinator,
        const struct ps_coordinator_options *options, struct sl_error *err)
{
    const struct sl_config *config = options->config;
    struct ps_coordinator *c = sl_alloc(1, sizeof(*c));
    if (c == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the coordinator");
    size_t nodes = sl_tree_places((uint32_t)config->batch.slots);
    c->options = *options;
    c->training = options->training;
    c->modulation = ps_modulation_from_config(config);
    c->optimiser = ps_optimiser_from_config(config);
    bool known = sl_config_find_metric(config, config->snapshots.keep_best, &c->keep_branch, &c->keep_metric);
    assert(known); /* the config was checked */
    c->node_stats = sl_alloc(nodes, sizeof(*c->node_stats));
    c->node_present = sl_alloc(nodes, 1);
    c->sums = sl_alloc((size_t)options->layout->block_count, sizeof(*c->sums));
    enum sl_status status = SL_OK;
    if (c->node_stats == NULL || c->node_present == NULL || c->sums == NULL)
        status = sl_fail(err, SL_NO_MEMORY, "out of memory for the coordinator");
    if (status == SL_OK)
        status = reserve_units(c, (uint32_t)config->batch.slots, err);
    if (status == SL_OK)
        status = sl_evaluation_create(&c->evaluation, config->modality_count + 1, config->label_count, err);
    if (status == SL_OK)
        status = sl_evaluation_create(&c->part, config->modality_count + 1, config->label_count, err);
    if (status == SL_OK && c->training.train_count > 0)
        status = plan_steps(c, err);
    if (status != SL_OK) {
        ps_coordinator_destroy(c);
        return status;
    }
    *ret_coordinator = c;
    return SL_OK;
}

void ps_coordinator_destroy(struct ps_coordinator *c)
{
    if (c == NULL)
        return;
    sl_free(c->workers);
    sl_free(c->owner);
    sl_free(c->node_stats);
    sl_free(c->node_present);
    sl_free(c->sums);
    sl_evaluation_destroy(c->evaluation);
    sl_evaluation_destroy(c->part);
    sl_free(c);
}

/* ---- out ---- */

static struct sl_message *message_to_send(struct ps_coordinator *c, enum sl_message_kind kind)
{
    struct sl_message *m = sl_message_create(kind);
    if (m != NULL) {
        m->cluster = c->options.cluster;
        m->sequence = ++c->sequence;
        m->step = c->training.step;
    }
    return m;
}

static enum sl_status send_worker(
        struct ps_coordinator *c, uint64_t id, struct sl_message *m, struct sl_error *err)
{
    return sl_outbox_add(&c->updates->outbox, (struct sl_address){SL_ROLE_WORKER, id}, m, err);
}

static struct ps_action *add_action(struct ps_coordinator *c, enum ps_action_kind kind)
{
    assert(c->updates->action_count < PS_ACTIONS_MAX);
    struct ps_action *action = &c->updates->actions[c->updates->action_count++];
    memset(action, 0, sizeof(*action));
    action->kind = kind;
    return action;
}

__attribute__((format(printf, 3, 4))) static void add_note(
        struct ps_coordinator *c, enum ps_action_kind kind, const char *format, ...)
{
    if (c->updates->action_count >= PS_ACTIONS_MAX - 2)
        return; /* room is kept for what must not be lost: a snapshot and the end */
    struct ps_action *action = add_action(c, kind);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(action->text, sizeof(action->text), format, args);
    va_end(args);
}

/* ---- assignment ---- */

static int64_t samples_of_step(const struct ps_coordinator *c, int64_t step)
{
    const struct sl_config *config = c->options.config;
    int64_t batch = (int64_t)config->batch.slots * config->batch.slot_size;
    int64_t left = (int64_t)c->training.train_count - step % c->steps_per_epoch * batch;
    return left < batch ? left : batch;
}

/* How many of `samples` are in units [begin, end): slots of a step, or units of validation. */
static int64_t samples_of_units(const struct ps_coordinator *c, int64_t samples, uint32_t begin, uint32_t end)
{
    int64_t size = c->options.config->batch.slot_size, last = (int64_t)end * size;
    return (last < samples ? last : samples) - (int64_t)begin * size;
}

/* At the end of an epoch and of the training, once for each: a resumed run may have been stopped in between. */
static bool validation_due(const struct ps_coordinator *c)
{
    const struct ps_training *t = &c->training;
    bool epoch_over = t->step > 0 && (t->step % c->steps_per_epoch == 0 || t->step >= c->total_steps);
    return epoch_over && t->validation_count > 0 && t->validated_step != t->step;
}

static enum sl_status assign_run(
        struct ps_coordinator *c, int w, uint32_t begin, uint32_t end, struct sl_error *err)
{
    struct sl_message *m = message_to_send(c, SL_MESSAGE_ASSIGN);
    if (m != NULL) {
        m->phase = c->state == STATE_VALIDATING ? SL_PHASE_VALIDATE : SL_PHASE_TRAIN;
        m->slots = c->units;
        m->begin = begin;
        m->end = end;
    }
    for (uint32_t u = begin; u < end; u++)
        c->owner[u] = w;
    c->workers[w].units += end - begin;
    return send_worker(c, c->workers[w].id, m, err);
}

/* Shares the units that nobody has among the workers that have none: equal runs, in order. A run never bridges units of others. */
static enum sl_status assign_free(struct ps_coordinator *c, struct sl_error *err)
{
    uint32_t idle = 0, todo = 0;
    for (int w = 0; w < c->worker_count; w++)
        idle += c->workers[w].units == 0;
    for (uint32_t u = 0; u < c->units; u++)
        todo += c->owner[u] == UNIT_TODO;
    uint32_t unit = 0;
    for (int w = 0; w < c->worker_count && todo > 0; w++) {
        if (c->workers[w].units != 0)
            continue;
        uint32_t share = (todo + idle - 1) / idle;
        while (unit < c->units && c->owner[unit] != UNIT_TODO)
            unit++;
        uint32_t begin = unit;
        while (unit < c->units && c->owner[unit] == UNIT_TODO && unit - begin < share)
            unit++;
        todo -= unit - begin;
        idle--;
        enum sl_status status = assign_run(c, w, begin, unit, err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

static enum sl_status open_units(struct ps_coordinator *c, uint32_t units, struct sl_error *err)
{
    assert(units > 0 && units <= c->unit_capacity);
    c->units = units;
    c->units_done = 0;
    c->compute_us = 0;
    c->opened_us = c->now_us;
    for (uint32_t u = 0; u < units; u++)
        c->owner[u] = UNIT_TODO;
    for (int w = 0; w < c->worker_count; w++)
        c->workers[w].units = 0;
    return assign_free(c, err);
}

/* Takes note that a run of units is done; false when one of them was done already: then the whole report is a duplicate. */
static bool close_units(struct ps_coordinator *c, uint32_t begin, uint32_t end)
{
    for (uint32_t u = begin; u < end; u++)
        if (u >= c->units || c->owner[u] == UNIT_DONE)
            return false;
    for (uint32_t u = begin; u < end; u++) {
        if (c->owner[u] >= 0) {
            c->workers[c->owner[u]].units--;
            c->workers[c->owner[u]].slots += c->state == STATE_TRAINING;
        }
        c->owner[u] = UNIT_DONE;
    }
    c->units_done += end - begin;
    return true;
}

/* ---- workers come and go ---- */

static int find_worker(const struct ps_coordinator *c, uint64_t id)
{
    for (int w = 0; w < c->worker_count; w++)
        if (c->workers[w].id == id)
            return w;
    return -1;
}

/* Its units are free again; what it already reported stays. */
static enum sl_status lose_worker(struct ps_coordinator *c, int w, const char *why, struct sl_error *err)
{
    add_note(c, PS_ACTION_LOST, "%s: %s", c->workers[w].name, why);
    c->lost++;
    int last = --c->worker_count;
    bool open = c->state == STATE_TRAINING || c->state == STATE_VALIDATING;
    for (uint32_t u = 0; open && u < c->units; u++) {
        if (c->owner[u] == w)
            c->owner[u] = UNIT_TODO;
        else if (c->owner[u] == last)
            c->owner[u] = w; /* the last worker moves into the gap */
    }
    c->workers[w] = c->workers[last];
    if (c->stopping && c->worker_count == 0 && open) {
        c->snapshot_wanted = true;
        return end_run(c, err);
    }
    return open ? assign_free(c, err) : SL_OK;
}

static enum sl_status refuse(struct ps_coordinator *c, uint64_t id, const char *text, struct sl_error *err)
{
    struct sl_message *m = message_to_send(c, SL_MESSAGE_REFUSE);
    if (m != NULL)
        (void)snprintf(m->text, sizeof(m->text), "%s", text);
    add_note(c, PS_ACTION_REFUSED, "%s", text);
    return send_worker(c, id, m, err);
}

/* What does not fit between a worker and this run, or false. */
static bool hello_differs(
        const struct ps_coordinator *c, const struct sl_hello *hello, char *text, size_t size)
{
    const struct ps_training *t = &c->training;
    if (hello->config_hash != c->options.config_hash)
        (void)snprintf(text, size,
                "worker %s:%u has another config (hash %016" PRIx64 ", the run's is %016" PRIx64
                "): start it with the run's config file",
                hello->host, hello->pid, hello->config_hash, c->options.config_hash);
    else if (hello->layout_hash != c->options.layout->hash)
        (void)snprintf(text, size,
                "worker %s:%u lays out parameters differently (hash %016" PRIx64 ", the run's is %016" PRIx64
                "): is its vocabulary the same?",
                hello->host, hello->pid, hello->layout_hash, c->options.layout->hash);
    else if (t->train_count != 0 &&
             (hello->train_count != t->train_count || hello->train_fingerprint != t->train_fingerprint))
        (void)snprintf(text, size,
                "worker %s:%u has other training data (%" PRIu64 " samples, fingerprint %016" PRIx64
                "; the run's: %" PRIu64 ", %016" PRIx64 ")",
                hello->host, hello->pid, hello->train_count, hello->train_fingerprint, t->train_count,
                t->train_fingerprint);
    else if (t->train_count != 0 && (hello->validation_count != t->validation_count ||
                                            hello->validation_fingerprint != t->validation_fingerprint))
        (void)snprintf(text, size,
                "worker %s:%u has other validation data (%" PRIu64 " samples, fingerprint %016" PRIx64
                "; the run's: %" PRIu64 ", %016" PRIx64 ")",
                hello->host, hello->pid, hello->validation_count, hello->validation_fingerprint,
                t->validation_count, t->validation_fingerprint);
    else if (hello->train_count == 0 || hello->train_count > UINT32_MAX)
        (void)snprintf(text, size,
                "worker %s:%u has a training set of %" PRIu64 " samples; 1 to %u can be used", hello->host,
                hello->pid, hello->train_count, UINT32_MAX);
    else if (hello->validation_count > UNITS_MAX)
        (void)snprintf(text, size,
                "worker %s:%u has a validation set of %" PRIu64 " samples; at most %u can be used",
                hello->host, hello->pid, hello->validation_count, UNITS_MAX);
    else
        return false;
    return true;
}

static enum sl_status add_worker(
        struct ps_coordinator *c, uint64_t id, const struct sl_hello *hello, struct sl_error *err)
{
    if (c->worker_count == c->worker_capacity) {
        int capacity = c->worker_capacity == 0 ? 16 : 2 * c->worker_capacity;
        struct worker *workers = sl_realloc(c->workers, (size_t)capacity, sizeof(*workers));
        if (workers == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for %d workers", capacity);
        c->workers = workers;
        c->worker_capacity = capacity;
    }
    struct worker *worker = &c->workers[c->worker_count++];
    *worker = (struct worker){.id = id,
            .rank = c->next_rank++,
            .threads = hello->threads,
            .pid = hello->pid,
            .joined_us = c->now_us,
            .heard_us = c->now_us};
    (void)snprintf(worker->host, sizeof(worker->host), "%s", hello->host);
    (void)snprintf(worker->name, sizeof(worker->name), "w%u %s:%u", worker->rank, hello->host, hello->pid);
    add_note(c, PS_ACTION_JOINED, "%s with %u threads", worker->name, hello->threads);
    return SL_OK;
}

static enum sl_status welcome(struct ps_coordinator *c, const struct worker *worker, struct sl_error *err)
{
    struct sl_message *m = message_to_send(c, SL_MESSAGE_WELCOME);
    if (m != NULL) {
        m->rank = worker->rank;
        m->servers = 1;
    }
    return send_worker(c, worker->id, m, err);
}

/* HELLO: does not fit → REFUSE; known already (its WELCOME may be late) → WELCOME again; new → WELCOME and a share of the open work. The first worker of a fresh
 * run tells the size of the data and starts it. */
static enum sl_status on_hello(
        struct ps_coordinator *c, uint64_t id, const struct sl_message *m, struct sl_error *err)
{
    char text[SL_MESSAGE_TEXT_MAX];
    int known = find_worker(c, id);
    if (known >= 0)
        return welcome(c, &c->workers[known], err);
    if (hello_differs(c, &m->hello, text, sizeof(text)))
        return refuse(c, id, text, err);
    if (c->worker_count == WORKERS_MAX)
        return refuse(c, id, "this run has as many workers as it can take", err);
    enum sl_status status = SL_OK;
    if (c->training.train_count == 0) {
        c->training.train_count = m->hello.train_count;
        c->training.validation_count = m->hello.validation_count;
        c->training.train_fingerprint = m->hello.train_fingerprint;
        c->training.validation_fingerprint = m->hello.validation_fingerprint;
        status = plan_steps(c, err);
    }
    if (status == SL_OK)
        status = add_worker(c, id, &m->hello, err);
    if (status == SL_OK)
        status = welcome(c, &c->workers[c->worker_count - 1], err);
    if (status != SL_OK)
        return status;
    if (c->state == STATE_WAITING)
        return validation_due(c) ? open_validation(c, err) : open_step(c, err);
    return c->state == STATE_TRAINING || c->state == STATE_VALIDATING ? assign_free(c, err) : SL_OK;
}

/* ---- a training step ---- */

static bool out_of_patience(const struct ps_coordinator *c)
{
    int patience = c->options.config->early_stopping.patience;
    return patience > 0 && c->training.validations_without_gain >= patience;
}

static enum sl_status open_step(struct ps_coordinator *c, struct sl_error *err)
{
    if (c->training.step >= c->total_steps)
        return begin_finish(c, SL_OK, "nothing left to do: all steps of the config are done", err);
    if (out_of_patience(c))
        return begin_finish(c, SL_OK, "nothing left to do: training was stopped early", err);
    int64_t samples = samples_of_step(c, c->training.step), size = c->options.config->batch.slot_size;
    c->state = STATE_TRAINING;
    c->reduced = false;
    memset(c->node_present, 0, sl_tree_places((uint32_t)c->options.config->batch.slots));
    return open_units(c, (uint32_t)((samples + size - 1) / size), err);
}

/* Joins a node's sums with its sibling's, up to the root, left + right: the order of the gradients. */
static void join_stats(struct ps_coordinator *c, struct sl_node node, const struct sl_step_stats *stats)
{
    uint32_t root = sl_tree_levels(c->units);
    struct sl_step_stats sum = *stats;
    for (;; node = sl_tree_parent(node)) {
        size_t place = sl_tree_place(c->units, node);
        c->node_stats[place] = sum;
        c->node_present[place] = 1;
        if (node.level == root)
            return;
        struct sl_node sibling = sl_tree_sibling(node);
        size_t other = sl_tree_place(c->units, sibling);
        if (!sl_tree_node_valid(c->units, sibling))
            continue; /* a missing leaf is skipped */
        if (!c->node_present[other])
            return;
        sum = c->node_stats[node.index % 2 == 0 ? place : other];
        sl_step_stats_add(&sum, &c->node_stats[node.index % 2 == 0 ? other : place]);
    }
}

static void record_losses(struct ps_coordinator *c, const struct sl_step_stats *sum)
{
    struct ps_step_record *r = &c->record;
    int modalities = c->options.config->modality_count;
    *r = (struct ps_step_record){.step = c->training.step + 1,
            .epoch = c->training.step / c->steps_per_epoch,
            .samples = sum->count};
    for (int b = 0; b <= modalities; b++) {
        r->loss[b] = sum->loss[b] / sum->weight_sum;
        r->accuracy[b] = (double)sum->correct[b] / sum->count;
    }
    for (int m = 0; m < modalities; m++)
        r->score[m] = sum->score[m] / sum->count;
    r->seconds = (double)(c->now_us - c->opened_us) * 1e-6;
    r->compute_seconds = (double)c->compute_us * 1e-6;
    r->workers = c->worker_count;
}

/* The global norm from per-block sums in block order, and the angle between the two branches of each extractor. */
static void record_gradients(struct ps_coordinator *c, const struct sl_step_stats *sum)
{
    struct ps_step_record *r = &c->record;
    const struct sl_layout *layout = c->options.layout;
    double norm2 = 0.0, dot[SL_MODALITIES_MAX] = {0}, unimodal2[SL_MODALITIES_MAX] = {0},
           fused2[SL_MODALITIES_MAX] = {0};
    for (int b = 0; b < layout->block_count; b++) {
        norm2 += c->sums[b].norm2;
        if (layout->blocks[b].part != SL_PART_EXTRACTOR)
            continue;
        int m = layout->blocks[b].modality;
        dot[m] += c->sums[b].dot;
        unimodal2[m] += c->sums[b].unimodal2;
        fused2[m] += c->sums[b].fused2;
    }
    r->norm = sqrt(norm2) / sum->weight_sum;
    for (int m = 0; m < layout->modality_count; m++)
        r->cosine[m] = dot[m] / sqrt(unimodal2[m] * fused2[m]);
    r->clip = ps_optimiser_clip(&c->optimiser, r->norm);
}

/* All slots are in and the servers have reduced them: scores → ratios → coefficients, norm → clip factor; then COMMIT. */
static enum sl_status commit_if_whole(struct ps_coordinator *c, struct sl_error *err)
{
    if (c->state != STATE_TRAINING || c->units_done < c->units || !c->reduced)
        return SL_OK;
    const struct sl_step_stats *sum = &c->node_stats[1];
    record_losses(c, sum);
    record_gradients(c, sum);
    struct ps_step_record *r = &c->record;
    struct sl_error problem = {0};
    if (!isfinite(r->loss[c->options.config->modality_count]) || !isfinite(r->norm) ||
            !(sum->weight_sum > 0.0))
        return begin_finish(c, SL_DIVERGED,
                "the loss or the gradient's norm is not finite: lower optimiser.lr or add "
                "optimiser.warmup_steps",
                err);
    if (ps_modulation_step(&c->training.modulation, &c->modulation, c->training.step, sum->score,
                c->options.config->modality_count, r->ratio, r->coefficient, &problem) != SL_OK)
        return begin_finish(c, SL_DIVERGED, problem.text, err);
    struct ps_schedule schedule = ps_schedule_from_config(c->options.config, c->total_steps);
    r->rate = ps_schedule_rate(&schedule, c->training.step);
    c->state = STATE_COMMITTING;
    struct sl_message *m = message_to_send(c, SL_MESSAGE_COMMIT);
    if (m != NULL) {
        m->commit =
                (struct sl_commit){.inverse_weight = 1.0 / sum->weight_sum, .clip = r->clip, .rate = r->rate};
        memcpy(m->commit.coefficient, r->coefficient, sizeof(m->commit.coefficient));
    }
    return sl_outbox_add(&c->updates->outbox, (struct sl_address){SL_ROLE_SERVER, 0}, m, err);
}

/* STATS of the open step from a worker that takes part: joined once. Of another step, of other slots, or of slots that are done → ignored. Over other
 * samples than those slots have → the worker is dropped: it has another idea of the data. */
static enum sl_status on_stats(
        struct ps_coordinator *c, int w, const struct sl_message *m, struct sl_error *err)
{
    if (c->state != STATE_TRAINING || m->step != c->training.step || m->slots != c->units)
        return SL_OK;
    uint32_t begin = sl_tree_begin(m->node), end = sl_tree_end(c->units, m->node);
    if (m->stats.count != samples_of_units(c, samples_of_step(c, m->step), begin, end))
        return lose_worker(
                c, w, "its statistics are over another number of samples than its slots have", err);
    if (!close_units(c, begin, end))
        return SL_OK;
    c->compute_us += m->compute_us;
    join_stats(c, m->node, &m->stats);
    enum sl_status status = assign_free(c, err);
    return status == SL_OK ? commit_if_whole(c, err) : status;
}

/* REDUCED from a server: text is set when it found something that is not finite; else the sums of all its blocks. */
static enum sl_status on_reduced(struct ps_coordinator *c, const struct sl_message *m, struct sl_error *err)
{
    size_t size = (size_t)c->options.layout->block_count * sizeof(*c->sums);
    if (c->state != STATE_TRAINING || m->step != c->training.step || m->frames[0].size != size)
        return SL_OK;
    if (m->text[0] != 0)
        return begin_finish(c, SL_DIVERGED, m->text, err);
    memcpy(c->sums, m->frames[0].data, size);
    c->reduced = true;
    return commit_if_whole(c, err);
}

/* ---- validation ---- */

static enum sl_status open_validation(struct ps_coordinator *c, struct sl_error *err)
{
    c->state = STATE_VALIDATING;
    sl_evaluation_clear(c->evaluation);
    return open_units(c, validation_units(c), err);
}

/* Better than the best by more than min_delta; a loss is better when it is lower. */
static bool is_gain(const struct ps_coordinator *c, double value)
{
    double delta = value - c->training.best_value;
    if (c->keep_metric == SL_METRIC_LOSS)
        delta = -delta;
    return isfinite(value) &&
           (isnan(c->training.best_value) || delta > c->options.config->early_stopping.min_delta);
}

static enum sl_status end_validation(struct ps_coordinator *c, struct sl_error *err)
{
    struct ps_action *action = add_action(c, PS_ACTION_VALIDATION);
    action->evaluation = c->evaluation;
    action->seconds = (double)(c->now_us - c->opened_us) * 1e-6;
    c->training.validated_step = c->training.step;
    double value = sl_evaluation_metric(c->evaluation, c->keep_branch, c->keep_metric);
    c->snapshot_best = is_gain(c, value);
    action->best = c->snapshot_best;
    if (c->snapshot_best) {
        c->training.best_value = value;
        c->training.best_step = c->training.step;
        c->training.validations_without_gain = 0;
    } else {
        c->training.validations_without_gain++;
    }
    c->snapshot_wanted = true;
    return end_run(c, err);
}

/* More samples counted than there are in these units (fewer is fine: some have no label). */
static bool counts_too_many(const struct ps_coordinator *c, const struct sl_message *m)
{
    int64_t samples = samples_of_units(c, (int64_t)c->training.validation_count, m->begin, m->end);
    for (int b = 0; b < sl_evaluation_branches(c->part); b++)
        if (sl_evaluation_count(c->part, b) > samples)
            return true;
    return false;
}

/* VALIDATED units of the open validation: merged once. What does not fit the shape of an evaluation or the number of samples → the worker is dropped. */
static enum sl_status on_validated(
        struct ps_coordinator *c, int w, const struct sl_message *m, struct sl_error *err)
{
    int branches = sl_evaluation_branches(c->part), classes = sl_evaluation_classes(c->part);
    size_t ints = sl_evaluation_int_count(branches, classes),
           doubles = sl_evaluation_double_count(branches, classes);
    if (c->state != STATE_VALIDATING || m->step != c->training.step || m->end > c->units)
        return SL_OK;
    const int64_t *values = m->frames[0].data;
    struct sl_error problem = {0};
    if (m->frames[0].size != ints * sizeof(int64_t) + doubles * sizeof(double))
        return lose_worker(c, w, "its validation result has another shape", err);
    if (sl_evaluation_load(c->part, values, ints, (const double *)(values + ints), doubles, &problem) !=
            SL_OK)
        return lose_worker(c, w, problem.text, err);
    if (counts_too_many(c, m))
        return lose_worker(c, w, "its validation result counts more samples than its units have", err);
    if (!close_units(c, m->begin, m->end))
        return SL_OK;
    enum sl_status status = sl_evaluation_merge(c->evaluation, c->part, err);
    if (status == SL_OK)
        status = assign_free(c, err);
    return status == SL_OK && c->units_done == c->units ? end_validation(c, err) : status;
}

/* ---- between steps: snapshot, next, end ---- */

static void start_snapshot(struct ps_coordinator *c)
{
    struct ps_action *action = add_action(c, PS_ACTION_SNAPSHOT);
    action->best = c->snapshot_best;
    c->snapshot_wanted = false;
    c->snapshot_best = false;
    c->snapshot_busy = true;
    c->snapshot_step = c->training.step;
}

/* Nothing is open: save if it is due, then go on or end. A snapshot that is due waits for the one before it. */
static enum sl_status end_run(struct ps_coordinator *c, struct sl_error *err)
{
    bool last =
            c->stopping || c->finish_after_save || c->training.step >= c->total_steps || out_of_patience(c);
    if (last) {
        c->finish_after_save = true;
        if (!c->stopping && c->finish_text[0] == 0)
            (void)snprintf(c->finish_text, sizeof(c->finish_text), "%s",
                    c->training.step >= c->total_steps ? "all steps are done"
                                                       : "early stopping: no gain any more");
    }
    if (c->snapshot_wanted && c->snapshot_busy) {
        c->state = STATE_SAVING;
        return SL_OK;
    }
    if (c->snapshot_wanted)
        start_snapshot(c);
    if (!last)
        return open_step(c, err);
    c->state = STATE_SAVING;
    return c->snapshot_busy ? SL_OK : begin_finish(c, c->finish_status, c->finish_text, err);
}

/* APPLIED: the new version stands. */
static enum sl_status on_applied(struct ps_coordinator *c, const struct sl_message *m, struct sl_error *err)
{
    if (c->state != STATE_COMMITTING || m->step != c->training.step + 1)
        return SL_OK;
    c->training.step++;
    add_action(c, PS_ACTION_STEP)->record = c->record;
    int64_t every = c->options.config->snapshots.every_steps;
    if (validation_due(c) && !c->stopping)
        return open_validation(c, err);
    if (c->training.step % c->steps_per_epoch == 0 || c->training.step >= c->total_steps || c->stopping ||
            (every > 0 && c->training.step % every == 0 && !c->snapshot_busy))
        c->snapshot_wanted = true;
    return end_run(c, err);
}

static enum sl_status on_snapshot_written(
        struct ps_coordinator *c, const struct ps_event *event, struct sl_error *err)
{
    c->snapshot_busy = false;
    if (event->status != SL_OK) {
        add_note(c, PS_ACTION_WARN, "the snapshot of step %" PRId64 " could not be written: %s",
                c->snapshot_step, event->text);
        if (c->finish_after_save && !c->snapshot_wanted &&
                (c->finish_status == SL_OK || c->finish_status == SL_STOPPED)) {
            c->finish_status = event->status;
            (void)snprintf(c->finish_text, sizeof(c->finish_text),
                    "the last snapshot could not be written: %s", event->text);
        }
    }
    return c->state == STATE_SAVING ? end_run(c, err) : SL_OK;
}

/* The end: workers are told, the loop gets FINISH. */
static enum sl_status begin_finish(
        struct ps_coordinator *c, enum sl_status status, const char *text, struct sl_error *err)
{
    c->state = STATE_FINISHED;
    for (int w = 0; w < c->worker_count; w++) {
        struct sl_message *m = message_to_send(c, SL_MESSAGE_STOP);
        if (m != NULL)
            (void)snprintf(m->text, sizeof(m->text), "%s", text);
        enum sl_status sent = send_worker(c, c->workers[w].id, m, err);
        if (sent != SL_OK)
            return sent;
    }
    struct ps_action *action = add_action(c, PS_ACTION_FINISH);
    action->status = status;
    (void)snprintf(action->text, sizeof(action->text), "%s", text);
    return SL_OK;
}

/* A signal: finish the open step if someone is at work on it, then save and end. A validation is given up. */
static enum sl_status on_stop(struct ps_coordinator *c, const struct ps_event *event, struct sl_error *err)
{
    if (c->stopping)
        return SL_OK;
    c->stopping = true;
    c->finish_status = event->status;
    (void)snprintf(c->finish_text, sizeof(c->finish_text), "%s", event->text);
    if (c->state == STATE_COMMITTING || c->state == STATE_SAVING ||
            (c->state == STATE_TRAINING && c->worker_count > 0))
        return SL_OK;
    c->snapshot_wanted = c->training.train_count > 0;
    return end_run(c, err);
}

/* ---- events ---- */

static enum sl_status on_tick(struct ps_coordinator *c, struct sl_error *err)
{
    const struct sl_config *config = c->options.config;
    for (int w = c->worker_count - 1; w >= 0; w--) {
        if (c->now_us - c->workers[w].heard_us <= config->cluster.timeout_ms * 1000)
            continue;
        enum sl_status status = lose_worker(c, w, "not heard for too long", err);
        if (status != SL_OK)
            return status;
    }
    if (c->now_us < c->beat_us)
        return SL_OK;
    c->beat_us = c->now_us + config->cluster.heartbeat_ms * 1000;
    for (int w = 0; w < c->worker_count; w++) {
        enum sl_status status =
                send_worker(c, c->workers[w].id, message_to_send(c, SL_MESSAGE_HEARTBEAT), err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

static enum sl_status on_worker_message(
        struct ps_coordinator *c, uint64_t id, const struct sl_message *m, struct sl_error *err)
{
    if (m->kind == SL_MESSAGE_HELLO)
        return on_hello(c, id, m, err);
    int w = find_worker(c, id);
    if (w < 0 || m->cluster != c->options.cluster)
        return SL_OK; /* of a worker that was given up, or of another run */
    c->workers[w].heard_us = c->now_us;
    switch (m->kind) {
    case SL_MESSAGE_STATS:
        return on_stats(c, w, m, err);
    case SL_MESSAGE_VALIDATED:
        return on_validated(c, w, m, err);
    case SL_MESSAGE_BYE:
        return lose_worker(c, w, m->text[0] != 0 ? m->text : "left", err);
    default:
        return SL_OK;
    }
}

static enum sl_status on_server_message(
        struct ps_coordinator *c, const struct sl_message *m, struct sl_error *err)
{
    if (m->kind == SL_MESSAGE_REDUCED)
        return on_reduced(c, m, err);
    if (m->kind == SL_MESSAGE_APPLIED)
        return on_applied(c, m, err);
    return SL_OK;
}

static enum sl_status on_gone(struct ps_coordinator *c, uint64_t id, struct sl_error *err)
{
    int w = find_worker(c, id);
    return w < 0 ? SL_OK : lose_worker(c, w, "its connection is gone", err);
}

enum sl_status ps_coordinator_step(struct ps_coordinator *c, const struct ps_event *event,
        struct ps_updates *updates, struct sl_error *err)
{
    sl_outbox_clear(&updates->outbox);
    updates->action_count = 0;
    c->updates = updates;
    c->now_us = event->now_us;
    enum sl_status status = SL_OK;
    if (c->state == STATE_FINISHED)
        return SL_OK;
    switch (event->kind) {
    case PS_EVENT_TICK:
        status = on_tick(c, err);
        break;
    case PS_EVENT_MESSAGE:
        status = event->from.role == SL_ROLE_WORKER
                         ? on_worker_message(c, event->from.id, event->message, err)
                         : on_server_message(c, event->message, err);
        break;
    case PS_EVENT_GONE:
        status = on_gone(c, event->from.id, err);
        break;
    case PS_EVENT_STOP:
        status = on_stop(c, event, err);
        break;
    case PS_EVENT_SNAPSHOT_WRITTEN:
        status = on_snapshot_written(c, event, err);
        break;
    }
    updates->wake_us = c->beat_us;
    return status;
}

struct ps_training ps_training_begin(void)
{
    return (struct ps_training){.best_value = NAN};
}

const struct ps_training *ps_coordinator_training(const struct ps_coordinator *c)
{
    return &c->training;
}

int64_t ps_coordinator_total_steps(const struct ps_coordinator *c)
{
    return c->total_steps;
}

int64_t ps_coordinator_steps_per_epoch(const struct ps_coordinator *c)
{
    return c->steps_per_epoch;
}

int ps_coordinator_worker_count(const struct ps_coordinator *c)
{
    return c->worker_count;
}

struct ps_worker_view ps_coordinator_worker(const struct ps_coordinator *c, int index)
{
    const struct worker *w = &c->workers[index];
    return (struct ps_worker_view){.id = w->id,
            .rank = w->rank,
            .threads = w->threads,
            .pid = w->pid,
            .host = w->host,
            .joined_us = w->joined_us,
            .heard_us = w->heard_us,
            .slots = w->slots,
            .busy = w->units > 0};
}

int ps_coordinator_server_count(const struct ps_coordinator *c)
{
    (void)c;
    return 0; /* the one server is this process */
}

struct ps_server_view ps_coordinator_server(const struct ps_coordinator *c, int rank)
{
    (void)c;
    return (struct ps_server_view){.rank = (uint32_t)rank};
}

const char *ps_coordinator_state(const struct ps_coordinator *c)
{
    static const char *const names[] = {
            "gathering", "training", "training", "validating", "saving", "finished"};
    return names[c->state];
}

uint64_t ps_coordinator_rollbacks(const struct ps_coordinator *c)
{
    (void)c;
    return 0;
}

uint64_t ps_coordinator_lost(const struct ps_coordinator *c)
{
    return c->lost;
}
