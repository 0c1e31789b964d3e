/* The coordinator's decisions: see coordinator.h. One message kind, one function; a step's life is read from top to bottom. */
#include "ps/coordinator.h"

#include "common/memory.h"
#include "common/placement.h"
#include "common/random.h"
#include "ps/assign.h"
#include "ps/open_step.h"
#include "ps/optimiser.h"
#include "ps/roster.h"
#include "ps/schedule.h"
#include "ps/server.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define UNITS_MAX (1U << 26)  /* of a validation: the table of who has which is 4 bytes for each */
#define FRUITLESS_MAX 10      /* rollbacks in a row without one step more than before */
#define LOOK_AROUND_US 100000 /* between two looks for stragglers, while somebody is idle */

enum state {
    STATE_GATHERING,
    STATE_LOADING,
    STATE_TRAINING,
    STATE_VALIDATING,
    STATE_SAVING,
    STATE_RESTORING,
    STATE_FINISHED
};

struct ps_coordinator {
    struct ps_coordinator_options options;
    struct ps_modulation_config modulation;
    struct ps_optimiser optimiser; /* for its clipping */
    struct ps_training training;   /* as far as all servers have applied */
    struct ps_modulation
            ordered_modulation; /* as far as COMMIT was sent; training.modulation follows when nothing is under way */
    enum state state;
    struct ps_roster roster;
    uint64_t cluster;
    int *owners; /* (block_count,): ranks */
    int64_t steps_per_epoch, total_steps;
    /* what is being computed */
    struct ps_open_step steps[PS_OPEN_MAX + 1]; /* the last one is for validation */
    int open_max;
    int64_t next_step; /* to be opened */
    int64_t boundary;  /* no step from here on is opened before everything is applied */
    int64_t ordered;   /* versions up to here: COMMIT was sent */
    struct sl_evaluation *evaluation, *part;
    /* snapshots */
    bool snapshot_wanted, snapshot_best;
    bool snapshot_busy;         /* being gathered or written */
    int64_t snapshot_step;      /* of that one */
    int blocks_missing;         /* > 0: being gathered */
    unsigned char *block_saved; /* (block_count,) */
    /* ends */
    bool stopping, finish_after_save;
    enum sl_status finish_status;
    char finish_text[SL_MESSAGE_TEXT_MAX];
    uint64_t rollbacks, lost;
    int fruitless;
    int64_t rolled_back_step; /* how far training was at the last rollback */
    int keep_branch;
    enum sl_metric keep_metric;
    /* of the event being handled */
    int64_t now_us;
    struct ps_updates *updates;
    bool out_of_memory; /* for an action, which then goes nowhere */
    struct ps_action nowhere;
};

#define VALIDATION PS_OPEN_MAX

static enum sl_status proceed(struct ps_coordinator *c, struct sl_error *err);
static enum sl_status assign_work(struct ps_coordinator *c, struct sl_error *err);
static enum sl_status commit_whole_steps(struct ps_coordinator *c, struct sl_error *err);
static enum sl_status begin_finish(
        struct ps_coordinator *c, enum sl_status status, const char *text, struct sl_error *err);

/* ---- create ---- */

static uint32_t validation_units(const struct ps_coordinator *c)
{
    uint64_t size = (uint64_t)c->options.config->batch.slot_size;
    return (uint32_t)((c->training.validation_count + size - 1) / size);
}

/* Sizes follow from the data: known at once when resuming, from the first worker otherwise. */
static void plan_steps(struct ps_coordinator *c)
{
    const struct sl_config *config = c->options.config;
    int64_t batch = (int64_t)config->batch.slots * config->batch.slot_size;
    c->steps_per_epoch = ((int64_t)c->training.train_count + batch - 1) / batch;
    c->total_steps = c->steps_per_epoch * config->epochs;
    if (config->max_steps > 0 && config->max_steps < c->total_steps)
        c->total_steps = config->max_steps;
}

/* Everything that counts steps begins where training stands. */
static void begin_at(struct ps_coordinator *c, const struct ps_training *training)
{
    c->training = *training;
    c->ordered = training->step;
    c->ordered_modulation = training->modulation;
    c->next_step = training->step;
    c->boundary = training->step;
    c->snapshot_step = training->step;
    if (training->train_count > 0)
        plan_steps(c);
}

static enum sl_status allocate(struct ps_coordinator *c, struct sl_error *err)
{
    const struct sl_config *config = c->options.config;
    size_t blocks = (size_t)c->options.layout->block_count;
    c->owners = sl_alloc(blocks, sizeof(*c->owners));
    c->block_saved = sl_alloc(blocks, 1);
    if (c->owners == NULL || c->block_saved == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the coordinator");
    sl_placement_make(c->options.layout, c->options.servers, c->owners);
    enum sl_status status = ps_roster_init(&c->roster, c->options.servers, err);
    if (status == SL_OK)
        status = sl_evaluation_create(&c->evaluation, config->modality_count + 1, config->label_count, err);
    if (status == SL_OK)
        status = sl_evaluation_create(&c->part, config->modality_count + 1, config->label_count, err);
    return status;
}

enum sl_status ps_coordinator_create(struct ps_coordinator **ret_coordinator,
        const struct ps_coordinator_options *options, struct sl_error *err)
{
    const struct sl_config *config = options->config;
    if (options->servers > options->layout->block_count)
        return sl_fail(err, SL_USAGE,
                "cluster.servers is %d, but the model has only %d blocks of parameters to share out: use at "
                "most that many servers",
                options->servers, options->layout->block_count);
    struct ps_coordinator *c = sl_alloc(1, sizeof(*c));
    if (c == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the coordinator");
    c->options = *options;
    c->cluster = options->cluster;
    c->modulation = ps_modulation_from_config(config);
    if (config->consistency.mode != SL_CONSISTENCY_BSP)
        c->modulation.statistics =
                SL_STATISTICS_MEAN; /* scores of overlapping steps are of different versions */
    c->optimiser = ps_optimiser_from_config(config);
    c->open_max = ps_server_open_max(config);
    c->rolled_back_step = -1;
    bool known = sl_config_find_metric(config, config->snapshots.keep_best, &c->keep_branch, &c->keep_metric);
    assert(known); /* the config was checked */
    begin_at(c, &options->training);
    enum sl_status status = allocate(c, err);
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
    for (int i = 0; i <= PS_OPEN_MAX; i++)
        ps_open_step_fini(&c->steps[i]);
    ps_roster_fini(&c->roster);
    sl_free(c->owners);
    sl_free(c->block_saved);
    sl_evaluation_destroy(c->evaluation);
    sl_evaluation_destroy(c->part);
    sl_free(c);
}

/* ---- out ---- */

static struct sl_message *message_to_send(const struct ps_coordinator *c, enum sl_message_kind kind)
{
    struct sl_message *m = sl_message_create(kind);
    if (m != NULL) {
        m->cluster = c->cluster;
        m->incarnation = c->options.incarnation;
        m->step = c->training.step;
        m->version = c->training.step;
    }
    return m;
}

static enum sl_status send_worker(
        struct ps_coordinator *c, uint64_t id, struct sl_message *m, struct sl_error *err)
{
    return sl_outbox_add(&c->updates->outbox, (struct sl_address){SL_ROLE_WORKER, id}, m, err);
}

/* The same message to every server. Owns: takes template. */
static enum sl_status send_servers(
        struct ps_coordinator *c, struct sl_message *template, struct sl_error *err)
{
    enum sl_status status =
            template == NULL ? sl_fail(err, SL_NO_MEMORY, "out of memory for a message") : SL_OK;
    for (int s = 0; s < c->roster.server_count && status == SL_OK; s++)
        if (c->roster.servers[s].present)
            status = sl_outbox_add(&c->updates->outbox,
                    (struct sl_address){SL_ROLE_SERVER, c->roster.servers[s].id}, sl_message_clone(template),
                    err);
    sl_message_destroy(template);
    return status;
}

/* Never NULL: when memory is out, the step of the core fails and the action goes nowhere. */
static struct ps_action *add_action(struct ps_coordinator *c, enum ps_action_kind kind)
{
    struct ps_updates *u = c->updates;
    if (u->action_count == u->action_capacity) {
        int capacity = u->action_capacity == 0 ? 8 : 2 * u->action_capacity;
        struct ps_action *actions = sl_realloc(u->actions, (size_t)capacity, sizeof(*actions));
        if (actions == NULL) {
            c->out_of_memory = true;
            return &c->nowhere;
        }
        u->actions = actions;
        u->action_capacity = capacity;
    }
    struct ps_action *action = &u->actions[u->action_count++];
    *action = (struct ps_action){.kind = kind};
    return action;
}

__attribute__((format(printf, 3, 4))) static void add_note(
        struct ps_coordinator *c, enum ps_action_kind kind, const char *format, ...)
{
    struct ps_action *action = add_action(c, kind);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(action->text, sizeof(action->text), format, args);
    va_end(args);
}

void ps_updates_fini(struct ps_updates *updates)
{
    sl_outbox_fini(&updates->outbox);
    sl_free(updates->actions);
    *updates = (struct ps_updates){0};
}

/* ---- what there is to do ---- */

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

static bool out_of_patience(const struct ps_coordinator *c)
{
    int patience = c->options.config->early_stopping.patience;
    return patience > 0 && c->training.validations_without_gain >= patience;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Where everything must be applied before it goes on: the end of an epoch, a snapshot, the end. */
static int64_t next_boundary(const struct ps_coordinator *c)
{
    int64_t step = c->training.step, every = c->options.config->snapshots.every_steps;
    int64_t next = least((step / c->steps_per_epoch + 1) * c->steps_per_epoch, c->total_steps);
    return every > 0 ? least(next, (step / every + 1) * every) : next;
}

static bool anything_open(const struct ps_coordinator *c)
{
    for (int i = 0; i < c->open_max; i++)
        if (c->steps[i].open)
            return true;
    return false;
}

static bool may_open(const struct ps_coordinator *c)
{
    int open = 0;
    for (int i = 0; i < c->open_max; i++)
        open += c->steps[i].open;
    return c->state == STATE_TRAINING && !c->stopping && open < c->open_max && c->next_step < c->boundary &&
           c->next_step < c->training.step + PS_WINDOW_MAX / 2;
}

static enum sl_status open_units(struct ps_coordinator *c, int at, enum sl_phase phase, int64_t step,
        uint32_t units, struct sl_error *err)
{
    return ps_open_step_begin(&c->steps[at], phase, step, c->ordered, units,
            (uint32_t)c->options.config->batch.slots, c->options.layout->block_count, c->options.servers,
            c->now_us, err);
}

/* Which steps are audited depends on (seed, step) alone. */
static bool is_audited(const struct ps_coordinator *c, int64_t step)
{
    struct sl_random random = sl_random_make(c->options.config->seed, SL_RANDOM_AUDIT, (uint64_t)step, 0);
    return (double)sl_random_float(&random, 0) < c->options.config->cluster.audit;
}

static enum sl_status open_next_step(struct ps_coordinator *c, struct sl_error *err)
{
    int at = 0;
    while (c->steps[at].open)
        at++;
    int64_t samples = samples_of_step(c, c->next_step), size = c->options.config->batch.slot_size;
    enum sl_status status =
            open_units(c, at, SL_PHASE_TRAIN, c->next_step, (uint32_t)((samples + size - 1) / size), err);
    if (status == SL_OK && is_audited(c, c->next_step))
        c->steps[at].audit = PS_AUDIT_WANTED;
    if (status == SL_OK)
        c->next_step++;
    return status;
}

/* ---- assignment ---- */

static enum sl_status assign_run(struct ps_coordinator *c, int w, int at, enum sl_phase phase, uint32_t begin,
        uint32_t end, struct sl_error *err)
{
    struct ps_open_step *step = &c->steps[at];
    struct ps_worker *worker = &c->roster.workers[w];
    struct sl_message *m = message_to_send(c, SL_MESSAGE_ASSIGN);
    if (m != NULL) {
        m->phase = phase;
        m->step = step->step;
        m->version = step->base;
        m->slots = step->units;
        m->begin = begin;
        m->end = end;
        m->hash = phase == SL_PHASE_AUDIT || step->audit == PS_AUDIT_WANTED;
    }
    worker->run = (struct ps_run){.at = at,
            .phase = phase,
            .begin = begin,
            .end = end,
            .left = end - begin,
            .assigned_us = c->now_us,
            .shadow = -1};
    for (uint32_t u = begin; u < end && phase != SL_PHASE_AUDIT; u++) {
        step->todo -= step->owner[u] == PS_UNIT_TODO;
        if (step->owner[u] == PS_UNIT_TODO)
            step->owner[u] = w; /* a shadow leaves it with the one that it shadows */
    }
    return send_worker(c, worker->id, m, err);
}

/* The oldest open step that has units nobody has, or -1. Validation is the only one while it is open. */
static int oldest_with_work(const struct ps_coordinator *c)
{
    int oldest = -1;
    if (c->state == STATE_VALIDATING)
        return c->steps[VALIDATION].todo > 0 ? VALIDATION : -1;
    for (int i = 0; i < c->open_max; i++)
        if (c->steps[i].open && c->steps[i].todo > 0 &&
                (oldest < 0 || c->steps[i].step < c->steps[oldest].step))
            oldest = i;
    return oldest;
}

static int find_idle(const struct ps_coordinator *c, int from, uint64_t except)
{
    for (int w = from; w < c->roster.worker_end; w++)
        if (ps_assign_idle(&c->roster.workers[w]) && c->roster.workers[w].id != except)
            return w;
    return -1;
}

/* Shares a step's free units out. *ret_any: somebody got something. */
static enum sl_status share_out(struct ps_coordinator *c, int at, bool *ret_any, struct sl_error *err)
{
    struct ps_open_step *step = &c->steps[at];
    bool among_idle = step->phase == SL_PHASE_VALIDATE || c->open_max == 1;
    *ret_any = false;
    for (int w = find_idle(c, 0, 0); w >= 0 && step->todo > 0; w = find_idle(c, w + 1, 0)) {
        uint32_t begin = 0, end = 0;
        if (!ps_assign_share(&c->roster, step, w, among_idle, &begin, &end))
            continue;
        enum sl_status status = assign_run(c, w, at, step->phase, begin, end, err);
        if (status != SL_OK)
            return status;
        *ret_any = true;
    }
    return SL_OK;
}

/* A node that was computed is given to another worker, to be compared. With nobody else there it passes. */
static enum sl_status assign_audits(struct ps_coordinator *c, struct sl_error *err)
{
    for (int i = 0; i < c->open_max; i++) {
        struct ps_open_step *step = &c->steps[i];
        if (!step->open || step->audit != PS_AUDIT_OPEN)
            continue;
        int first = ps_roster_find_worker(&c->roster, step->audit_first);
        if (c->roster.worker_count - (first >= 0) == 0) {
            step->audit = PS_AUDIT_CLOSED;
            continue;
        }
        int w = find_idle(c, 0, step->audit_first);
        if (w < 0)
            continue;
        step->audit = PS_AUDIT_ASSIGNED;
        enum sl_status status = assign_run(c, w, i, SL_PHASE_AUDIT, sl_tree_begin(step->audit_node),
                sl_tree_end(step->units, step->audit_node), err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

/* An audit that takes too long is given up: it must not hold up training. */
static bool drop_overdue_audits(struct ps_coordinator *c)
{
    bool any = false;
    for (int w = 0; w < c->roster.worker_end; w++) {
        struct ps_worker *worker = &c->roster.workers[w];
        if (ps_assign_idle(worker) || !worker->present || worker->run.phase != SL_PHASE_AUDIT ||
                !ps_assign_overdue(&c->roster, w, c->now_us, c->options.config->cluster.straggler,
                        2000 * c->options.config->cluster.heartbeat_ms))
            continue;
        add_note(c, PS_ACTION_WARN, "%s is slow with an audit of step %" PRId64 ": given up", worker->name,
                c->steps[worker->run.at].step);
        c->steps[worker->run.at].audit = PS_AUDIT_CLOSED;
        worker->run = (struct ps_run){.at = -1, .shadow = -1};
        any = true;
    }
    return any;
}

/* Idle workers take over what others are too slow with; whoever is first counts. */
static enum sl_status shadow_stragglers(struct ps_coordinator *c, struct sl_error *err)
{
    const struct sl_config *config = c->options.config;
    for (int x = find_idle(c, 0, 0); x >= 0; x = find_idle(c, x + 1, 0)) {
        int w = ps_assign_straggler(
                &c->roster, c->now_us, config->cluster.straggler, 2000 * config->cluster.heartbeat_ms);
        uint32_t begin = 0, end = 0;
        if (w < 0 || !ps_assign_rest(
                             &c->steps[c->roster.workers[w].run.at], &c->roster.workers[w].run, &begin, &end))
            return SL_OK;
        c->roster.workers[w].run.shadow = x;
        add_note(c, PS_ACTION_WARN, "%s is slow with its part of step %" PRId64 ": %s computes it too",
                c->roster.workers[w].name, c->steps[c->roster.workers[w].run.at].step,
                c->roster.workers[x].name);
        enum sl_status status = assign_run(
                c, x, c->roster.workers[w].run.at, c->roster.workers[w].run.phase, begin, end, err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

/* Gives everybody who is idle something to do, as long as there is something: free units of the oldest step, then a new step. */
static enum sl_status assign_work(struct ps_coordinator *c, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    bool any = true;
    if (c->state != STATE_TRAINING && c->state != STATE_VALIDATING)
        return SL_OK;
    while (any && status == SL_OK && find_idle(c, 0, 0) >= 0) {
        int at = oldest_with_work(c);
        if (at >= 0)
            status = share_out(c, at, &any, err);
        else if (may_open(c))
            status = open_next_step(c, err);
        else
            any = false;
    }
    return status == SL_OK && c->state == STATE_TRAINING ? assign_audits(c, err) : status;
}

/* Takes note that a run of units is done. Returns how many were not before: 0 for a duplicate. */
static uint32_t close_units(struct ps_coordinator *c, struct ps_open_step *step, uint32_t begin, uint32_t end)
{
    uint32_t fresh = 0;
    for (uint32_t u = begin; u < end; u++) {
        int owner = step->owner[u];
        if (owner == PS_UNIT_DONE)
            continue;
        fresh++;
        step->owner[u] = PS_UNIT_DONE;
        if (owner == PS_UNIT_TODO) {
            step->todo--;
            continue;
        }
        struct ps_run *run = &c->roster.workers[owner].run;
        run->left--;
        if (run->shadow < 0)
            continue;
        struct ps_run *shadow = &c->roster.workers[run->shadow].run;
        if (u >= shadow->begin && u < shadow->end)
            shadow->left--;
    }
    step->done += fresh;
    return fresh;
}

/* It computes nobody else's units any more. */
static void unshadow(struct ps_coordinator *c, int w)
{
    for (int x = 0; x < c->roster.worker_end; x++)
        if (c->roster.workers[x].run.shadow == w)
            c->roster.workers[x].run.shadow = -1;
}

/* Whoever is through with its run is measured by it, also when it was overtaken: then it is at least so slow. */
static void learn_speeds(struct ps_coordinator *c, int w)
{
    struct ps_run *run = &c->roster.workers[w].run;
    if (run->at >= 0 && run->left == 0) {
        if (run->phase != SL_PHASE_AUDIT)
            ps_assign_learn(&c->roster, w, c->now_us);
        run->at = -1;
        run->shadow = -1;
        unshadow(c, w);
    }
}

static void learn_all_speeds(struct ps_coordinator *c)
{
    for (int w = 0; w < c->roster.worker_end; w++)
        if (c->roster.workers[w].present)
            learn_speeds(c, w);
}

/* A worker's units are free again, or its shadow's; a shadow's stay with the one that it shadowed. */
static void free_units(struct ps_coordinator *c, int w)
{
    struct ps_run *run = &c->roster.workers[w].run;
    unshadow(c, w);
    if (run->at < 0)
        return;
    struct ps_open_step *step = &c->steps[run->at];
    if (run->phase == SL_PHASE_AUDIT) {
        if (step->open && step->audit == PS_AUDIT_ASSIGNED && run->left > 0)
            step->audit = PS_AUDIT_OPEN;
        return;
    }
    const struct ps_run *shadow = run->shadow >= 0 ? &c->roster.workers[run->shadow].run : NULL;
    for (uint32_t u = run->begin; step->open && u < run->end; u++) {
        if (step->owner[u] != w)
            continue;
        bool shadowed = shadow != NULL && u >= shadow->begin && u < shadow->end;
        step->owner[u] = shadowed ? run->shadow : PS_UNIT_TODO;
        step->todo += !shadowed;
    }
    run->at = -1;
}

/* Nothing is open any more: a validation that is given up, or everything at a rollback. */
static void abandon(struct ps_coordinator *c, int at)
{
    c->steps[at].open = false;
    for (int w = 0; w < c->roster.worker_end; w++)
        if (c->roster.workers[w].present && c->roster.workers[w].run.at == at)
            c->roster.workers[w].run = (struct ps_run){.at = -1, .shadow = -1};
}

/* ---- workers come and go ---- */

/* What is left of a stop when nobody computes any more: open steps are given up, if what is applied is a whole number of steps in order. */
static enum sl_status stop_without_workers(struct ps_coordinator *c, struct sl_error *err)
{
    bool in_order = true, under_way = false;
    for (int i = 0; i < c->open_max; i++) {
        under_way |= c->steps[i].open && c->steps[i].committing;
        in_order &= !c->steps[i].open || c->steps[i].committing || c->steps[i].step >= c->ordered;
    }
    if (!in_order)
        return begin_finish(c, c->finish_status,
                "stopped while later steps were applied before an earlier one, and no worker is left to "
                "compute "
                "that: the last snapshot is where it goes on",
                err);
    for (int i = 0; i < c->open_max; i++)
        if (c->steps[i].open && !c->steps[i].committing)
            abandon(c, i);
    if (under_way)
        return SL_OK; /* APPLIED comes */
    return proceed(c, err);
}

/* Its units are free again; what it already reported stays. */
static enum sl_status lose_worker(struct ps_coordinator *c, int w, const char *why, struct sl_error *err)
{
    add_note(c, PS_ACTION_LOST, "%s: %s", c->roster.workers[w].name, why);
    c->lost++;
    free_units(c, w);
    ps_roster_remove_worker(&c->roster, w);
    if (c->stopping && c->roster.worker_count == 0 && c->state == STATE_TRAINING)
        return stop_without_workers(c, err);
    enum sl_status status = assign_work(c, err);
    return status == SL_OK ? commit_whole_steps(c, err) : status; /* an audit may pass now */
}

static enum sl_status refuse(
        struct ps_coordinator *c, struct sl_address to, const char *text, struct sl_error *err)
{
    struct sl_message *m = message_to_send(c, SL_MESSAGE_REFUSE);
    if (m != NULL)
        (void)snprintf(m->text, sizeof(m->text), "%s", text);
    add_note(c, PS_ACTION_REFUSED, "%s", text);
    return sl_outbox_add(&c->updates->outbox, to, m, err);
}

/* A worker that says what cannot be is not asked again. */
static enum sl_status expel_worker(struct ps_coordinator *c, int w, const char *why, struct sl_error *err)
{
    struct sl_address to = {SL_ROLE_WORKER, c->roster.workers[w].id};
    enum sl_status status = refuse(c, to, why, err);
    return status == SL_OK ? lose_worker(c, w, why, err) : status;
}

/* What does not fit between a peer's program and this run, or false. */
static bool program_differs(
        const struct ps_coordinator *c, const struct sl_hello *hello, char *text, size_t size)
{
    const char *role = hello->role == SL_ROLE_SERVER ? "server" : "worker";
    if (hello->config_hash != c->options.config_hash)
        (void)snprintf(text, size,
                "%s %s:%u has another config (hash %016" PRIx64 ", the run's is %016" PRIx64
                "): start it with the run's config file",
                role, hello->host, hello->pid, hello->config_hash, c->options.config_hash);
    else if (hello->layout_hash != c->options.layout->hash)
        (void)snprintf(text, size,
                "%s %s:%u lays out parameters differently (hash %016" PRIx64 ", the run's is %016" PRIx64
                "): is its vocabulary the same?",
                role, hello->host, hello->pid, hello->layout_hash, c->options.layout->hash);
    else
        return false;
    return true;
}

/* What does not fit between a worker's data and this run's, or false. */
static bool data_differs(
        const struct ps_coordinator *c, const struct sl_hello *hello, char *text, size_t size)
{
    const struct ps_training *t = &c->training;
    if (t->train_count != 0 &&
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

/* The list of servers, with which a worker can begin; only when all of them are known. */
static enum sl_status welcome_worker(
        struct ps_coordinator *c, const struct ps_worker *worker, struct sl_error *err)
{
    size_t size = (size_t)c->roster.server_count * sizeof(struct sl_server_entry);
    struct sl_message *m = message_to_send(c, SL_MESSAGE_WELCOME);
    struct sl_buffer *list = sl_buffer_create(size);
    if (m == NULL || list == NULL) {
        sl_message_destroy(m);
        sl_buffer_release(list);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a list of servers");
    }
    struct sl_server_entry *entries = list->data;
    for (int s = 0; s < c->roster.server_count; s++) {
        entries[s].incarnation = c->roster.servers[s].id;
        if (s > 0) /* the first is reached through the coordinator */
            (void)snprintf(
                    entries[s].endpoint, sizeof(entries[s].endpoint), "%s", c->roster.servers[s].endpoint);
    }
    m->rank = worker->rank;
    m->count = (uint64_t)c->roster.server_count;
    sl_message_add_frame(m, list, list->data, size);
    sl_buffer_release(list);
    return send_worker(c, worker->id, m, err);
}

static bool loading_or_later(const struct ps_coordinator *c)
{
    return c->state != STATE_GATHERING && c->state != STATE_RESTORING;
}

/* All servers and somebody's data are there: every server gets its blocks. */
static enum sl_status load_if_gathered(struct ps_coordinator *c, struct sl_error *err)
{
    if (c->state != STATE_GATHERING || c->training.train_count == 0 ||
            ps_roster_servers_present(&c->roster) < c->roster.server_count)
        return SL_OK;
    c->state = STATE_LOADING;
    for (int s = 0; s < c->roster.server_count; s++) {
        struct ps_action *action = add_action(c, PS_ACTION_LOAD);
        action->to = (struct sl_address){SL_ROLE_SERVER, c->roster.servers[s].id};
        action->rank = (uint32_t)s;
        action->cluster = c->cluster;
    }
    for (int w = 0; w < c->roster.worker_end; w++) {
        enum sl_status status =
                c->roster.workers[w].present ? welcome_worker(c, &c->roster.workers[w], err) : SL_OK;
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

/* HELLO of a worker: does not fit → REFUSE; else it is in: it is welcomed as soon as all servers are known. The first worker of a fresh
 * run tells the size of the data. */
static enum sl_status on_worker_hello(
        struct ps_coordinator *c, uint64_t id, const struct sl_message *m, struct sl_error *err)
{
    char text[SL_MESSAGE_TEXT_MAX];
    struct sl_address from = {SL_ROLE_WORKER, id};
    int index = -1;
    if (m->hello.role != SL_ROLE_WORKER || ps_roster_find_worker(&c->roster, id) >= 0)
        return SL_OK;
    if (program_differs(c, &m->hello, text, sizeof(text)) || data_differs(c, &m->hello, text, sizeof(text)))
        return refuse(c, from, text, err);
    if (c->roster.worker_count == PS_WORKERS_MAX)
        return refuse(c, from, "this run has as many workers as it can take", err);
    if (c->training.train_count == 0) {
        c->training.train_count = m->hello.train_count;
        c->training.validation_count = m->hello.validation_count;
        c->training.train_fingerprint = m->hello.train_fingerprint;
        c->training.validation_fingerprint = m->hello.validation_fingerprint;
        plan_steps(c);
    }
    enum sl_status status = ps_roster_add_worker(&c->roster, id, &m->hello, c->now_us, &index, err);
    if (status != SL_OK)
        return status;
    add_note(c, PS_ACTION_JOINED, "%s with %u threads", c->roster.workers[index].name, m->hello.threads);
    if (!loading_or_later(c))
        return load_if_gathered(c, err);
    status = welcome_worker(c, &c->roster.workers[index], err);
    return status == SL_OK ? assign_work(c, err) : status;
}

/* ---- servers come and go ---- */

/* Everybody begins anew where the newest whole snapshot stands. A cluster that never gets further than this gives up. */
static enum sl_status roll_back(struct ps_coordinator *c, const char *why, struct sl_error *err)
{
    add_note(c, PS_ACTION_WARN, "%s: going back to the newest snapshot", why);
    if (c->blocks_missing > 0) {
        add_action(c, PS_ACTION_SNAPSHOT_DROP);
        c->blocks_missing = 0;
        c->snapshot_busy = false;
    }
    c->rollbacks++;
    c->fruitless = c->training.step > c->rolled_back_step ? 0 : c->fruitless + 1;
    c->rolled_back_step = c->training.step > c->rolled_back_step ? c->training.step : c->rolled_back_step;
    if (c->fruitless > FRUITLESS_MAX)
        return begin_finish(c, SL_GAVE_UP,
                "servers keep failing: not one step was made between the last rollbacks; see the servers' "
                "logs",
                err);
    for (int i = 0; i <= PS_OPEN_MAX; i++)
        if (c->steps[i].open)
            abandon(c, i);
    ps_roster_clear(&c->roster);
    c->cluster++;
    c->snapshot_wanted = false;
    c->snapshot_best = false;
    c->state = STATE_RESTORING;
    add_action(c, PS_ACTION_RESTORE);
    return SL_OK;
}

static enum sl_status lose_server(struct ps_coordinator *c, int rank, const char *why, struct sl_error *err)
{
    char text[SL_MESSAGE_TEXT_MAX];
    (void)snprintf(
            text, sizeof(text), "%s: %.*s", c->roster.servers[rank].name, SL_MESSAGE_TEXT_MAX / 2, why);
    add_note(c, PS_ACTION_LOST, "%s", text);
    if (c->state == STATE_GATHERING) {
        c->roster.servers[rank].present = false;
        return SL_OK;
    }
    return roll_back(c, text, err);
}

/* HELLO of a server: does not fit → REFUSE; its rank is taken by an earlier start of it → the news of that one's end comes first; else WELCOME. */
static enum sl_status on_server_hello(
        struct ps_coordinator *c, uint64_t id, const struct sl_message *m, struct sl_error *err)
{
    char text[SL_MESSAGE_TEXT_MAX];
    const struct sl_hello *hello = &m->hello;
    struct sl_address from = {SL_ROLE_SERVER, id};
    if (hello->role != SL_ROLE_SERVER || ps_roster_find_server(&c->roster, id) >= 0)
        return SL_OK;
    if (program_differs(c, hello, text, sizeof(text)))
        return refuse(c, from, text, err);
    if (hello->servers != (uint32_t)c->roster.server_count || hello->rank >= hello->servers ||
            (hello->rank == 0) != (id == c->options.incarnation) ||
            (hello->rank > 0 && hello->endpoint[0] == 0)) {
        (void)snprintf(text, sizeof(text),
                "server %s:%u was started as number %u of %u servers; this run has %d, numbered from 0, and "
                "0 is "
                "the coordinator's own",
                hello->host, hello->pid, hello->rank, hello->servers, c->roster.server_count);
        return refuse(c, from, text, err);
    }
    if (c->roster.servers[hello->rank].present) {
        (void)snprintf(text, sizeof(text), "it was started again as %s:%u", hello->host, hello->pid);
        enum sl_status status = lose_server(c, (int)hello->rank, text, err);
        if (status != SL_OK || c->state != STATE_GATHERING)
            return status; /* links are closed by the rollback: it says hello again */
    }
    ps_roster_set_server(&c->roster, id, hello, c->now_us);
    add_note(c, PS_ACTION_JOINED, "%s", c->roster.servers[hello->rank].name);
    struct sl_message *welcome = message_to_send(c, SL_MESSAGE_WELCOME);
    if (welcome != NULL) {
        welcome->rank = hello->rank;
        welcome->count = hello->servers;
    }
    enum sl_status status = sl_outbox_add(&c->updates->outbox, from, welcome, err);
    return status == SL_OK ? load_if_gathered(c, err) : status;
}

/* LOADED by a server; by all → training goes on from there. */
static enum sl_status on_loaded(
        struct ps_coordinator *c, int rank, const struct sl_message *m, struct sl_error *err)
{
    struct ps_server_member *server = &c->roster.servers[rank];
    if (c->state != STATE_LOADING || server->loaded || m->version != c->training.step)
        return SL_OK;
    server->loaded = true;
    server->version = m->version;
    if (ps_roster_servers_loaded(&c->roster) < c->roster.server_count)
        return SL_OK;
    add_action(c, PS_ACTION_READY);
    c->state = STATE_TRAINING;
    return proceed(c, err);
}

/* ---- a training step ---- */

static void record_losses(struct ps_coordinator *c, struct ps_open_step *step)
{
    const struct sl_step_stats *sum = ps_open_step_total(step);
    struct ps_step_record *r = &step->record;
    int modalities = c->options.config->modality_count;
    *r = (struct ps_step_record){
            .step = c->ordered + 1, .epoch = c->ordered / c->steps_per_epoch, .samples = sum->count};
    for (int b = 0; b <= modalities; b++) {
        r->loss[b] = sum->loss[b] / sum->weight_sum;
        r->accuracy[b] = (double)sum->correct[b] / sum->count;
    }
    for (int m = 0; m < modalities; m++)
        r->score[m] = sum->score[m] / sum->count;
    r->seconds = (double)(c->now_us - step->opened_us) * 1e-6;
    r->compute_seconds = (double)step->compute_us * 1e-6;
    r->workers = c->roster.worker_count;
}

/* The global norm from per-block sums in block order, and the angle between the two branches of each extractor. */
static void record_gradients(struct ps_coordinator *c, struct ps_open_step *step)
{
    struct ps_step_record *r = &step->record;
    const struct sl_layout *layout = c->options.layout;
    double norm2 = 0.0, dot[SL_MODALITIES_MAX] = {0}, unimodal2[SL_MODALITIES_MAX] = {0},
           fused2[SL_MODALITIES_MAX] = {0};
    for (int b = 0; b < layout->block_count; b++) {
        norm2 += step->sums[b].norm2;
        if (layout->blocks[b].part != SL_PART_EXTRACTOR)
            continue;
        int m = layout->blocks[b].modality;
        dot[m] += step->sums[b].dot;
        unimodal2[m] += step->sums[b].unimodal2;
        fused2[m] += step->sums[b].fused2;
    }
    r->norm = sqrt(norm2) / ps_open_step_total(step)->weight_sum;
    for (int m = 0; m < layout->modality_count; m++)
        r->cosine[m] = dot[m] / sqrt(unimodal2[m] * fused2[m]);
    r->clip = ps_optimiser_clip(&c->optimiser, r->norm);
}

/* Scores → ratios → coefficients, norm → clip factor; then COMMIT to all servers: the next version. */
static enum sl_status commit(struct ps_coordinator *c, struct ps_open_step *step, struct sl_error *err)
{
    const struct sl_step_stats *sum = ps_open_step_total(step);
    struct ps_step_record *r = &step->record;
    struct sl_error problem = {0};
    record_losses(c, step);
    record_gradients(c, step);
    if (!isfinite(r->loss[c->options.config->modality_count]) || !isfinite(r->norm) ||
            !(sum->weight_sum > 0.0))
        return begin_finish(c, SL_DIVERGED,
                "the loss or the gradient's norm is not finite: lower optimiser.lr or add "
                "optimiser.warmup_steps",
                err);
    if (ps_modulation_step(&c->ordered_modulation, &c->modulation, c->ordered, sum->score,
                c->options.config->modality_count, r->ratio, r->coefficient, &problem) != SL_OK)
        return begin_finish(c, SL_DIVERGED, problem.text, err);
    struct ps_schedule schedule = ps_schedule_from_config(c->options.config, c->total_steps);
    r->rate = ps_schedule_rate(&schedule, c->ordered);
    step->committing = true;
    step->version = ++c->ordered;
    for (int s = 0; s < c->roster.server_count; s++)
        c->roster.servers[s].commit_us = c->now_us;
    struct sl_message *m = message_to_send(c, SL_MESSAGE_COMMIT);
    if (m != NULL) {
        m->step = step->step;
        m->version = step->version;
        m->commit =
                (struct sl_commit){.inverse_weight = 1.0 / sum->weight_sum, .clip = r->clip, .rate = r->rate};
        memcpy(m->commit.coefficient, r->coefficient, sizeof(m->commit.coefficient));
    }
    return send_servers(c, m, err);
}

static bool is_whole(const struct ps_open_step *step)
{
    return step->done == step->units && step->audit != PS_AUDIT_OPEN && step->audit != PS_AUDIT_ASSIGNED;
}

static bool is_older(const struct ps_open_step *a, const struct ps_open_step *b)
{
    return a->base < b->base || (a->base == b->base && a->step < b->step);
}

/* Whether a step may be applied now, so that every older open one still can be within the bound: with the older ones in order, number i of them is
 * applied at version `ordered` + 1 + i at the earliest. Steps are opened only while fewer than staleness + 1 are open, so the oldest always may. */
static bool within_staleness(const struct ps_coordinator *c, const struct ps_open_step *step)
{
    if (c->options.config->consistency.mode == SL_CONSISTENCY_ASP)
        return true;
    int64_t bound = c->options.config->consistency.mode == SL_CONSISTENCY_SSP
                            ? c->options.config->consistency.staleness
                            : 0;
    for (int i = 0; i < c->open_max; i++) {
        const struct ps_open_step *y = &c->steps[i];
        if (!y->open || y->committing || y == step || !is_older(y, step))
            continue;
        int64_t before = 0; /* open steps older than y */
        for (int j = 0; j < c->open_max; j++)
            before += c->steps[j].open && !c->steps[j].committing && is_older(&c->steps[j], y);
        if (c->ordered + 1 + before - y->base > bound)
            return false;
    }
    return true;
}

/* Commits what is whole and may be, oldest first, until there is nothing such. */
static enum sl_status commit_whole_steps(struct ps_coordinator *c, struct sl_error *err)
{
    while (c->state == STATE_TRAINING) {
        struct ps_open_step *next = NULL;
        for (int i = 0; i < c->open_max; i++) {
            struct ps_open_step *step = &c->steps[i];
            if (step->open && !step->committing && is_whole(step) &&
                    step->reduced_count == c->roster.server_count && within_staleness(c, step) &&
                    (next == NULL || is_older(step, next)))
                next = step;
        }
        if (next == NULL)
            return SL_OK;
        enum sl_status status = commit(c, next, err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

static int find_step(const struct ps_coordinator *c, int64_t step)
{
    for (int i = 0; i < c->open_max; i++)
        if (c->steps[i].open && c->steps[i].step == step)
            return i;
    return -1;
}

/* The hash of a node that was computed twice. */
static void compare_audit(struct ps_coordinator *c, struct ps_open_step *step, const struct ps_worker *worker,
        const struct sl_message *m)
{
    if (step->audit != PS_AUDIT_ASSIGNED || !sl_tree_equal(step->audit_node, m->node))
        return;
    step->audit = PS_AUDIT_CLOSED;
    if (m->hash != step->audit_hash)
        add_note(c, PS_ACTION_WARN,
                "audit: %s and %s computed slots [%u, %u) of step %" PRId64
                " differently: one of the two machines computes wrongly, or their CPUs differ",
                step->audit_name, worker->name, sl_tree_begin(m->node), sl_tree_end(step->units, m->node),
                step->step);
}

static void begin_audit(struct ps_open_step *step, const struct ps_worker *worker, const struct sl_message *m)
{
    if (step->audit != PS_AUDIT_WANTED || m->hash == 0)
        return;
    step->audit = PS_AUDIT_OPEN;
    step->audit_node = m->node;
    step->audit_hash = m->hash;
    step->audit_first = worker->id;
    (void)snprintf(step->audit_name, sizeof(step->audit_name), "%.*s", 79, worker->name);
}

/* STATS of a node of the worker's run: joined once. Of another step or run, or of slots that are done → ignored. Over other
 * samples than those slots have → the worker is expelled: it has another idea of the data. */
static enum sl_status on_stats(
        struct ps_coordinator *c, int w, const struct sl_message *m, struct sl_error *err)
{
    struct ps_worker *worker = &c->roster.workers[w];
    int at = c->state == STATE_TRAINING ? find_step(c, m->step) : -1;
    if (at < 0 || worker->run.at != at || worker->run.phase != m->phase || m->slots != c->steps[at].units ||
            m->version < c->steps[at].base)
        return SL_OK;
    struct ps_open_step *step = &c->steps[at];
    uint32_t begin = sl_tree_begin(m->node), end = sl_tree_end(step->units, m->node);
    if (begin < worker->run.begin || end > worker->run.end)
        return SL_OK;
    if (m->stats.count !=
            (m->phase == SL_PHASE_SKIP ? 0 : samples_of_units(c, samples_of_step(c, m->step), begin, end)))
        return expel_worker(
                c, w, "its statistics are over another number of samples than its slots have", err);
    worker->version = m->version;
    if (m->phase == SL_PHASE_AUDIT) {
        worker->run.left = 0;
        compare_audit(c, step, worker, m);
    } else if (close_units(c, step, begin, end) > 0) {
        worker->slots += end - begin;
        step->compute_us += m->compute_us;
        ps_open_step_join(step, m->node, &m->stats);
        begin_audit(step, worker, m);
    }
    learn_all_speeds(c);
    enum sl_status status = assign_work(c, err);
    return status == SL_OK ? commit_whole_steps(c, err) : status;
}

/* REDUCED by a server: text is set when it found something that is not finite; else the sums of its blocks. */
static enum sl_status on_reduced(
        struct ps_coordinator *c, int rank, const struct sl_message *m, struct sl_error *err)
{
    int at = c->state == STATE_TRAINING ? find_step(c, m->step) : -1;
    if (at < 0 || c->steps[at].reduced[rank])
        return SL_OK;
    if (m->text[0] != 0)
        return begin_finish(c, SL_DIVERGED, m->text, err);
    const struct sl_block_sums *sums = m->frames[0].data;
    size_t used = 0, count = m->frames[0].size / sizeof(*sums);
    for (int b = 0; b < c->options.layout->block_count; b++)
        if (c->owners[b] == rank && used < count)
            memcpy(&c->steps[at].sums[b], &sums[used++], sizeof(*sums));
    c->steps[at].reduced[rank] = 1;
    c->steps[at].reduced_count++;
    return commit_whole_steps(c, err);
}

/* APPLIED by a server; by all → the version stands, and whoever waited for it goes on. */
static enum sl_status on_applied(
        struct ps_coordinator *c, int rank, const struct sl_message *m, struct sl_error *err)
{
    struct ps_server_member *server = &c->roster.servers[rank];
    int at = find_step(c, m->step);
    if (at < 0 || !c->steps[at].committing || c->steps[at].version != m->version ||
            c->steps[at].applied[rank])
        return SL_OK;
    struct ps_open_step *step = &c->steps[at];
    step->applied[rank] = 1;
    server->version = m->version;
    server->update_seconds = (double)(c->now_us - server->commit_us) * 1e-6;
    if (++step->applied_count < c->roster.server_count)
        return SL_OK;
    assert(step->version == c->training.step + 1); /* every server applies in the order of versions */
    step->open = false;
    c->training.step++;
    if (c->training.step == c->ordered)
        c->training.modulation = c->ordered_modulation;
    add_action(c, PS_ACTION_STEP)->record = step->record;
    return proceed(c, err);
}

/* ---- validation ---- */

static enum sl_status open_validation(struct ps_coordinator *c, struct sl_error *err)
{
    c->state = STATE_VALIDATING;
    sl_evaluation_clear(c->evaluation);
    enum sl_status status =
            open_units(c, VALIDATION, SL_PHASE_VALIDATE, c->training.step, validation_units(c), err);
    return status == SL_OK ? assign_work(c, err) : status;
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
    action->seconds = (double)(c->now_us - c->steps[VALIDATION].opened_us) * 1e-6;
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
    abandon(c, VALIDATION);
    c->state = STATE_TRAINING;
    return proceed(c, err);
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

/* VALIDATED units of the worker's run: merged once, when none of them is in yet. What does not fit the shape of an evaluation or the number of samples → the worker is expelled. */
static enum sl_status on_validated(
        struct ps_coordinator *c, int w, const struct sl_message *m, struct sl_error *err)
{
    int branches = sl_evaluation_branches(c->part), classes = sl_evaluation_classes(c->part);
    size_t ints = sl_evaluation_int_count(branches, classes),
           doubles = sl_evaluation_double_count(branches, classes);
    struct ps_open_step *open = &c->steps[VALIDATION];
    const struct ps_run *run = &c->roster.workers[w].run;
    if (c->state != STATE_VALIDATING || m->step != c->training.step || run->at != VALIDATION ||
            m->begin != run->begin || m->end != run->end)
        return SL_OK;
    const int64_t *values = m->frames[0].data;
    struct sl_error problem = {0};
    if (m->frames[0].size != ints * sizeof(int64_t) + doubles * sizeof(double))
        return expel_worker(c, w, "its validation result has another shape", err);
    if (sl_evaluation_load(c->part, values, ints, (const double *)(values + ints), doubles, &problem) !=
            SL_OK)
        return expel_worker(c, w, problem.text, err);
    if (counts_too_many(c, m))
        return expel_worker(c, w, "its validation result counts more samples than its units have", err);
    enum sl_status status = SL_OK;
    bool fresh = true;
    for (uint32_t u = m->begin; u < m->end; u++)
        fresh &= open->owner[u] != PS_UNIT_DONE;
    if (fresh) {
        (void)close_units(c, open, m->begin, m->end);
        status = sl_evaluation_merge(c->evaluation, c->part, err);
    }
    learn_all_speeds(c);
    if (status == SL_OK)
        status = assign_work(c, err);
    return status == SL_OK && open->open && open->done == open->units ? end_validation(c, err) : status;
}

/* ---- snapshots ---- */

/* Every server sends its blocks as they stand after all COMMITs so far: the next one comes behind this on the same link. */
static enum sl_status start_snapshot(struct ps_coordinator *c, struct sl_error *err)
{
    struct ps_action *action = add_action(c, PS_ACTION_SNAPSHOT);
    action->best = c->snapshot_best;
    c->snapshot_wanted = false;
    c->snapshot_best = false;
    c->snapshot_busy = true;
    c->snapshot_step = c->training.step;
    c->blocks_missing = c->options.layout->block_count;
    memset(c->block_saved, 0, (size_t)c->options.layout->block_count);
    return send_servers(c, message_to_send(c, SL_MESSAGE_SAVE), err);
}

/* SAVED: a block of the snapshot that is being gathered, from its owner, once; the last one → it is written. */
static void on_saved(struct ps_coordinator *c, int rank, const struct sl_message *m)
{
    if (c->blocks_missing == 0 || m->version != c->snapshot_step ||
            m->block >= (uint32_t)c->options.layout->block_count || c->owners[m->block] != rank ||
            c->block_saved[m->block] ||
            m->frames[0].size != c->options.layout->blocks[m->block].count * sizeof(float))
        return;
    c->block_saved[m->block] = 1;
    add_action(c, PS_ACTION_SAVED_BLOCK);
    if (--c->blocks_missing == 0)
        add_action(c, PS_ACTION_SNAPSHOT_WRITE);
}

static enum sl_status on_snapshot_written(
        struct ps_coordinator *c, const struct ps_event *event, struct sl_error *err)
{
    if (c->blocks_missing > 0) { /* it could not even be begun */
        c->blocks_missing = 0;
        add_action(c, PS_ACTION_SNAPSHOT_DROP);
    }
    c->snapshot_busy = false;
    if (event->status != SL_OK) {
        add_note(c, PS_ACTION_WARN, "the snapshot of step %" PRId64 " could not be written: %s",
                c->snapshot_step, event->text);
        c->snapshot_step = -1; /* another one of the same step may be tried */
        if (c->finish_after_save && !c->snapshot_wanted &&
                (c->finish_status == SL_OK || c->finish_status == SL_STOPPED)) {
            c->finish_status = event->status;
            (void)snprintf(c->finish_text, sizeof(c->finish_text),
                    "the last snapshot could not be written: %s", event->text);
        }
    }
    return c->state == STATE_SAVING ? proceed(c, err) : SL_OK;
}

/* ---- between steps ---- */

/* A snapshot at the end of an epoch and of the run, every so many steps when the one before is written, and when stopping. */
static void want_snapshot_if_due(struct ps_coordinator *c)
{
    int64_t step = c->training.step, every = c->options.config->snapshots.every_steps;
    if (step == 0 || c->state == STATE_SAVING || step == c->snapshot_step)
        return;
    if (step % c->steps_per_epoch == 0 || step >= c->total_steps || c->stopping ||
            (every > 0 && step % every == 0 && !c->snapshot_busy))
        c->snapshot_wanted = true;
}

/* The last words, unless somebody has said them. */
static void set_finish_text(struct ps_coordinator *c)
{
    if (!c->stopping && c->finish_text[0] == 0)
        (void)snprintf(c->finish_text, sizeof(c->finish_text), "%s",
                c->training.step >= c->total_steps ? "all steps are done"
                                                   : "early stopping: no gain any more");
}

/* Goes on from wherever training stands: more of the open steps; at a boundary with everything applied, a validation, a snapshot, the next steps, the end. A snapshot that is due waits for the
 * one before it. */
static enum sl_status proceed(struct ps_coordinator *c, struct sl_error *err)
{
    if (c->state != STATE_TRAINING && c->state != STATE_SAVING)
        return SL_OK;
    bool at_boundary = c->training.step >= c->boundary || c->stopping;
    if (anything_open(c) || !at_boundary) {
        enum sl_status status = assign_work(c, err);
        return status == SL_OK ? commit_whole_steps(c, err) : status;
    }
    if (c->state == STATE_TRAINING && validation_due(c) && !c->stopping)
        return open_validation(c, err);
    want_snapshot_if_due(c);
    bool last =
            c->stopping || c->finish_after_save || c->training.step >= c->total_steps || out_of_patience(c);
    if (last) {
        c->finish_after_save = true;
        set_finish_text(c);
    }
    c->state = STATE_SAVING;
    if (c->snapshot_wanted && c->snapshot_busy)
        return SL_OK;
    if (c->snapshot_wanted) {
        enum sl_status status = start_snapshot(c, err);
        if (status != SL_OK)
            return status;
    }
    if (last)
        return c->snapshot_busy ? SL_OK : begin_finish(c, c->finish_status, c->finish_text, err);
    c->state = STATE_TRAINING;
    c->boundary = next_boundary(c);
    return assign_work(c, err);
}

/* The end: everybody is told, the loop gets FINISH. */
static enum sl_status begin_finish(
        struct ps_coordinator *c, enum sl_status status, const char *text, struct sl_error *err)
{
    struct sl_message *stop = message_to_send(c, SL_MESSAGE_STOP);
    struct ps_action *action = add_action(c, PS_ACTION_FINISH);
    c->state = STATE_FINISHED;
    action->status = status;
    (void)snprintf(action->text, sizeof(action->text), "%s", text);
    if (stop != NULL)
        (void)snprintf(stop->text, sizeof(stop->text), "%s", text);
    for (int w = 0; w < c->roster.worker_end && stop != NULL; w++) {
        enum sl_status sent = c->roster.workers[w].present
                                      ? send_worker(c, c->roster.workers[w].id, sl_message_clone(stop), err)
                                      : SL_OK;
        if (sent != SL_OK) {
            sl_message_destroy(stop);
            return sent;
        }
    }
    return send_servers(c, stop, err);
}

/* A signal: finish the open steps if someone is at work on them, then save and end. A validation is given up. */
static enum sl_status on_stop(struct ps_coordinator *c, const struct ps_event *event, struct sl_error *err)
{
    if (c->stopping)
        return SL_OK;
    c->stopping = true;
    c->finish_status = event->status;
    (void)snprintf(c->finish_text, sizeof(c->finish_text), "%s", event->text);
    if (c->state == STATE_SAVING || c->state == STATE_RESTORING)
        return SL_OK;
    if (c->state == STATE_GATHERING ||
            c->state == STATE_LOADING) /* nothing is newer than the newest snapshot */
        return begin_finish(c, c->finish_status, c->finish_text, err);
    if (c->state == STATE_VALIDATING) {
        abandon(c, VALIDATION);
        c->state = STATE_TRAINING;
    }
    return c->roster.worker_count == 0 ? stop_without_workers(c, err) : proceed(c, err);
}

/* RESTORED: gathering begins anew, from there. */
static enum sl_status on_restored(
        struct ps_coordinator *c, const struct ps_event *event, struct sl_error *err)
{
    if (c->state != STATE_RESTORING)
        return SL_OK;
    if (event->status != SL_OK)
        return begin_finish(c, event->status, event->text, err);
    struct ps_training known = c->training;
    begin_at(c, event->training);
    if (c->training.train_count == 0 &&
            known.train_count != 0) { /* back at the very beginning: the data is the same */
        c->training.train_count = known.train_count;
        c->training.validation_count = known.validation_count;
        c->training.train_fingerprint = known.train_fingerprint;
        c->training.validation_fingerprint = known.validation_fingerprint;
        plan_steps(c);
    }
    c->state = STATE_GATHERING;
    return c->stopping ? begin_finish(c, c->finish_status, c->finish_text, err) : SL_OK;
}

/* ---- events ---- */

static enum sl_status on_tick(struct ps_coordinator *c, struct sl_error *err)
{
    if (c->state != STATE_TRAINING && c->state != STATE_VALIDATING)
        return SL_OK;
    enum sl_status status = drop_overdue_audits(c) ? proceed(c, err) : SL_OK;
    return status == SL_OK ? shadow_stragglers(c, err) : status;
}

static enum sl_status on_worker_message(
        struct ps_coordinator *c, uint64_t id, const struct sl_message *m, struct sl_error *err)
{
    if (m->kind == SL_MESSAGE_HELLO)
        return on_worker_hello(c, id, m, err);
    int w = ps_roster_find_worker(&c->roster, id);
    if (w < 0)
        return SL_OK; /* of a worker that was given up */
    struct ps_worker *worker = &c->roster.workers[w];
    worker->heard_us = c->now_us;
    if (m->kind == SL_MESSAGE_BYE)
        return lose_worker(c, w, m->text[0] != 0 ? m->text : "left", err);
    if (m->kind == SL_MESSAGE_REPORT) {
        worker->report = m->report;
        worker->reported_us = c->now_us;
        return SL_OK;
    }
    if (m->cluster != c->cluster)
        return SL_OK; /* of the run before a rollback */
    if (m->kind == SL_MESSAGE_STATS)
        return on_stats(c, w, m, err);
    return m->kind == SL_MESSAGE_VALIDATED ? on_validated(c, w, m, err) : SL_OK;
}

static enum sl_status on_server_message(
        struct ps_coordinator *c, uint64_t id, const struct sl_message *m, struct sl_error *err)
{
    if (m->kind == SL_MESSAGE_HELLO)
        return on_server_hello(c, id, m, err);
    int rank = ps_roster_find_server(&c->roster, id);
    if (rank < 0)
        return SL_OK;
    c->roster.servers[rank].heard_us = c->now_us;
    if (m->kind == SL_MESSAGE_BYE)
        return lose_server(c, rank, m->text[0] != 0 ? m->text : "left", err);
    if (m->kind == SL_MESSAGE_REPORT) {
        c->roster.servers[rank].report = m->report;
        return SL_OK;
    }
    if (m->cluster != c->cluster)
        return SL_OK;
    switch (m->kind) {
    case SL_MESSAGE_LOADED:
        return on_loaded(c, rank, m, err);
    case SL_MESSAGE_REDUCED:
        return on_reduced(c, rank, m, err);
    case SL_MESSAGE_APPLIED:
        return on_applied(c, rank, m, err);
    case SL_MESSAGE_SAVED:
        on_saved(c, rank, m);
        return SL_OK;
    default:
        return SL_OK;
    }
}

static enum sl_status on_gone(struct ps_coordinator *c, const struct ps_event *event, struct sl_error *err)
{
    if (event->from.role == SL_ROLE_WORKER) {
        int w = ps_roster_find_worker(&c->roster, event->from.id);
        return w < 0 ? SL_OK : lose_worker(c, w, event->text, err);
    }
    int rank = ps_roster_find_server(&c->roster, event->from.id);
    return rank < 0 ? SL_OK : lose_server(c, rank, event->text, err);
}

static enum sl_status handle(struct ps_coordinator *c, const struct ps_event *event, struct sl_error *err)
{
    switch (event->kind) {
    case PS_EVENT_TICK:
        return on_tick(c, err);
    case PS_EVENT_MESSAGE:
        return event->from.role == SL_ROLE_WORKER ? on_worker_message(c, event->from.id, event->message, err)
                                                  : on_server_message(c, event->from.id, event->message, err);
    case PS_EVENT_GONE:
        return on_gone(c, event, err);
    case PS_EVENT_STOP:
        return on_stop(c, event, err);
    case PS_EVENT_SNAPSHOT_WRITTEN:
        return on_snapshot_written(c, event, err);
    case PS_EVENT_RESTORED:
        return on_restored(c, event, err);
    }
    return SL_OK;
}

enum sl_status ps_coordinator_step(struct ps_coordinator *c, const struct ps_event *event,
        struct ps_updates *updates, struct sl_error *err)
{
    sl_outbox_clear(&updates->outbox);
    updates->action_count = 0;
    c->updates = updates;
    c->now_us = event->now_us;
    c->out_of_memory = false;
    updates->wake_us = event->now_us + LOOK_AROUND_US;
    enum sl_status status = c->state != STATE_FINISHED ? handle(c, event, err) : SL_OK;
    if (status == SL_OK && c->out_of_memory)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for an action of the coordinator");
    return status;
}

struct ps_training ps_training_begin(void)
{
    return (struct ps_training){.best_value = NAN};
}

/* ---- queries ---- */

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
    return c->roster.worker_count;
}

struct ps_worker_view ps_coordinator_worker(const struct ps_coordinator *c, int index)
{
    int w = 0;
    for (int present = 0; w < c->roster.worker_end; w++)
        if (c->roster.workers[w].present && present++ == index)
            break;
    assert(w < c->roster.worker_end);
    const struct ps_worker *worker = &c->roster.workers[w];
    return (struct ps_worker_view){.id = worker->id,
            .rank = worker->rank,
            .threads = worker->threads,
            .pid = worker->pid,
            .host = worker->host,
            .joined_us = worker->joined_us,
            .heard_us = worker->heard_us,
            .slots = worker->slots,
            .seconds_per_slot = worker->seconds_per_slot,
            .staleness = c->training.step > worker->version ? c->training.step - worker->version : 0,
            .busy = !ps_assign_idle(worker),
            .report = worker->report,
            .reported_us = worker->reported_us};
}

int ps_coordinator_server_count(const struct ps_coordinator *c)
{
    return c->roster.server_count;
}

struct ps_server_view ps_coordinator_server(const struct ps_coordinator *c, int rank)
{
    const struct ps_server_member *server = &c->roster.servers[rank];
    return (struct ps_server_view){.id = server->id,
            .rank = (uint32_t)rank,
            .pid = server->pid,
            .host = server->host,
            .endpoint = server->endpoint,
            .present = server->present,
            .loaded = server->loaded,
            .heard_us = server->heard_us,
            .version = server->version,
            .update_seconds = server->update_seconds,
            .report = server->report};
}

const char *ps_coordinator_state(const struct ps_coordinator *c)
{
    static const char *const names[] = {
            "gathering", "loading", "training", "validating", "saving", "restoring", "finished"};
    return names[c->state];
}

uint64_t ps_coordinator_rollbacks(const struct ps_coordinator *c)
{
    return c->rollbacks;
}

uint64_t ps_coordinator_lost(const struct ps_coordinator *c)
{
    return c->lost;
}
