/* A server's process, and the first one's, in which the coordinator lives: messages between its two cores never touch the network. */
#include "common/memory.h"
#include "common/placement.h"
#include "tests/simulation/network.h"
#include "tests/simulation/world.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static struct sl_address own_address(const struct sim_process *p)
{
    return (struct sl_address){SL_ROLE_SERVER, p->incarnation};
}

static void send(struct sim_world *w, struct sim_process *p, struct sl_address to, struct sl_message *message)
{
    struct sl_error err = {0};
    enum sl_status status = sl_links_send(p->links, to, &message, sim_process_now(w, p), &err);
    if (status != SL_OK && status != SL_NOT_FOUND)
        sim_fail(w, "links: %s", err.text);
}

static void send_locally(struct sim_process *p, bool to_server, struct sl_message *message)
{
    if (p->local_count == p->local_capacity) {
        p->local_capacity = p->local_capacity == 0 ? 64 : 2 * p->local_capacity;
        p->local = sl_realloc(p->local, (size_t)p->local_capacity, sizeof(*p->local));
        assert(p->local != NULL);
    }
    p->local[p->local_count++] = (struct sim_local){to_server, message};
}

static void drop_local(struct sim_process *p)
{
    for (int i = 0; i < p->local_count; i++)
        sl_message_destroy(p->local[i].message);
    p->local_count = 0;
}

static void fill_hello(const struct sim_world *w, const struct sim_process *p, struct sl_hello *hello)
{
    *hello = (struct sl_hello){.role = SL_ROLE_SERVER,
            .config_hash = 5,
            .layout_hash = w->model->layout->hash,
            .threads = 1,
            .pid = (uint32_t)p->incarnations,
            .rank = p->rank,
            .servers = (uint32_t)w->servers};
    (void)snprintf(hello->host, sizeof(hello->host), "server%u", p->rank);
    if (p->index > 0)
        (void)snprintf(hello->endpoint, sizeof(hello->endpoint), "tcp://server%u:1", p->rank);
}

/* ---- the server's core ---- */

static void take_server_updates(struct sim_world *w, struct sim_process *p)
{
    struct sl_outbox *outbox = &p->server_updates.outbox;
    p->server_wake_us = p->server_updates.more ? sim_process_now(w, p) : p->server_updates.wake_us;
    for (int i = 0; i < outbox->count; i++) {
        struct sl_outgoing *out = &outbox->items[i];
        if (out->message->kind == SL_MESSAGE_PARAMS)
            sim_check_params(w, p, out->message);
        if (p->index == 0 && out->to.role == SL_ROLE_COORDINATOR)
            send_locally(p, false, SL_TAKE(out->message));
        else
            send(w, p, out->to, SL_TAKE(out->message));
    }
    outbox->count = 0;
    if (!p->server_updates.finished)
        return;
    SIM_TRACE(w, p, "server finishes with %s: %s", sl_status_name(p->server_updates.status),
            p->server_updates.text);
    if (p->index ==
            0) /* the process ends with its coordinator; a core that gives up alone would leave it half dead */
        return;
    p->leaving = true;
    p->leave_status = p->server_updates.status;
}

static void step_server(struct sim_world *w, struct sim_process *p, struct ps_server_event *event)
{
    struct sl_error err = {0};
    struct sl_message push = {0};
    if (p->server == NULL || p->leaving)
        return;
    event->now_us = sim_process_now(w, p);
    const struct sl_message *m = event->kind == PS_SERVER_MESSAGE ? event->message : NULL;
    if (m != NULL && m->kind == SL_MESSAGE_PUSH)
        push = *m; /* for the checker, without its frames, which the server takes */
    if (m != NULL && m->kind == SL_MESSAGE_WELCOME && event->from.role == SL_ROLE_COORDINATOR)
        p->mark = m->cluster;
    if (m != NULL && m->kind == SL_MESSAGE_COMMIT && m->cluster == p->mark)
        sim_check_committing(w, p, m);
    if (ps_server_step(p->server, event, &p->server_updates, &err) != SL_OK)
        sim_fail(w, "server %u: %s", p->rank, err.text);
    if (push.kind == SL_MESSAGE_PUSH)
        sim_check_pushed(w, p, event->from, &push, &p->server_updates.outbox);
    sim_check_server(w, p);
    take_server_updates(w, p);
}

static void make_server(struct sim_world *w, struct sim_process *p)
{
    struct sl_error err = {0};
    struct ps_optimiser optimiser = ps_optimiser_from_config(&w->config);
    const struct sl_layout *layout = w->model->layout;
    SL_AUTO_FREE int *owners = sl_alloc((size_t)layout->block_count, sizeof(*owners));
    SL_AUTO_FREE int *blocks = sl_alloc((size_t)layout->block_count, sizeof(*blocks));
    assert(owners != NULL && blocks != NULL);
    int count = 0;
    sl_placement_make(layout, w->servers, owners);
    for (int b = 0; b < layout->block_count; b++)
        if (owners[b] == (int)p->rank)
            blocks[count++] = b;
    struct ps_server_options options = {.config = &w->config,
            .layout = layout,
            .incarnation = p->incarnation,
            .join_us = 60000000,
            .report_us = 5000000,
            .piece_floats = (size_t)(w->plan->seed % 4) * layout->count / 16}; /* 0: all at once */
    fill_hello(w, p, &options.hello);
    if (ps_table_create(&p->table, layout, &optimiser, blocks, count, &err) != SL_OK)
        sim_fail(w, "table: %s", err.text);
    options.table = p->table;
    if (w->failure[0] == 0 && ps_server_create(&p->server, &options, &err) != SL_OK)
        sim_fail(w, "server: %s", err.text);
    p->checked_version = -1;
    p->mark = 0;
    struct ps_server_event start = {.kind = PS_SERVER_START};
    step_server(w, p, &start);
}

static void drop_server(struct sim_process *p)
{
    ps_server_destroy(p->server);
    ps_table_destroy(p->table);
    p->server = NULL;
    p->table = NULL;
}

/* ---- the coordinator's core ---- */

static void coordinate(struct sim_world *w, struct sim_process *p, struct ps_event *event);

static void load(struct sim_world *w, struct sim_process *p, const struct ps_action *action)
{
    const struct sl_layout *layout = w->model->layout;
    SL_AUTO_FREE int *owners = sl_alloc((size_t)layout->block_count, sizeof(*owners));
    assert(owners != NULL);
    sl_placement_make(layout, w->servers, owners);
    for (int b = 0; b < layout->block_count; b++) {
        if (owners[b] != (int)action->rank)
            continue;
        struct sl_message *m = sim_disk_load(&w->disk, b);
        m->cluster = action->cluster;
        m->count = action->count;
        m->incarnation = p->incarnation;
        sim_check_load(w, action->cluster, m);
        if (sl_address_equal(action->to, own_address(p)))
            send_locally(p, true, m);
        else
            send(w, p, action->to, m);
    }
}

static void begin_write(struct sim_world *w, struct sim_process *p)
{
    int missing = sim_disk_missing(&w->disk);
    if (missing > 0 || w->disk.gathering == NULL) {
        sim_fail(w, "a snapshot is to be written without %d of its blocks", missing);
        return;
    }
    if (w->disk.writing != NULL) {
        sim_fail(w, "a snapshot is to be written while another one is");
        return;
    }
    int64_t takes = w->plan->write_us / 2 + sim_between(&w->dice, 0, w->plan->write_us);
    bool fails = !w->healed && sim_chance(&w->dice, w->plan->write_fails);
    sim_disk_write(&w->disk, w->now_us + takes, fails);
    sim_schedule(w, w->now_us + takes, SIM_EVENT_WRITTEN, p->index, p->life, NULL);
}

/* Everything stops until the disk is done and read; then the core goes on from what stands there. */
static void restore(struct sim_world *w, struct sim_process *p)
{
    w->totals.rollbacks++;
    drop_local(p);
    drop_server(p);
    sl_links_close_all(p->links);
    int64_t at = w->now_us + sim_between(&w->dice, 100, 300000);
    if (w->disk.writing != NULL && at <= w->disk.done_us)
        at = w->disk.done_us + 1;
    p->paused_us = at > p->paused_us ? at : p->paused_us;
    sim_schedule(w, at, SIM_EVENT_RESTORED, p->index, p->life, NULL);
}

/* The actions at which a cluster is most easily hurt. */
static void crash_somebody(struct sim_world *w)
{
    if (w->healed || !sim_chance(&w->dice, w->plan->crash_acting))
        return;
    struct sim_process *victim = &w->processes[sim_below(&w->dice, (uint64_t)w->process_count)];
    if (victim->up)
        sim_schedule(w, w->now_us + sim_between(&w->dice, 0, 5000), SIM_EVENT_FAULT, victim->index,
                victim->life, NULL);
}

static void act(struct sim_world *w, struct sim_process *p, const struct ps_action *action,
        const struct ps_event *event)
{
    switch (action->kind) {
    case PS_ACTION_LOAD:
        load(w, p, action);
        break;
    case PS_ACTION_STEP:
        w->totals.steps++;
        sim_check_step(w, p, &action->record);
        break;
    case PS_ACTION_VALIDATION:
        sim_check_validation(w, p, action->evaluation);
        break;
    case PS_ACTION_SNAPSHOT:
        if (w->disk.gathering != NULL)
            sim_fail(w, "a snapshot is begun while another one is gathered");
        sim_check_snapshot(w, p, ps_coordinator_training(p->coordinator));
        sim_disk_begin(&w->disk, ps_coordinator_training(p->coordinator));
        break;
    case PS_ACTION_SAVED_BLOCK:
        assert(event->message != NULL);
        sim_check_saved(w, p, event->message);
        if (!sim_disk_put(&w->disk, event->message))
            sim_fail(w, "block %u does not fit into the snapshot, or is in twice", event->message->block);
        break;
    case PS_ACTION_SNAPSHOT_WRITE:
        begin_write(w, p);
        break;
    case PS_ACTION_SNAPSHOT_DROP:
        sim_disk_drop(&w->disk);
        break;
    case PS_ACTION_RESTORE:
        restore(w, p);
        break;
    case PS_ACTION_CLOSE:
        sl_links_close(p->links, action->to);
        break;
    case PS_ACTION_REFUSED:
        if (w->resumes == 0) /* else it may be a late message of a run with other numbers */
            sim_fail(w, "a peer was refused: %s", action->text);
        break;
    case PS_ACTION_FINISH:
        sim_process_flush(w, p);
        sim_check_finished(w, p, action->status);
        sim_world_finished(w, action->status, action->text);
        p->leaving = true;
        p->leave_status = action->status;
        break;
    case PS_ACTION_READY:
    case PS_ACTION_JOINED:
    case PS_ACTION_LOST:
    case PS_ACTION_WARN:
        break;
    }
}

static void take_outbox(struct sim_world *w, struct sim_process *p)
{
    struct sl_outbox *outbox = &p->updates.outbox;
    for (int i = 0; i < outbox->count; i++) {
        struct sl_outgoing *out = &outbox->items[i];
        sim_check_sent(w, p, out->to, out->message);
        if (sl_address_equal(out->to, own_address(p)))
            send_locally(p, true, SL_TAKE(out->message));
        else
            send(w, p, out->to, SL_TAKE(out->message));
    }
    outbox->count = 0;
}

static void step_coordinator(struct sim_world *w, struct sim_process *p, struct ps_event *event)
{
    struct sl_error err = {0};
    struct timespec begin, end;
    event->now_us = sim_process_now(w, p);
    if (w->measure)
        (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    if (ps_coordinator_step(p->coordinator, event, &p->updates, &err) != SL_OK)
        sim_fail(w, "coordinator: %s", err.text);
    if (w->measure) {
        (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
        w->coordinator_ns += (end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec;
        w->coordinator_messages += event->kind == PS_EVENT_MESSAGE;
    }
    p->coordinator_wake_us = p->updates.wake_us;
}

/* Messages leave before actions are carried out, so that WELCOME comes before LOAD and a closed link has said why. */
static void coordinate(struct sim_world *w, struct sim_process *p, struct ps_event *event)
{
    if (p->leaving || w->failure[0] != 0)
        return;
    step_coordinator(w, p, event);
    if (w->failure[0] != 0)
        return;
    take_outbox(w, p);
    for (int i = 0; i < p->updates.action_count && w->failure[0] == 0; i++) {
        const struct ps_action *action = &p->updates.actions[i];
        if (w->trace != NULL) {
            static const char *const names[] = {"LOAD", "READY", "STEP", "VALIDATION", "SNAPSHOT",
                    "SAVED_BLOCK", "SNAPSHOT_WRITE", "SNAPSHOT_DROP", "RESTORE", "CLOSE", "JOINED", "LOST",
                    "REFUSED", "WARN", "FINISH"};
            SIM_TRACE(w, p, "coordinator (%s): %s %s rank %u step %" PRId64,
                    ps_coordinator_state(p->coordinator), names[action->kind], action->text, action->rank,
                    ps_coordinator_training(p->coordinator)->step);
        }
        if (action->kind == PS_ACTION_CLOSE)
            sim_process_flush(w, p);
        act(w, p, action, event);
        crash_somebody(w);
    }
}

static void make_coordinator(struct sim_world *w, struct sim_process *p)
{
    struct sl_error err = {0};
    struct ps_coordinator_options options = {.config = &w->config,
            .layout = w->model->layout,
            .config_hash = 5,
            .cluster = ++w->marks << 20,
            .incarnation = p->incarnation,
            .servers = w->servers,
            .training = sim_disk_training(&w->disk)};
    if (ps_coordinator_create(&p->coordinator, &options, &err) != SL_OK)
        sim_fail(w, "coordinator: %s", err.text);
    p->coordinator_wake_us = INT64_MAX;
}

/* ---- the process ---- */

void sim_server_start(struct sim_world *w, struct sim_process *p)
{
    p->server_wake_us = INT64_MAX;
    if (p->index == 0)
        make_coordinator(w, p);
    if (w->failure[0] == 0)
        make_server(w, p);
    if (p->index == 0)
        p->coordinator_wake_us = sim_process_now(w, p); /* a tick, as the loop gives one at its start */
}

void sim_server_end(struct sim_process *p)
{
    drop_local(p);
    drop_server(p);
    ps_coordinator_destroy(p->coordinator);
    p->coordinator = NULL;
}

static bool is_for_server(const struct sl_message *m)
{
    return m->kind == SL_MESSAGE_PUSH || m->kind == SL_MESSAGE_PULL;
}

void sim_server_event(struct sim_world *w, struct sim_process *p, struct sl_link_event *event)
{
    bool gone = event->kind == SL_LINK_GONE;
    struct ps_server_event to_server = {.kind = gone ? PS_SERVER_GONE : PS_SERVER_MESSAGE,
            .from = event->from,
            .message = event->message,
            .text = event->text};
    if (p->index > 0) {
        step_server(w, p, &to_server);
        return;
    }
    if (gone || is_for_server(event->message))
        step_server(w, p, &to_server);
    if (gone || !is_for_server(event->message)) {
        struct ps_event to_coordinator = {.kind = gone ? PS_EVENT_GONE : PS_EVENT_MESSAGE,
                .from = event->from,
                .message = event->message,
                .text = event->text};
        coordinate(w, p, &to_coordinator);
    }
}

bool sim_server_local(struct sim_world *w, struct sim_process *p)
{
    if (p->local_count == 0 || p->leaving || w->failure[0] != 0)
        return false;
    struct sim_local local = p->local[0];
    memmove(p->local, p->local + 1, (size_t)--p->local_count * sizeof(*p->local));
    if (local.to_server) {
        struct ps_server_event event = {
                .kind = PS_SERVER_MESSAGE, .from = SL_COORDINATOR, .message = local.message};
        step_server(w, p, &event);
    } else {
        struct ps_event event = {.kind = PS_EVENT_MESSAGE, .from = own_address(p), .message = local.message};
        coordinate(w, p, &event);
    }
    sl_message_destroy(local.message);
    return true;
}

void sim_server_tick(struct sim_world *w, struct sim_process *p)
{
    struct ps_server_event tick = {.kind = p->server_updates.more ? PS_SERVER_WORK : PS_SERVER_TICK};
    step_server(w, p, &tick);
    if (p->index > 0)
        return;
    struct ps_event event = {.kind = PS_EVENT_TICK};
    coordinate(w, p, &event);
}

void sim_server_written(struct sim_world *w, struct sim_process *p)
{
    if (w->disk.writing == NULL)
        return; /* a rollback has waited for it */
    bool good = sim_disk_end(&w->disk);
    SIM_TRACE(w, p, "snapshot: %s", good ? "written" : "failed");
    struct ps_event event = {.kind = PS_EVENT_SNAPSHOT_WRITTEN,
            .status = good ? SL_OK : SL_DISK,
            .text = good ? "" : "the virtual disk is full"};
    coordinate(w, p, &event);
    sim_process_pump(w, p);
}

/* As in the loop: the writer has been waited for, its result is told after the restore. */
void sim_server_restored(struct sim_world *w, struct sim_process *p)
{
    bool written = w->disk.writing != NULL, good = written && sim_disk_end(&w->disk);
    sim_disk_drop(&w->disk);
    make_server(w, p);
    struct ps_training training = sim_disk_training(&w->disk);
    SIM_TRACE(w, p, "restored to step %" PRId64, training.step);
    struct ps_event event = {.kind = PS_EVENT_RESTORED, .status = SL_OK, .text = "", .training = &training};
    coordinate(w, p, &event);
    if (written) {
        struct ps_event end = {.kind = PS_EVENT_SNAPSHOT_WRITTEN,
                .status = good ? SL_OK : SL_DISK,
                .text = good ? "" : "the virtual disk is full"};
        coordinate(w, p, &end);
    }
    sim_process_pump(w, p);
}

void sim_server_stop(struct sim_world *w, struct sim_process *p)
{
    struct ps_event event = {.kind = PS_EVENT_STOP, .status = SL_STOPPED, .text = "a signal"};
    coordinate(w, p, &event);
    sim_process_pump(w, p);
}
