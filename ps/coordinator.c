/* The coordinator's events, and what comes after what: see coordinator.h. */
#include "ps/coordinator_parts.h"

#include "common/memory.h"
#include "common/mutant.h"
#include "common/placement.h"
#include "ps/assign.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

uint32_t ps_coordinator_validation_units(const struct ps_coordinator *c)
{
    uint64_t size = (uint64_t)c->options.config->batch.slot_size;
    return (uint32_t)((c->training.validation_count + size - 1) / size);
}

enum sl_status ps_coordinator_plan_steps(
        struct ps_coordinator *c, const uint64_t *shards, uint32_t shard_count, struct sl_error *err)
{
    const struct sl_config *config = c->options.config;
    if (c->plan != NULL)
        return SL_OK;
    struct sl_plan_options options = {.count = c->training.train_count,
            .slots = config->batch.slots,
            .slot_size = config->batch.slot_size,
            .seed = config->seed,
            .shards = shards,
            .shard_count = shard_count};
    enum sl_status status = sl_plan_create(&c->plan, &options, err);
    if (status != SL_OK)
        return status;
    c->shard_count = shards != NULL ? shard_count : 0;
    c->shards_hash = shards != NULL ? sl_hash64(shards, shard_count * sizeof(*shards), 0) : 0;
    c->steps_per_epoch = sl_plan_steps_per_epoch(c->plan);
    c->total_steps = c->steps_per_epoch * config->epochs;
    if (config->max_steps > 0 && config->max_steps < c->total_steps)
        c->total_steps = config->max_steps;
    return SL_OK;
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
}

static int count_reducing(const struct ps_coordinator *c)
{
    int count = 0;
    for (int s = 0; s < c->options.servers; s++)
        count += ps_coordinator_reduces(c, s) ||
                 sl_mutant("coordinator: who has nothing to reduce is waited for");
    return count;
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
    c->reducing_servers = count_reducing(c);
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
    c->modulation = config->modulation;
    if (config->consistency.mode != SL_CONSISTENCY_BSP && c->modulation.statistics == SL_STATISTICS_STEP)
        c->modulation.statistics =
                SL_STATISTICS_MEAN; /* scores of overlapping steps are of different versions */
    c->optimiser = ps_optimiser_from_config(config);
    c->open_max = ps_server_open_max(config);
    c->rolled_back_step = -1;
    if (!sl_config_find_metric(config, config->snapshots.keep_best, &c->keep_branch, &c->keep_metric))
        c->keep_branch = -1; /* keep_best none: no snapshot is better than another */
    begin_at(c, &options->training);
    enum sl_status status = allocate(c, err);
    if (status == SL_OK && c->training.train_count > 0 && config->dataset.locality == SL_LOCALITY_SAMPLES)
        status = ps_coordinator_plan_steps(c, NULL, 0, err);
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
    sl_plan_destroy(c->plan);
    sl_free(c->owners);
    sl_free(c->block_saved);
    sl_evaluation_destroy(c->evaluation);
    sl_evaluation_destroy(c->part);
    sl_free(c);
}

struct sl_message *ps_coordinator_message_to_send(const struct ps_coordinator *c, enum sl_message_kind kind)
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

enum sl_status ps_coordinator_send_worker(
        struct ps_coordinator *c, uint64_t id, struct sl_message *m, struct sl_error *err)
{
    return sl_outbox_add(&c->updates->outbox, (struct sl_address){SL_ROLE_WORKER, id}, m, err);
}

enum sl_status ps_coordinator_send_servers(
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

struct ps_action *ps_coordinator_add_action(struct ps_coordinator *c, enum ps_action_kind kind)
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

__attribute__((format(printf, 3, 4))) struct ps_action *ps_coordinator_add_note(
        struct ps_coordinator *c, enum ps_action_kind kind, const char *format, ...)
{
    struct ps_action *action = ps_coordinator_add_action(c, kind);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(action->text, sizeof(action->text), format, args);
    va_end(args);
    return action;
}

void ps_updates_fini(struct ps_updates *updates)
{
    sl_outbox_fini(&updates->outbox);
    sl_free(updates->actions);
    *updates = (struct ps_updates){0};
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

enum sl_status ps_coordinator_proceed(struct ps_coordinator *c, struct sl_error *err)
{
    if (c->state != STATE_TRAINING && c->state != STATE_SAVING)
        return SL_OK;
    bool at_boundary = c->training.step >= c->boundary || c->stopping;
    if (ps_coordinator_anything_open(c) || !at_boundary) {
        enum sl_status status = ps_coordinator_assign_work(c, err);
        return status == SL_OK ? ps_coordinator_commit_whole_steps(c, err) : status;
    }
    if (c->state == STATE_TRAINING && ps_coordinator_validation_due(c) && !c->stopping)
        return ps_coordinator_open_validation(c, err);
    want_snapshot_if_due(c);
    bool last = c->stopping || c->finish_after_save || c->training.step >= c->total_steps ||
                ps_coordinator_out_of_patience(c);
    if (last) {
        c->finish_after_save = true;
        set_finish_text(c);
    }
    c->state = STATE_SAVING;
    if (c->snapshot_wanted && c->snapshot_busy)
        return SL_OK;
    if (c->snapshot_wanted) {
        enum sl_status status = ps_coordinator_start_snapshot(c, err);
        if (status != SL_OK)
            return status;
    }
    if (last)
        return c->snapshot_busy ? SL_OK
                                : ps_coordinator_begin_finish(c, c->finish_status, c->finish_text, err);
    c->state = STATE_TRAINING;
    c->boundary = ps_coordinator_next_boundary(c);
    return ps_coordinator_assign_work(c, err);
}

enum sl_status ps_coordinator_begin_finish(
        struct ps_coordinator *c, enum sl_status status, const char *text, struct sl_error *err)
{
    struct sl_message *stop = ps_coordinator_message_to_send(c, SL_MESSAGE_STOP);
    struct ps_action *action = ps_coordinator_add_action(c, PS_ACTION_FINISH);
    c->state = STATE_FINISHED;
    if (text != c->finish_text)
        (void)snprintf(c->finish_text, sizeof(c->finish_text), "%s", text);
    c->finish_status = status;
    action->status = status;
    (void)snprintf(action->text, sizeof(action->text), "%s", text);
    if (stop != NULL)
        (void)snprintf(stop->text, sizeof(stop->text), "%s", text);
    for (int w = 0; w < c->roster.worker_end && stop != NULL; w++) {
        enum sl_status sent =
                c->roster.workers[w].present
                        ? ps_coordinator_send_worker(c, c->roster.workers[w].id, sl_message_clone(stop), err)
                        : SL_OK;
        if (sent != SL_OK) {
            sl_message_destroy(stop);
            return sent;
        }
    }
    return ps_coordinator_send_servers(c, stop, err);
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
        return ps_coordinator_begin_finish(c, c->finish_status, c->finish_text, err);
    if (c->state == STATE_VALIDATING) {
        ps_coordinator_abandon(c, PS_VALIDATION);
        c->state = STATE_TRAINING;
    }
    return c->roster.worker_count == 0 ? ps_coordinator_stop_without_workers(c, err)
                                       : ps_coordinator_proceed(c, err);
}

/* RESTORED: gathering begins anew, from there. */
static enum sl_status on_restored(
        struct ps_coordinator *c, const struct ps_event *event, struct sl_error *err)
{
    if (c->state != STATE_RESTORING)
        return SL_OK;
    if (event->status != SL_OK)
        return ps_coordinator_begin_finish(c, event->status, event->text, err);
    struct ps_training known = c->training;
    begin_at(c, event->training);
    if (c->training.train_count == 0 &&
            known.train_count != 0) { /* back at the very beginning: the data is the same */
        c->training.train_count = known.train_count;
        c->training.validation_count = known.validation_count;
        c->training.train_fingerprint = known.train_fingerprint;
        c->training.validation_fingerprint = known.validation_fingerprint;
    }
    c->state = STATE_GATHERING;
    if (c->stopping)
        return ps_coordinator_begin_finish(c, c->finish_status, c->finish_text, err);
    return ps_coordinator_load_if_gathered(c, err); /* all may have come meanwhile */
}

/* ---- events ---- */

static enum sl_status on_tick(struct ps_coordinator *c, struct sl_error *err)
{
    if (c->state != STATE_TRAINING && c->state != STATE_VALIDATING)
        return SL_OK;
    enum sl_status status = ps_coordinator_drop_overdue_audits(c) ? ps_coordinator_proceed(c, err) : SL_OK;
    return status == SL_OK ? ps_coordinator_shadow_stragglers(c, err) : status;
}

static enum sl_status on_worker_message(
        struct ps_coordinator *c, uint64_t id, const struct sl_message *m, struct sl_error *err)
{
    if (m->kind == SL_MESSAGE_HELLO)
        return ps_coordinator_on_worker_hello(c, id, m, err);
    int w = ps_roster_find_worker(&c->roster, id);
    if (w < 0)
        return SL_OK; /* of a worker that was given up */
    struct ps_worker *worker = &c->roster.workers[w];
    worker->heard_us = c->now_us;
    if (m->kind == SL_MESSAGE_BYE)
        return ps_coordinator_lose_worker(c, w, m->text[0] != 0 ? m->text : "left", err);
    if (m->kind == SL_MESSAGE_REPORT) {
        worker->report = m->report;
        worker->reported_us = c->now_us;
        return SL_OK;
    }
    if (m->cluster != c->cluster)
        return SL_OK; /* of the run before a rollback */
    if (m->kind == SL_MESSAGE_STATS)
        return ps_coordinator_on_stats(c, w, m, err);
    return m->kind == SL_MESSAGE_VALIDATED ? ps_coordinator_on_validated(c, w, m, err) : SL_OK;
}

static enum sl_status on_server_message(
        struct ps_coordinator *c, uint64_t id, const struct sl_message *m, struct sl_error *err)
{
    if (m->kind == SL_MESSAGE_HELLO)
        return ps_coordinator_on_server_hello(c, id, m, err);
    int rank = ps_roster_find_server(&c->roster, id);
    if (rank < 0)
        return SL_OK;
    c->roster.servers[rank].heard_us = c->now_us;
    if (m->kind == SL_MESSAGE_BYE)
        return ps_coordinator_lose_server(c, rank, m->text[0] != 0 ? m->text : "left", err);
    if (m->kind == SL_MESSAGE_REPORT) {
        c->roster.servers[rank].report = m->report;
        return SL_OK;
    }
    if (m->cluster != c->cluster)
        return SL_OK;
    switch (m->kind) {
    case SL_MESSAGE_LOADED:
        return ps_coordinator_on_loaded(c, rank, m, err);
    case SL_MESSAGE_REDUCED:
        return ps_coordinator_on_reduced(c, rank, m, err);
    case SL_MESSAGE_APPLIED:
        return ps_coordinator_on_applied(c, rank, m, err);
    case SL_MESSAGE_SAVED:
        ps_coordinator_on_saved(c, rank, m);
        return SL_OK;
    default:
        return SL_OK;
    }
}

static enum sl_status on_gone(struct ps_coordinator *c, const struct ps_event *event, struct sl_error *err)
{
    if (event->from.role == SL_ROLE_WORKER) {
        int w = ps_roster_find_worker(&c->roster, event->from.id);
        return w < 0 ? SL_OK : ps_coordinator_lose_worker(c, w, event->text, err);
    }
    int rank = ps_roster_find_server(&c->roster, event->from.id);
    return rank < 0 ? SL_OK : ps_coordinator_lose_server(c, rank, event->text, err);
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
        return ps_coordinator_on_snapshot_written(c, event, err);
    case PS_EVENT_RESTORED:
        return on_restored(c, event, err);
    }
    return SL_OK;
}

/* All is done: whoever says hello now came too late, and is told so. After any other end somebody may go on, and is worth waiting for. */
static enum sl_status turn_away(struct ps_coordinator *c, const struct ps_event *event, struct sl_error *err)
{
    if (c->finish_status != SL_OK || event->kind != PS_EVENT_MESSAGE ||
            event->message->kind != SL_MESSAGE_HELLO)
        return SL_OK;
    struct sl_message *stop = ps_coordinator_message_to_send(c, SL_MESSAGE_STOP);
    if (stop != NULL)
        (void)snprintf(stop->text, sizeof(stop->text), "%s", c->finish_text);
    return sl_outbox_add(&c->updates->outbox, event->from, stop, err);
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
    enum sl_status status = c->state != STATE_FINISHED ? handle(c, event, err) : turn_away(c, event, err);
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
