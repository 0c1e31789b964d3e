/* The server's process: see loop.h. Nothing is decided here; the cores decide, this file carries out: messages to the socket or to the other core,
 * records to metrics.jsonl and the terminal, snapshots to the archive. */
#include "ps/loop.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/keys.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/progress.h"
#include "common/signals.h"
#include "common/transport.h"
#include "ps/archive.h"
#include "ps/coordinator.h"
#include "ps/endpoint.h"
#include "ps/metrics.h"
#include "ps/offenders.h"
#include "ps/server.h"
#include "ps/status.h"
#include "ps/status_view.h"
#include "ps/tensorboard.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

struct process {
    const struct ps_run_options *options;
    struct sl_layout *layout;
    struct ps_table *table;
    struct ps_archive *archive;
    struct ps_metrics *metrics;
    struct ps_tensorboard *tensorboard; /* NULL = none */
    struct ps_status *status;           /* NULL = none */
    struct ps_status_members members;   /* of its last view */
    struct ps_server *server;
    struct ps_coordinator *coordinator;
    struct sl_keys *keys; /* NULL = not encrypted */
    struct sl_transport *transport;
    struct sl_socket *socket;
    struct ps_offenders offenders;
    uint64_t refused; /* handshakes, as far as they were logged */
    struct ps_updates updates;
    struct sl_outbox answers; /* of the server's core */
    struct sl_outbox local;   /* messages between the two cores, in order */
    struct sl_progress progress;
    bool progress_begun, finished;
    enum sl_status finish_status;
    char finish_text[SL_MESSAGE_TEXT_MAX];
    int signal_number;
};

static enum sl_status advance(struct process *p, struct ps_event *event, struct sl_error *err);

/* ---- open and close ---- */

/* What a config may say and this release cannot do is refused: never done in another way without a word. */
static enum sl_status check_supported(const struct sl_config *config, struct sl_error *err)
{
    if (config->consistency.mode != SL_CONSISTENCY_BSP)
        return sl_fail(err, SL_USAGE,
                "%s: consistency.mode: this release trains in step (bsp) only; set it to bsp", config->path);
    if (config->cluster.servers != 1)
        return sl_fail(err, SL_USAGE, "%s: cluster.servers is %d: this release runs 1 server; set it to 1",
                config->path, config->cluster.servers);
    return SL_OK;
}

static enum sl_status load_keys(struct process *p, struct sl_error *err)
{
    const char *dir = p->options->config->cluster.keys;
    return dir[0] != 0 ? sl_keys_load(&p->keys, dir, SL_KEYS_SERVER, err) : SL_OK;
}

static enum sl_status write_config(const struct sl_config *config, struct sl_error *err)
{
    SL_AUTO_FREE char *text = NULL;
    SL_AUTO_FREE char *path = sl_path_join(config->snapshots.dir, "config.resolved.yaml");
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    enum sl_status status = sl_config_dump(&text, config, err);
    return status == SL_OK ? sl_file_write_atomic(path, text, strlen(text), err) : status;
}

static enum sl_status open_state(struct process *p, struct ps_training *ret_training, struct sl_error *err)
{
    const struct sl_config *config = p->options->config;
    struct ps_optimiser optimiser = ps_optimiser_from_config(config);
    enum sl_status status = sl_layout_create(&p->layout, config, SL_BLOCK_FLOATS, err);
    if (status == SL_OK)
        status = ps_table_create(&p->table, p->layout, &optimiser, NULL, 0, err);
    if (status == SL_OK)
        status = ps_archive_open(&p->archive, config, p->layout, err);
    if (status == SL_OK)
        status = ps_archive_resume(p->archive, p->options->resume, p->table, ret_training, err);
    if (status == SL_OK)
        status = write_config(config, err);
    if (status == SL_OK)
        status = ps_metrics_open(&p->metrics, config, ret_training->step, err);
    if (status == SL_OK)
        status = ps_tensorboard_open(&p->tensorboard, config, ret_training->step, err);
    return status;
}

static enum sl_status open_cores(struct process *p, const struct ps_training *training, struct sl_error *err)
{
    struct ps_coordinator_options options = {
            .config = p->options->config, .layout = p->layout, .training = *training};
    if (getrandom(&options.cluster, sizeof(options.cluster), 0) != sizeof(options.cluster))
        return sl_fail_errno(err, "cannot draw a random number");
    enum sl_status status = sl_config_hash(&options.config_hash, p->options->config, err);
    if (status == SL_OK)
        status = ps_coordinator_create(&p->coordinator, &options, err);
    if (status == SL_OK)
        status = ps_server_create(&p->server, p->options->config, p->layout, p->table, options.cluster, err);
    struct ps_status_options publishing = {.config = p->options->config,
            .keys = p->keys,
            .config_hash = options.config_hash,
            .parameters = p->layout->trained};
    if (status == SL_OK)
        status = ps_status_open(&p->status, &publishing, err);
    return status;
}

static enum sl_status open_socket(struct process *p, struct sl_error *err)
{
    enum sl_status status = sl_transport_create_secure(&p->transport, p->keys, err);
    if (status == SL_OK)
        status = sl_socket_bind(&p->socket, p->transport, p->options->config->cluster.coordinator, err);
    if (status != SL_OK)
        return status;
    const char *endpoint = sl_socket_endpoint(p->socket);
    sl_log(SL_LOG_INFO, "server", "listening", "endpoint=%s encrypted=%s parameters=%zu blocks=%d", endpoint,
            p->keys != NULL ? "yes" : "no", p->layout->trained, p->layout->block_count);
    if (p->options->ready_fd < 0)
        return SL_OK;
    char line[512];
    int size = snprintf(line, sizeof(line), "%s\n", endpoint);
    status = sl_file_write_all(p->options->ready_fd, line, (size_t)size, "the launcher's pipe", err);
    (void)close(p->options->ready_fd);
    return status;
}

static void close_process(struct process *p)
{
    sl_socket_close(p->socket);
    sl_outbox_fini(&p->updates.outbox);
    sl_outbox_fini(&p->answers);
    sl_outbox_fini(&p->local);
    sl_transport_destroy(p->transport); /* after it nothing holds parameters any more */
    sl_keys_destroy(p->keys);
    ps_coordinator_destroy(p->coordinator);
    ps_server_destroy(p->server);
    ps_archive_close(p->archive);
    ps_metrics_close(p->metrics);
    ps_tensorboard_close(p->tensorboard);
    ps_status_members_fini(&p->members);
    ps_table_destroy(p->table);
    sl_layout_destroy(p->layout);
}

/* ---- the terminal ---- */

static void show_step(struct process *p, const struct ps_step_record *r)
{
    const struct sl_config *config = p->options->config;
    if (!p->progress_begun) {
        sl_progress_begin(
                &p->progress, &(struct sl_progress_options){.title = "train",
                                      .unit = "samples",
                                      .scale = (double)config->batch.slots * config->batch.slot_size,
                                      .total = ps_coordinator_total_steps(p->coordinator),
                                      .done = r->step - 1});
        p->progress_begun = true;
    }
    char note[SL_PROGRESS_NOTE_MAX];
    int used = snprintf(note, sizeof(note), "epoch %" PRId64 "/%d loss", r->epoch + 1, config->epochs);
    for (int b = 0; b <= config->modality_count && used > 0 && (size_t)used < sizeof(note); b++)
        used += snprintf(note + used, sizeof(note) - (size_t)used, " %s %.3f",
                sl_config_branch_name(config, b), r->loss[b]);
    sl_progress_update(&p->progress, r->step, "%s", note);
}

static void show_validation(struct process *p, const struct ps_action *action, int64_t epoch)
{
    const struct sl_config *config = p->options->config;
    char text[1024];
    int used = 0;
    for (int b = 0; b <= config->modality_count && (size_t)used < sizeof(text); b++)
        used += snprintf(text + used, sizeof(text) - (size_t)used, " %s.loss=%.4f %s.accuracy=%.4f",
                sl_config_branch_name(config, b), sl_evaluation_metric(action->evaluation, b, SL_METRIC_LOSS),
                sl_config_branch_name(config, b),
                sl_evaluation_metric(action->evaluation, b, SL_METRIC_ACCURACY));
    sl_log(SL_LOG_INFO, "train", "validation", "epoch=%" PRId64 "%s best=%s", epoch, text,
            action->best ? "yes" : "no");
}

/* ---- actions ---- */

static void note_event(struct process *p, enum sl_log_level level, const char *event, const char *text)
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

static enum sl_status save(struct process *p, bool best, struct sl_error *err)
{
    struct sl_error problem = {0};
    enum sl_status status =
            ps_archive_save(p->archive, p->table, ps_coordinator_training(p->coordinator), best, &problem);
    if (status == SL_OK)
        return SL_OK;
    struct ps_event event = {.kind = PS_EVENT_SNAPSHOT_WRITTEN, .status = status, .text = problem.text};
    return advance(p, &event, err);
}

/* The event files are somebody's convenience: when they cannot be written training goes on without them. */
static void note_tensorboard(struct process *p, enum sl_status status, const struct sl_error *problem)
{
    if (status == SL_OK)
        return;
    ps_tensorboard_close(p->tensorboard);
    p->tensorboard = NULL;
    note_event(p, SL_LOG_WARN, "tensorboard-failed", problem->text);
}

static enum sl_status act(struct process *p, const struct ps_action *action, struct sl_error *err)
{
    struct sl_error problem = {0};
    const struct ps_training *training = ps_coordinator_training(p->coordinator);
    int64_t epoch =
            training->train_count > 0 ? training->step / ps_coordinator_steps_per_epoch(p->coordinator) : 0;
    switch (action->kind) {
    case PS_ACTION_STEP:
        show_step(p, &action->record);
        ps_status_step(p->status, &action->record);
        note_tensorboard(p, ps_tensorboard_step(p->tensorboard, &action->record, &problem), &problem);
        return ps_metrics_step(p->metrics, &action->record, err);
    case PS_ACTION_VALIDATION:
        show_validation(p, action, epoch);
        ps_status_validation(
                p->status, training->step, epoch, action->seconds, action->best, action->evaluation);
        note_tensorboard(p,
                ps_tensorboard_validation(p->tensorboard, training->step, action->evaluation, &problem),
                &problem);
        return ps_metrics_validation(
                p->metrics, training->step, epoch, action->seconds, action->best, action->evaluation, err);
    case PS_ACTION_JOINED:
        note_event(p, SL_LOG_INFO, "worker-joined", action->text);
        return SL_OK;
    case PS_ACTION_LOST:
        note_event(p, SL_LOG_WARN, "worker-lost", action->text);
        return SL_OK;
    case PS_ACTION_REFUSED:
        note_event(p, SL_LOG_WARN, "peer-refused", action->text);
        return SL_OK;
    case PS_ACTION_WARN:
        note_event(p, SL_LOG_WARN, "warning", action->text);
        return SL_OK;
    case PS_ACTION_FINISH:
        p->finished = true;
        p->finish_status = action->status;
        (void)snprintf(p->finish_text, sizeof(p->finish_text), "%s", action->text);
        return SL_OK;
    case PS_ACTION_SNAPSHOT:
        break; /* after the others: see carry_out */
    }
    return SL_OK;
}

/* Sends a message, or keeps it for the core beside. A worker that is gone is the coordinator's business. */
static enum sl_status dispatch(struct process *p, struct sl_outgoing *item, struct sl_error *err)
{
    if (item->to.role == SL_ROLE_SERVER)
        return sl_outbox_add(&p->local, item->to, SL_TAKE(item->message), err);
    struct sl_error problem = {0};
    enum sl_status status = sl_socket_send(p->socket, item->to.id, item->message, &problem);
    if (status == SL_NOT_FOUND) {
        struct sl_message *gone = sl_message_create(SL_MESSAGE_BYE);
        if (gone != NULL) { /* comes back to the coordinator as an event, after what is under way */
            gone->incarnation = item->to.id;
            (void)snprintf(gone->text, sizeof(gone->text), "its connection is gone");
        }
        return sl_outbox_add(&p->local, (struct sl_address){SL_ROLE_WORKER, item->to.id}, gone, err);
    }
    return status == SL_OK ? SL_OK : sl_fail(err, status, "%s", problem.text);
}

static enum sl_status dispatch_all(struct process *p, struct sl_outbox *outbox, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    for (int i = 0; i < outbox->count && status == SL_OK; i++)
        status = dispatch(p, &outbox->items[i], err);
    sl_outbox_clear(outbox);
    return status;
}

/* One event of the coordinator, and what follows from it. A snapshot comes last, because it may be the next event at once. */
static enum sl_status advance(struct process *p, struct ps_event *event, struct sl_error *err)
{
    event->now_us = sl_clock_monotonic_us();
    enum sl_status status = ps_coordinator_step(p->coordinator, event, &p->updates, err);
    if (status == SL_OK)
        status = dispatch_all(p, &p->updates.outbox, err);
    bool snapshot = false, best = false;
    for (int i = 0; i < p->updates.action_count; i++) {
        snapshot |= p->updates.actions[i].kind == PS_ACTION_SNAPSHOT;
        best |= p->updates.actions[i].kind == PS_ACTION_SNAPSHOT && p->updates.actions[i].best;
    }
    for (int i = 0; i < p->updates.action_count && status == SL_OK; i++)
        status = act(p, &p->updates.actions[i], err);
    return status == SL_OK && snapshot ? save(p, best, err) : status;
}

static bool is_data(enum sl_message_kind kind)
{
    return kind == SL_MESSAGE_PUSH || kind == SL_MESSAGE_PULL || kind == SL_MESSAGE_COMMIT;
}

/* A message to the core that it is for. */
static enum sl_status deliver(
        struct process *p, struct sl_address from, struct sl_message *message, struct sl_error *err)
{
    if (!is_data(message->kind)) {
        struct ps_event event = {.kind = PS_EVENT_MESSAGE, .from = from, .message = message};
        return advance(p, &event, err);
    }
    enum sl_status status = ps_server_step(p->server, from, message, &p->answers, err);
    return status == SL_OK ? dispatch_all(p, &p->answers, err) : status;
}

/* Messages between the cores, until there are none. */
static enum sl_status deliver_local(struct process *p, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    while (p->local.count > 0 && status == SL_OK) {
        struct sl_outbox now = p->local;
        p->local = (struct sl_outbox){0};
        for (int i = 0; i < now.count && status == SL_OK; i++) {
            struct sl_message *message = now.items[i].message;
            if (message->kind == SL_MESSAGE_BYE) {
                struct ps_event event = {.kind = PS_EVENT_GONE, .from = now.items[i].to};
                status = advance(p, &event, err);
            } else {
                status = deliver(p, (struct sl_address){SL_ROLE_SERVER, 0}, message, err);
            }
        }
        sl_outbox_fini(&now);
    }
    return status;
}

/* ---- status ---- */

/* What the cores know, for whoever watches. */
static void update_status(struct process *p)
{
    int64_t now_us = sl_clock_monotonic_us();
    if (p->finished || now_us < ps_status_due_us(p->status))
        return;
    struct ps_status_view view;
    ps_status_view(&view, &p->members, p->coordinator, p->options->config->batch.slot_size);
    view.refused = p->refused + p->offenders.total;
    ps_status_update(p->status, &view, now_us);
}

/* Until the next tick of the coordinator or the next Status, whichever is first. */
static int64_t wait_ms(const struct process *p)
{
    int64_t due_us = ps_status_due_us(p->status);
    int64_t until_us = due_us < p->updates.wake_us ? due_us : p->updates.wake_us;
    int64_t left_ms = (until_us - sl_clock_monotonic_us()) / 1000 + 1;
    return left_ms < 0 ? 0 : left_ms;
}

/* ---- the loop ---- */

/* A message was dropped. Whoever sends many such is taken for gone. */
static enum sl_status drop(struct process *p, uint64_t peer, const char *reason, struct sl_error *err)
{
    char quoted[SL_ERROR_TEXT_MAX];
    sl_log(SL_LOG_WARN, "server", "message-dropped", "total=%" PRIu64 " reason=%s", p->offenders.total + 1,
            sl_log_quote(quoted, sizeof(quoted), reason));
    if (!ps_offenders_note(&p->offenders, peer))
        return SL_OK;
    sl_log(SL_LOG_WARN, "server", "peer-ignored", "incarnation=%016" PRIx64 " bad_messages=%d last=%s", peer,
            PS_OFFENCES_MAX, quoted);
    struct ps_event event = {.kind = PS_EVENT_GONE, .from = {SL_ROLE_WORKER, peer}};
    return advance(p, &event, err);
}

/* Handshakes fail inside ZeroMQ; here is where the operator hears of it. Keys that are not allowed were logged one by one. */
static void tell_refused(struct process *p)
{
    uint64_t refused = sl_socket_refused(p->socket);
    if (refused != p->refused)
        sl_log(SL_LOG_WARN, "server", "handshakes-refused", "count=%" PRIu64 " total=%" PRIu64 " hint=\"%s\"",
                refused - p->refused, refused,
                p->keys != NULL ? "peers without keys, with another server's server.pub, or not in allowed"
                                : "peers with keys; this server has none");
    p->refused = refused;
}

static enum sl_status receive_all(struct process *p, struct sl_error *err)
{
    while (!p->finished) {
        SL_AUTO(sl_message_destroy_auto) struct sl_message *message = NULL;
        struct sl_error problem = {0};
        uint64_t peer = 0;
        enum sl_status status = sl_socket_receive(p->socket, &peer, &message, &problem);
        if (status == SL_AGAIN)
            return SL_OK;
        bool bad = status == SL_BAD_DATA || status == SL_MISMATCH;
        if ((bad || status == SL_OK) && ps_offenders_ignored(&p->offenders, peer))
            continue;
        if (bad && (status = drop(p, peer, problem.text, err)) == SL_OK)
            continue;
        if (status != SL_OK)
            return bad ? status : sl_fail(err, status, "%s", problem.text);
        status = deliver(p, (struct sl_address){SL_ROLE_WORKER, peer}, message, err);
        if (status == SL_OK)
            status = deliver_local(p, err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

static enum sl_status take_snapshot(struct process *p, struct sl_error *err)
{
    struct ps_written written;
    if (ps_archive_take(p->archive, &written) != SL_OK)
        return SL_OK;
    if (written.status == SL_OK)
        sl_log(SL_LOG_INFO, "snapshot", "snapshot-written",
                "step=%" PRId64 " best=%s bytes=%" PRIu64 " pause_ms=%.1f write_ms=%.1f", written.step,
                written.best ? "yes" : "no", written.size, written.pause_seconds * 1e3,
                written.write_seconds * 1e3);
    if (written.status == SL_OK)
        ps_status_snapshot(p->status, written.step, written.size, written.best, written.write_seconds);
    struct ps_event event = {
            .kind = PS_EVENT_SNAPSHOT_WRITTEN, .status = written.status, .text = written.error.text};
    return advance(p, &event, err);
}

static enum sl_status take_signal(struct process *p, struct sl_error *err)
{
    int number = p->options->signal_fd >= 0 ? sl_signals_take(p->options->signal_fd) : 0;
    if (number == 0)
        return SL_OK;
    const char *text = NULL;
    p->signal_number = number;
    (void)sl_signals_exit_code(number, &text);
    sl_log(SL_LOG_INFO, "server", "stopping", "signal=%s", text);
    struct ps_event event = {.kind = PS_EVENT_STOP, .status = SL_STOPPED, .text = text};
    return advance(p, &event, err);
}

static enum sl_status run_loop(struct process *p, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    while (status == SL_OK && !p->finished) {
        int fds[2] = {ps_archive_fd(p->archive), p->options->signal_fd};
        uint64_t ready = 0;
        status = sl_transport_wait(
                &p->socket, 1, fds, p->options->signal_fd >= 0 ? 2 : 1, wait_ms(p), &ready, err);
        if (status == SL_OK)
            status = receive_all(p, err);
        tell_refused(p);
        if (status == SL_OK)
            status = take_snapshot(p, err);
        if (status == SL_OK)
            status = take_signal(p, err);
        struct ps_event tick = {.kind = PS_EVENT_TICK};
        if (status == SL_OK)
            status = advance(p, &tick, err);
        if (status == SL_OK)
            status = deliver_local(p, err);
        update_status(p);
    }
    return status;
}

static enum sl_status finish(struct process *p, struct sl_error *err)
{
    if (p->progress_begun)
        sl_progress_end(&p->progress);
    char quoted[SL_MESSAGE_TEXT_MAX * 2];
    sl_log(p->finish_status == SL_OK || p->finish_status == SL_STOPPED ? SL_LOG_INFO : SL_LOG_ERROR, "server",
            "finished", "status=%s reason=%s", sl_status_name(p->finish_status),
            sl_log_quote(quoted, sizeof(quoted), p->finish_text));
    if (p->finish_status == SL_OK)
        return SL_OK;
    return sl_fail(err, p->finish_status, "%s", p->finish_text);
}

/* As the command will end. */
static int exit_code(const struct process *p, enum sl_status status)
{
    if (status == SL_STOPPED)
        return sl_signals_exit_code(p->signal_number, NULL);
    return status > SL_GAVE_UP ? SL_FAILED : (int)status;
}

enum sl_status ps_run(const struct ps_run_options *options, int *ret_signal, struct sl_error *err)
{
    struct process p = {.options = options};
    struct ps_training training;
    enum sl_status status = check_supported(options->config, err);
    if (status == SL_OK)
        status = ps_endpoint_check(
                options->config, "cluster.coordinator", options->config->cluster.coordinator, err);
    if (status == SL_OK && options->config->cluster.status[0] != 0)
        status = ps_endpoint_check(options->config, "cluster.status", options->config->cluster.status, err);
    if (status == SL_OK)
        status = load_keys(&p, err);
    if (status == SL_OK)
        status = open_state(&p, &training, err);
    if (status == SL_OK)
        status = open_cores(&p, &training, err);
    if (status == SL_OK)
        status = open_socket(&p, err);
    if (status == SL_OK)
        status = run_loop(&p, err);
    if (status == SL_OK)
        status = finish(&p, err);
    *ret_signal = p.signal_number;
    ps_status_close(p.status, exit_code(&p, status),
            status == SL_OK || p.finished || err == NULL ? p.finish_text : err->text);
    close_process(&p);
    return status;
}
