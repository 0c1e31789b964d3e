/* The worker's decisions: see core.h. One message kind, one function. */
#include "worker/core.h"

#include "common/memory.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum state { STATE_JOINING, STATE_IDLE, STATE_PULLING, STATE_COMPUTING, STATE_LEFT };

/* A node whose gradients are on their way: reported once every block is acknowledged. */
struct pending_node {
    struct sl_node node;
    struct sl_step_stats stats;
    uint64_t compute_us;
    int unacknowledged;          /* blocks */
    unsigned char *acknowledged; /* (block_count,) */
};

struct wk_core {
    struct wk_core_options options;
    float *params;
    int64_t version;           /* of params, -1 = none whole */
    unsigned char *block_here; /* (block_count,) of the version being pulled */
    int blocks_missing;
    enum state state;
    uint64_t cluster, sequence;
    struct wk_action run; /* the assignment being worked on */
    bool queued;          /* an ASSIGN that came early */
    struct wk_action next;
    struct pending_node pending[32]; /* an aligned cut of a run has at most two nodes a level */
    int pending_count;
    uint32_t reported; /* slots of the run whose STATS or VALIDATED have been sent */
    int64_t heard_us, beat_us;
};

#define PENDING_MAX ((int)(sizeof(((struct wk_core *)0)->pending) / sizeof(struct pending_node)))

static const struct sl_address coordinator = {SL_ROLE_SERVER, 0};

enum sl_status wk_core_create(
        struct wk_core **ret_core, const struct wk_core_options *options, float *params, struct sl_error *err)
{
    struct wk_core *core = sl_alloc(1, sizeof(*core));
    unsigned char *here = sl_alloc((size_t)options->layout->block_count, 1);
    if (core == NULL || here == NULL) {
        sl_free(core);
        sl_free(here);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the worker");
    }
    core->options = *options;
    core->params = params;
    core->block_here = here;
    core->version = -1;
    *ret_core = core;
    return SL_OK;
}

void wk_core_destroy(struct wk_core *core)
{
    if (core == NULL)
        return;
    for (int i = 0; i < core->pending_count; i++)
        sl_free(core->pending[i].acknowledged);
    sl_free(core->block_here);
    sl_free(core);
}

/* ---- out ---- */

static struct sl_message *message_to_send(struct wk_core *core, enum sl_message_kind kind)
{
    struct sl_message *m = sl_message_create(kind);
    if (m != NULL) {
        m->cluster = core->cluster;
        m->incarnation = core->options.incarnation;
        m->sequence = ++core->sequence;
        m->step = core->run.step;
        m->phase = core->run.phase;
        m->slots = core->run.slots;
    }
    return m;
}

static void finish(struct wk_core *core, struct wk_updates *updates, enum sl_status status, const char *text)
{
    core->state = STATE_LEFT;
    updates->action = (struct wk_action){.kind = WK_ACTION_FINISH, .status = status};
    (void)snprintf(updates->action.text, sizeof(updates->action.text), "%s", text);
}

static enum sl_status send_hello(struct wk_core *core, struct wk_updates *updates, struct sl_error *err)
{
    struct sl_message *m = message_to_send(core, SL_MESSAGE_HELLO);
    if (m != NULL)
        m->hello = core->options.hello;
    return sl_outbox_add(&updates->outbox, coordinator, m, err);
}

/* ---- a run: pull, compute ---- */

static void compute(struct wk_core *core, struct wk_updates *updates)
{
    core->state = STATE_COMPUTING;
    core->reported = 0;
    updates->action = core->run;
    updates->action.kind = WK_ACTION_COMPUTE;
}

static enum sl_status begin_run(
        struct wk_core *core, const struct wk_action *run, struct wk_updates *updates, struct sl_error *err)
{
    core->run = *run;
    if (core->version == run->step) {
        compute(core, updates);
        return SL_OK;
    }
    core->state = STATE_PULLING;
    core->version = -1;
    core->blocks_missing = core->options.layout->block_count;
    memset(core->block_here, 0, (size_t)core->options.layout->block_count);
    return sl_outbox_add(&updates->outbox, coordinator, message_to_send(core, SL_MESSAGE_PULL), err);
}

/* Whether the data has these slots of the step, or these units of validation. */
static bool run_exists(const struct wk_core *core, const struct sl_message *m)
{
    const struct sl_hello *data = &core->options.hello;
    uint64_t size = core->options.slot_size, batch = core->options.slots * size;
    if (m->phase == SL_PHASE_VALIDATE)
        return m->end <= (data->validation_count + size - 1) / size;
    uint64_t steps = (data->train_count + batch - 1) / batch; /* of an epoch */
    if (steps == 0)
        return false;
    uint64_t left = data->train_count - (uint64_t)m->step % steps * batch;
    return m->slots == ((left < batch ? left : batch) + size - 1) / size && m->end <= m->slots;
}

/* ASSIGN: idle → begin; busy → keep it for later (the coordinator never sends a second one while a run is open, but the last report and
 * the next ASSIGN may cross); before WELCOME → ignored; of slots that the data does not have → leave, the two do not fit. */
static enum sl_status on_assign(
        struct wk_core *core, const struct sl_message *m, struct wk_updates *updates, struct sl_error *err)
{
    if (core->state != STATE_JOINING && !run_exists(core, m)) {
        char text[SL_MESSAGE_TEXT_MAX];
        (void)snprintf(text, sizeof(text),
                "the coordinator assigns %s [%u, %u) of %u in step %" PRId64
                ", which this worker's data does not have",
                m->phase == SL_PHASE_TRAIN ? "slots" : "units of validation", m->begin, m->end, m->slots,
                m->step);
        finish(core, updates, SL_MISMATCH, text);
        return SL_OK;
    }
    struct wk_action run = {
            .phase = m->phase, .step = m->step, .slots = m->slots, .begin = m->begin, .end = m->end};
    if (core->state == STATE_IDLE)
        return begin_run(core, &run, updates, err);
    if (core->state == STATE_PULLING || core->state == STATE_COMPUTING) {
        core->next = run;
        core->queued = true;
    }
    return SL_OK;
}

/* PARAMS of the version that is being pulled: copy the block; the last one starts the computation. Any other version, a block out of range, twice, or
 * of another size → ignored: nothing that a late answer carries can be right. */
static void on_params(struct wk_core *core, const struct sl_message *m, struct wk_updates *updates)
{
    const struct sl_layout *layout = core->options.layout;
    if (core->state != STATE_PULLING || m->step != core->run.step ||
            m->block >= (uint32_t)layout->block_count || core->block_here[m->block])
        return;
    const struct sl_block *block = &layout->blocks[m->block];
    if (m->frames[0].size != block->count * sizeof(float))
        return;
    memcpy(core->params + block->offset, m->frames[0].data, m->frames[0].size);
    core->block_here[m->block] = 1;
    core->blocks_missing--;
    if (core->blocks_missing == 0) {
        core->version = core->run.step;
        compute(core, updates);
    }
}

/* ---- results ---- */

static enum sl_status push_block(struct wk_core *core, struct sl_node node, int b,
        struct sl_buffer *gradients, struct wk_updates *updates, struct sl_error *err)
{
    const struct sl_layout *layout = core->options.layout;
    const struct sl_block *block = &layout->blocks[b];
    struct sl_message *m = message_to_send(core, SL_MESSAGE_PUSH);
    if (m != NULL) {
        m->node = node;
        m->block = (uint32_t)b;
        for (size_t tag = 0; tag < SL_TAGS; tag++) {
            const float *values = (const float *)gradients->data + tag * layout->count + block->offset;
            if (block->tagged[tag])
                sl_message_add_frame(m, gradients, values, block->count * sizeof(float));
        }
    }
    return sl_outbox_add(&updates->outbox, coordinator, m, err);
}

static enum sl_status on_node_done(
        struct wk_core *core, const struct wk_event *event, struct wk_updates *updates, struct sl_error *err)
{
    assert(core->state == STATE_COMPUTING && core->pending_count < PENDING_MAX);
    int blocks = core->options.layout->block_count;
    unsigned char *acknowledged = sl_alloc((size_t)blocks, 1);
    if (acknowledged == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a push");
    core->pending[core->pending_count++] =
            (struct pending_node){event->node, *event->stats, event->compute_us, blocks, acknowledged};
    for (int b = 0; b < blocks; b++) {
        enum sl_status status = push_block(core, event->node, b, event->gradients, updates, err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

/* The run is over when all its slots are reported: take up what came early, or wait. */
static enum sl_status end_run_if_reported(
        struct wk_core *core, struct wk_updates *updates, struct sl_error *err)
{
    if (core->reported < core->run.end - core->run.begin)
        return SL_OK;
    core->state = STATE_IDLE;
    if (!core->queued)
        return SL_OK;
    core->queued = false;
    struct wk_action next = core->next;
    return begin_run(core, &next, updates, err);
}

static enum sl_status report_node(
        struct wk_core *core, int index, struct wk_updates *updates, struct sl_error *err)
{
    struct pending_node *pending = &core->pending[index];
    struct sl_message *m = message_to_send(core, SL_MESSAGE_STATS);
    if (m != NULL) {
        m->node = pending->node;
        m->stats = pending->stats;
        m->compute_us = pending->compute_us;
    }
    core->reported += sl_tree_end(core->run.slots, pending->node) - sl_tree_begin(pending->node);
    sl_free(pending->acknowledged);
    *pending = core->pending[--core->pending_count];
    enum sl_status status = sl_outbox_add(&updates->outbox, coordinator, m, err);
    return status == SL_OK ? end_run_if_reported(core, updates, err) : status;
}

/* ACK of a pushed block: counted once; the last one of a node reports it. Anything that is not pending → ignored. */
static enum sl_status on_ack(
        struct wk_core *core, const struct sl_message *m, struct wk_updates *updates, struct sl_error *err)
{
    if (core->state != STATE_COMPUTING || m->step != core->run.step)
        return SL_OK;
    for (int i = 0; i < core->pending_count; i++) {
        struct pending_node *pending = &core->pending[i];
        if (!sl_tree_equal(pending->node, m->node) ||
                m->block >= (uint32_t)core->options.layout->block_count || pending->acknowledged[m->block])
            continue;
        pending->acknowledged[m->block] = 1;
        pending->unacknowledged--;
        if (pending->unacknowledged == 0)
            return report_node(core, i, updates, err);
    }
    return SL_OK;
}

static enum sl_status on_validation_done(
        struct wk_core *core, const struct wk_event *event, struct wk_updates *updates, struct sl_error *err)
{
    struct sl_message *m = message_to_send(core, SL_MESSAGE_VALIDATED);
    if (m != NULL) {
        m->begin = core->run.begin;
        m->end = core->run.end;
        m->compute_us = event->compute_us;
        sl_message_add_frame(m, event->evaluation, event->evaluation->data, event->evaluation->size);
    }
    core->reported = core->run.end - core->run.begin;
    enum sl_status status = sl_outbox_add(&updates->outbox, coordinator, m, err);
    return status == SL_OK ? end_run_if_reported(core, updates, err) : status;
}

/* ---- events ---- */

static enum sl_status on_message(
        struct wk_core *core, const struct sl_message *m, struct wk_updates *updates, struct sl_error *err)
{
    switch (m->kind) {
    case SL_MESSAGE_WELCOME:
        if (core->state == STATE_JOINING) {
            core->cluster = m->cluster;
            core->state = STATE_IDLE;
        }
        return SL_OK;
    case SL_MESSAGE_REFUSE:
        finish(core, updates, SL_MISMATCH, m->text);
        return SL_OK;
    case SL_MESSAGE_STOP:
        finish(core, updates, SL_OK, m->text);
        return SL_OK;
    case SL_MESSAGE_ASSIGN:
        return on_assign(core, m, updates, err);
    case SL_MESSAGE_PARAMS:
        on_params(core, m, updates);
        return SL_OK;
    case SL_MESSAGE_ACK:
        return on_ack(core, m, updates, err);
    default:
        return SL_OK; /* a heartbeat, or something that is not for workers */
    }
}

/* Says that we live, says hello again while nobody has answered, and gives up when the coordinator is silent for too long. */
static enum sl_status on_tick(
        struct wk_core *core, int64_t now_us, struct wk_updates *updates, struct sl_error *err)
{
    if (now_us - core->heard_us > core->options.timeout_us) {
        finish(core, updates, SL_TIMEOUT,
                core->state == STATE_JOINING
                        ? "no answer from the coordinator: is its address right, does it run?"
                        : "the coordinator has not been heard for too long");
        return SL_OK;
    }
    if (now_us < core->beat_us)
        return SL_OK;
    core->beat_us = now_us + core->options.heartbeat_us;
    if (core->state == STATE_JOINING)
        return send_hello(core, updates, err);
    return sl_outbox_add(&updates->outbox, coordinator, message_to_send(core, SL_MESSAGE_HEARTBEAT), err);
}

static enum sl_status on_leave(
        struct wk_core *core, const char *text, struct wk_updates *updates, struct sl_error *err)
{
    struct sl_message *m = message_to_send(core, SL_MESSAGE_BYE);
    if (m != NULL)
        (void)snprintf(m->text, sizeof(m->text), "%s", text);
    finish(core, updates, SL_STOPPED, text);
    return sl_outbox_add(&updates->outbox, coordinator, m, err);
}

enum sl_status wk_core_step(
        struct wk_core *core, const struct wk_event *event, struct wk_updates *updates, struct sl_error *err)
{
    sl_outbox_clear(&updates->outbox);
    updates->action = (struct wk_action){.kind = WK_ACTION_NONE};
    enum sl_status status = SL_OK;
    if (core->state == STATE_LEFT)
        return SL_OK;
    switch (event->kind) {
    case WK_EVENT_START:
        core->heard_us = event->now_us;
        core->beat_us = event->now_us + core->options.heartbeat_us;
        status = send_hello(core, updates, err);
        break;
    case WK_EVENT_TICK:
        status = on_tick(core, event->now_us, updates, err);
        break;
    case WK_EVENT_MESSAGE:
        core->heard_us = event->now_us;
        if (core->state == STATE_JOINING || event->message->cluster == core->cluster)
            status = on_message(core, event->message, updates, err);
        break;
    case WK_EVENT_NODE_DONE:
        status = on_node_done(core, event, updates, err);
        break;
    case WK_EVENT_VALIDATION_DONE:
        status = on_validation_done(core, event, updates, err);
        break;
    case WK_EVENT_LEAVE:
        status = on_leave(core, event->text, updates, err);
        break;
    }
    updates->wake_us = core->beat_us;
    return status;
}
