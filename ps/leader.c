/* What the process of rank 0 does besides serving: it carries out what the coordinator's core decides. Records go to metrics.jsonl and the terminal, snapshots to the
 * archive, messages to the server's core beside it or onto the wire. Nothing is decided here. */
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/placement.h"
#include "common/process.h"
#include "common/signals.h"
#include "common/status_place.h"
#include "ps/process.h"
#include "ps/run_lock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FOREVER_US (INT64_MAX / 4) /* the own server need not give up: its coordinator is here */

/* ---- open and close ---- */

static enum sl_status write_config(const struct sl_config *config, struct sl_error *err)
{
    SL_AUTO_FREE char *text = NULL;
    SL_AUTO_FREE char *path = sl_path_join(config->snapshots.dir, "config.resolved.yaml");
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    enum sl_status status = sl_config_dump(&text, config, err);
    return status == SL_OK ? sl_file_write_atomic(path, text, strlen(text), err) : status;
}

enum sl_status ps_leader_open(struct ps_process *p, struct sl_error *err)
{
    const struct sl_config *config = p->options->config;
    struct ps_training training;
    enum sl_status status = ps_run_lock_take(&p->lock, config->snapshots.dir, err);
    if (status == SL_OK)
        status = sl_status_place_begin(config->snapshots.dir, err);
    if (status == SL_OK)
        status = ps_archive_open(&p->archive, config, p->layout, err);
    if (status == SL_OK)
        status = ps_archive_restore(p->archive, p->options->resume, &training, err);
    if (status == SL_OK && config->modulation.form == SL_FORM_REPLAY)
        status = ps_replay_load(&p->replay, config->modulation.replay, config->modality_count, err);
    if (status == SL_OK)
        status = write_config(config, err);
    if (status == SL_OK)
        status = ps_metrics_open(&p->metrics, config, training.step, err);
    if (status == SL_OK)
        status = ps_tensorboard_open(&p->tensorboard, config, training.step, err);
    if (status == SL_OK)
        status = sl_process_draw(&p->cluster, err);
    if (status != SL_OK)
        return status;
    struct ps_coordinator_options options = {.config = config,
            .layout = p->layout,
            .config_hash = p->hello.config_hash,
            .cluster = p->cluster,
            .incarnation = p->incarnation,
            .servers = config->cluster.servers,
            .training = training,
            .replay = config->modulation.form == SL_FORM_REPLAY ? &p->replay : NULL};
    struct ps_status_options publishing = {.config = config,
            .keys = p->keys,
            .config_hash = p->hello.config_hash,
            .parameters = p->layout->trained};
    status = ps_coordinator_create(&p->coordinator, &options, err);
    return status == SL_OK ? ps_status_open(&p->status, &publishing, err) : status;
}

static enum sl_status serve(struct ps_process *p, struct sl_error *err)
{
    enum sl_status status = ps_process_serve(p, FOREVER_US, err);
    struct ps_server_event start = {.kind = PS_SERVER_START};
    return status == SL_OK ? ps_process_server(p, &start, err) : status;
}

enum sl_status ps_leader_start(struct ps_process *p, struct sl_error *err)
{
    struct ps_event tick = {.kind = PS_EVENT_TICK};
    enum sl_status status = ps_leader_step(p, &tick, err);
    if (status == SL_OK)
        status = serve(p, err);
    return status == SL_OK ? ps_leader_settle(p, err) : status;
}

void ps_leader_close(struct ps_process *p)
{
    ps_console_end(&p->console);
    if (p->options->config->snapshots.profile)
        ps_profile_print(&p->profile, stderr);
    ps_updates_fini(&p->updates);
    sl_outbox_fini(&p->local);
    ps_coordinator_destroy(p->coordinator);
    ps_archive_close(p->archive);
    ps_replay_fini(&p->replay);
    ps_metrics_close(p->metrics);
    ps_tensorboard_close(p->tensorboard);
    ps_status_members_fini(&p->members);
    ps_run_lock_release(p->lock);
}

/* As the command will end. */
static int exit_code(const struct ps_process *p, enum sl_status status)
{
    if (status == SL_STOPPED)
        return sl_signals_exit_code(p->signal_number, NULL);
    return status > SL_GAVE_UP ? SL_FAILED : (int)status;
}

void ps_leader_close_status(struct ps_process *p, enum sl_status status, const struct sl_error *err)
{
    ps_status_close(p->status, exit_code(p, status),
            status == SL_OK || p->finished || err == NULL ? p->finish_text : err->text);
    p->status = NULL;
}

/* ---- what the coordinator wants ---- */

static void note_event(struct ps_process *p, enum sl_log_level level, const char *event, const char *text)
{
    char quoted[SL_MESSAGE_TEXT_MAX * 2];
    struct sl_error problem = {0};
    sl_log(level, "train", event, "text=%s", sl_log_quote(quoted, sizeof(quoted), text));
    if (ps_metrics_event(p->metrics, ps_coordinator_training(p->coordinator)->step, event, text, &problem) !=
            SL_OK)
        sl_log(SL_LOG_WARN, "train", "metrics-failed", "reason=%s",
                sl_log_quote(quoted, sizeof(quoted), problem.text));
    ps_status_event(p->status, ps_coordinator_training(p->coordinator)->step, level, event, text);
}

/* The event files are somebody's convenience: when they cannot be written training goes on without them. */
static void note_tensorboard(struct ps_process *p, enum sl_status status, const struct sl_error *problem)
{
    if (status == SL_OK)
        return;
    ps_tensorboard_close(SL_TAKE(p->tensorboard));
    note_event(p, SL_LOG_WARN, "tensorboard-failed", problem->text);
}

static enum sl_status record_step(
        struct ps_process *p, const struct ps_step_record *record, struct sl_error *err)
{
    struct sl_error problem = {0};
    ps_console_step(&p->console, p->options->config, ps_coordinator_total_steps(p->coordinator), record);
    ps_status_step(p->status, record);
    ps_profile_add(&p->profile, record);
    note_tensorboard(p, ps_tensorboard_step(p->tensorboard, record, &problem), &problem);
    return ps_metrics_step(p->metrics, record, err);
}

static enum sl_status record_validation(
        struct ps_process *p, const struct ps_action *action, struct sl_error *err)
{
    struct sl_error problem = {0};
    int64_t step = ps_coordinator_training(p->coordinator)->step,
            epoch = step / ps_coordinator_steps_per_epoch(p->coordinator);
    ps_console_validation(p->options->config, action, epoch);
    ps_status_validation(p->status, step, epoch, action->seconds, action->best, action->evaluation);
    note_tensorboard(
            p, ps_tensorboard_validation(p->tensorboard, step, action->evaluation, &problem), &problem);
    return ps_metrics_validation(
            p->metrics, step, epoch, action->seconds, action->best, action->evaluation, err);
}

static void add_whole(struct sl_message *message, struct sl_buffer *buffer)
{
    if (buffer != NULL)
        sl_message_add_frame(message, buffer, buffer->data, buffer->size);
}

static enum sl_status send_block(
        struct ps_process *p, const struct ps_action *action, int block, struct sl_error *err)
{
    const struct ps_training *training = ps_coordinator_training(p->coordinator);
    const struct ps_block_state *state = ps_archive_block(p->archive, block);
    struct sl_message *message = sl_message_create(SL_MESSAGE_LOAD);
    if (message == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a message");
    message->cluster = action->cluster;
    message->incarnation = p->incarnation;
    message->version = training->step;
    message->count = action->count;
    message->block = (uint32_t)block;
    add_whole(message, state->params);
    add_whole(message, state->m);
    add_whole(message, state->v);
    return ps_process_send(p, action->to, &message, err);
}

static enum sl_status load_server(struct ps_process *p, const struct ps_action *action, struct sl_error *err)
{
    SL_AUTO_FREE int *owners = sl_alloc((size_t)p->layout->block_count, sizeof(*owners));
    if (owners == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the placement of blocks");
    sl_placement_make(p->layout, p->options->config->cluster.servers, owners);
    enum sl_status status = SL_OK;
    for (int b = 0; b < p->layout->block_count && status == SL_OK; b++)
        if (owners[b] == (int)action->rank)
            status = send_block(p, action, b, err);
    return status;
}

/* A snapshot that fails is told to the coordinator when this event is done; training goes on. */
static void fail_snapshot(struct ps_process *p, const struct sl_error *problem)
{
    p->saving = false;
    p->snapshot_failed = true;
    p->snapshot_problem = *problem;
    ps_archive_drop(p->archive);
}

static void begin_snapshot(struct ps_process *p, bool best)
{
    struct sl_error problem = {0};
    p->saving = true;
    if (ps_archive_begin(p->archive, ps_coordinator_training(p->coordinator), best, &problem) != SL_OK)
        fail_snapshot(p, &problem);
}

static void save_block(struct ps_process *p, const struct sl_message *m)
{
    struct sl_error problem = {0};
    if (p->saving && ps_archive_put(p->archive, (int)m->block, &m->frames[0],
                             m->frame_count > 1 ? &m->frames[1] : NULL,
                             m->frame_count > 2 ? &m->frames[2] : NULL, &problem) != SL_OK)
        fail_snapshot(p, &problem);
}

static void write_snapshot(struct ps_process *p)
{
    struct sl_error problem = {0};
    if (p->saving && ps_archive_write(p->archive, &problem) != SL_OK)
        fail_snapshot(p, &problem);
    p->saving = false;
}

static void drop_snapshot(struct ps_process *p)
{
    if (p->saving)
        ps_archive_drop(p->archive);
    p->saving = false;
}

/* cause: the message of the event that this follows from, NULL = none. */
static enum sl_status act(struct ps_process *p, const struct ps_action *action,
        const struct sl_message *cause, struct sl_error *err)
{
    bool server = action->to.role == SL_ROLE_SERVER;
    switch (action->kind) {
    case PS_ACTION_LOAD:
        return load_server(p, action, err);
    case PS_ACTION_READY:
        ps_archive_release(p->archive);
        return SL_OK;
    case PS_ACTION_STEP:
        return record_step(p, &action->record, err);
    case PS_ACTION_VALIDATION:
        return record_validation(p, action, err);
    case PS_ACTION_SNAPSHOT:
        begin_snapshot(p, action->best);
        return SL_OK;
    case PS_ACTION_SAVED_BLOCK:
        save_block(p, cause);
        return SL_OK;
    case PS_ACTION_SNAPSHOT_WRITE:
        write_snapshot(p);
        return SL_OK;
    case PS_ACTION_SNAPSHOT_DROP:
        drop_snapshot(p);
        return SL_OK;
    case PS_ACTION_RESTORE:
        p->restore_due = true;
        return SL_OK;
    case PS_ACTION_CLOSE:
        return sl_wire_close(p->wire, action->to, sl_clock_monotonic_us(), err);
    case PS_ACTION_JOINED:
        note_event(p, SL_LOG_INFO, server ? "server-joined" : "worker-joined", action->text);
        return SL_OK;
    case PS_ACTION_LOST:
        note_event(p, SL_LOG_WARN, server ? "server-lost" : "worker-lost", action->text);
        return SL_OK;
    case PS_ACTION_REFUSED:
        note_event(p, SL_LOG_WARN, "peer-refused", action->text);
        return SL_OK;
    case PS_ACTION_WARN:
        note_event(p, SL_LOG_WARN, "warning", action->text);
        return SL_OK;
    case PS_ACTION_FINISH:
        ps_process_finish(p, action->status, action->text);
        return SL_OK;
    }
    return SL_OK;
}

enum sl_status ps_leader_step(struct ps_process *p, struct ps_event *event, struct sl_error *err)
{
    struct sl_outbox *outbox = &p->updates.outbox;
    event->now_us = sl_clock_monotonic_us();
    enum sl_status status = ps_coordinator_step(p->coordinator, event, &p->updates, err);
    for (int i = 0; i < outbox->count && status == SL_OK; i++)
        status = ps_process_send(p, outbox->items[i].to, &outbox->items[i].message, err);
    sl_outbox_clear(outbox);
    for (int i = 0; i < p->updates.action_count && status == SL_OK; i++)
        status = act(p, &p->updates.actions[i], event->message, err);
    return status;
}

/* ---- a snapshot's end, a rollback ---- */

static enum sl_status take_snapshot(struct ps_process *p, struct sl_error *err)
{
    struct ps_written written;
    if (ps_archive_take(p->archive, &written) != SL_OK)
        return SL_OK;
    if (written.status == SL_OK)
        sl_log(SL_LOG_INFO, "snapshot", "snapshot-written",
                "step=%" PRId64 " best=%s bytes=%" PRIu64 " write_ms=%.1f", written.step,
                written.best ? "yes" : "no", written.size, written.write_seconds * 1e3);
    if (written.status == SL_OK)
        ps_status_snapshot(p->status, written.step, written.size, written.best, written.write_seconds);
    struct ps_event event = {
            .kind = PS_EVENT_SNAPSHOT_WRITTEN, .status = written.status, .text = written.error.text};
    return ps_leader_step(p, &event, err);
}

/* Everybody begins anew from the newest whole snapshot. Also one that is being written counts: it is waited for. */
static enum sl_status restore(struct ps_process *p, struct sl_error *err)
{
    int64_t now_us = sl_clock_monotonic_us();
    struct ps_training training = ps_training_begin();
    struct sl_error problem = {0};
    p->restore_due = false;
    drop_snapshot(p);
    ps_console_end(&p->console);
    ps_archive_wait(p->archive);
    enum sl_status status = take_snapshot(p, err);
    if (status == SL_OK)
        status = sl_wire_close_all(p->wire, now_us, err);
    if (status != SL_OK)
        return status;
    sl_outbox_clear(&p->local);
    struct ps_event restored = {.kind = PS_EVENT_RESTORED, .training = &training, .text = problem.text};
    restored.status = ps_archive_restore(p->archive, p->options->resume, &training, &problem);
    if (restored.status == SL_OK) {
        ps_metrics_close(SL_TAKE(p->metrics));
        ps_tensorboard_close(SL_TAKE(p->tensorboard));
        status = ps_metrics_open(&p->metrics, p->options->config, training.step, err);
        if (status == SL_OK)
            status = ps_tensorboard_open(&p->tensorboard, p->options->config, training.step, err);
    }
    if (status != SL_OK)
        return status;
    if (restored.status == SL_OK)
        sl_log(SL_LOG_INFO, "train", "rolled-back", "step=%" PRId64 " seconds=%.3f", training.step,
                (double)(sl_clock_monotonic_us() - now_us) * 1e-6);
    status = ps_leader_step(p, &restored, err);
    return status == SL_OK && restored.status == SL_OK && !p->finished ? serve(p, err) : status;
}

static enum sl_status deliver_local(struct ps_process *p, struct sl_error *err)
{
    struct sl_outbox now = p->local;
    enum sl_status status = SL_OK;
    p->local = (struct sl_outbox){0};
    for (int i = 0; i < now.count && status == SL_OK && !p->restore_due; i++) {
        if (now.items[i].to.role == SL_ROLE_COORDINATOR) {
            struct ps_event event = {.kind = PS_EVENT_MESSAGE,
                    .from = {SL_ROLE_SERVER, p->incarnation},
                    .message = now.items[i].message};
            status = ps_leader_step(p, &event, err);
        } else {
            struct ps_server_event event = {
                    .kind = PS_SERVER_MESSAGE, .from = SL_COORDINATOR, .message = now.items[i].message};
            status = ps_process_server(p, &event, err);
        }
    }
    sl_outbox_fini(&now);
    return status;
}

enum sl_status ps_leader_settle(struct ps_process *p, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    while (status == SL_OK && !p->finished) {
        if (p->restore_due) {
            status = restore(p, err);
        } else if (p->snapshot_failed) {
            struct ps_event event = {.kind = PS_EVENT_SNAPSHOT_WRITTEN,
                    .status = p->snapshot_problem.status,
                    .text = p->snapshot_problem.text};
            p->snapshot_failed = false;
            status = ps_leader_step(p, &event, err);
        } else if (p->local.count > 0) {
            status = deliver_local(p, err);
        } else {
            return SL_OK;
        }
    }
    return status;
}

/* ---- status ---- */

/* What the cores know, for whoever watches. */
static void update_status(struct ps_process *p)
{
    int64_t now_us = sl_clock_monotonic_us();
    const struct sl_config *config = p->options->config;
    if (p->finished || now_us < ps_status_due_us(p->status))
        return;
    struct ps_status_view view;
    ps_status_view(&view, &p->members, p->coordinator, config->batch.slot_size);
    view.refused = p->refused + p->offenders.total;
    SL_AUTO_FREE int *owners = sl_alloc((size_t)p->layout->block_count, sizeof(*owners));
    if (owners != NULL)
        sl_placement_make(p->layout, config->cluster.servers, owners);
    for (int s = 0; owners != NULL && s < view.server_count; s++) {
        struct ps_status_server *server = &p->members.servers[s];
        for (int b = 0; b < p->layout->block_count; b++) {
            bool own = owners[b] == (int)server->rank;
            server->blocks += own;
            server->parameter_bytes += own ? p->layout->blocks[b].count * sizeof(float) : 0;
        }
    }
    ps_status_update(p->status, &view, now_us);
}

enum sl_status ps_leader_tick(struct ps_process *p, struct sl_error *err)
{
    struct ps_event tick = {.kind = PS_EVENT_TICK};
    enum sl_status status = take_snapshot(p, err);
    if (status == SL_OK && !p->finished && sl_clock_monotonic_us() >= p->updates.wake_us)
        status = ps_leader_step(p, &tick, err);
    if (status == SL_OK)
        status = ps_leader_settle(p, err);
    update_status(p);
    return status;
}
