/* A worker's decisions: see core.h. One message kind, one function. */
#include "worker/core.h"

#include "common/memory.h"
#include "common/mutant.h"
#include "common/placement.h"
#include "worker/holding.h"
#include "worker/residual.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* DRAINING: a run is given, but the executor is still at the one before, which reads the parameters. */
enum state { STATE_JOINING, STATE_IDLE, STATE_DRAINING, STATE_PULLING, STATE_COMPUTING, STATE_LEFT };

/* Of a block of a node. */
enum progress { BLOCK_COMPUTED_ON, BLOCK_PUSHED, BLOCK_ACKNOWLEDGED };

/* A node whose gradients are on their way: reported once it is whole and every block is acknowledged. */
struct pending_node {
    struct sl_node node;
    bool whole; /* what follows is known */
    struct sl_step_stats stats;
    struct sl_spent spent;
    uint64_t compute_us, hash;
    int unacknowledged;      /* blocks, of those that are trained */
    unsigned char *progress; /* (block_count,) */
};

struct wk_core {
    struct wk_core_options options;
    struct wk_holding holding;
    struct wk_residual *residual;    /* NULL: gradients travel as they are */
    struct sl_server_entry *servers; /* (server_count,), by rank */
    int server_count;
    int *owners;    /* (block_count,): ranks */
    bool ahead_due; /* the next version is to be pulled once the executor is idle */
    enum state state;
    bool busy; /* the executor has not said IDLE since the last COMPUTE */
    uint64_t cluster;
    struct wk_action run;            /* the assignment being worked on */
    struct pending_node pending[64]; /* an aligned cut of a run has at most two nodes a level */
    int pending_count;
    uint32_t reported; /* slots of the run whose STATS or VALIDATED have been sent */
    int64_t started_us, report_us;
    int64_t spent_until_us; /* what came before is in spent */
    struct sl_spent spent;  /* since the last STATS: the worker's own kinds */
    int64_t broken_us;      /* when we begin anew because a server is gone; 0 = all are there */
    char broken_text[SL_MESSAGE_TEXT_MAX];
};

/* The coordinator knows better what the end of a server means: a rollback, or the end of training, whose news may come a little later. */
#define BROKEN_GRACE_US 500000

#define PENDING_MAX ((int)(sizeof(((struct wk_core *)0)->pending) / sizeof(struct pending_node)))

enum sl_status wk_core_create(
        struct wk_core **ret_core, const struct wk_core_options *options, float *params, struct sl_error *err)
{
    struct wk_core *core = sl_alloc(1, sizeof(*core));
    size_t blocks = (size_t)options->layout->block_count;
    if (core == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the worker");
    core->options = *options;
    core->busy = options->busy;
    core->owners = sl_alloc(blocks, sizeof(*core->owners));
    enum sl_status status = core->owners != NULL
                                    ? wk_holding_init(&core->holding, options->layout, params, err)
                                    : sl_fail(err, SL_NO_MEMORY, "out of memory for the worker");
    if (status == SL_OK && options->rounds)
        status = wk_residual_create(&core->residual, options->layout, err);
    if (status != SL_OK) {
        wk_core_destroy(core);
        return status;
    }
    *ret_core = core;
    return SL_OK;
}

static void drop_pending(struct wk_core *core)
{
    for (int i = 0; i < core->pending_count; i++)
        sl_free(core->pending[i].progress);
    core->pending_count = 0;
}

void wk_core_destroy(struct wk_core *core)
{
    if (core == NULL)
        return;
    drop_pending(core);
    wk_residual_destroy(core->residual);
    wk_holding_fini(&core->holding);
    sl_free(core->owners);
    sl_free(core->servers);
    sl_free(core);
}

/* ---- out ---- */

static struct sl_message *message_to_send(const struct wk_core *core, enum sl_message_kind kind)
{
    struct sl_message *m = sl_message_create(kind);
    if (m != NULL) {
        m->cluster = core->cluster;
        m->incarnation = core->options.incarnation;
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

/* The first server shares the coordinator's connection. */
static struct sl_address server_address(const struct wk_core *core, int rank)
{
    return rank == 0 ? SL_COORDINATOR : (struct sl_address){SL_ROLE_SERVER, core->servers[rank].incarnation};
}

static enum sl_status send_bye(
        struct wk_core *core, const char *text, struct wk_updates *updates, struct sl_error *err)
{
    struct sl_message *m = message_to_send(core, SL_MESSAGE_BYE);
    if (m != NULL)
        (void)snprintf(m->text, sizeof(m->text), "%s", text);
    return sl_outbox_add(&updates->outbox, SL_COORDINATOR, m, err);
}

/* ---- joining ---- */

/* A frame that is a copy of some bytes. */
static enum sl_status add_copy(struct sl_message *m, const void *bytes, size_t size, struct sl_error *err)
{
    struct sl_buffer *buffer = sl_buffer_create(size);
    if (buffer == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a message");
    memcpy(buffer->data, bytes, size);
    sl_message_add_frame(m, buffer, buffer->data, size);
    sl_buffer_release(buffer);
    return SL_OK;
}

static enum sl_status say_hello(struct wk_core *core, struct wk_updates *updates, struct sl_error *err)
{
    const struct wk_core_options *o = &core->options;
    SL_AUTO(sl_message_destroy_auto) struct sl_message *m = message_to_send(core, SL_MESSAGE_HELLO);
    if (m == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a message");
    m->hello = o->hello;
    enum sl_status status = SL_OK;
    if (o->shards != NULL)
        status = add_copy(m, o->shards, o->shard_count * sizeof(*o->shards), err);
    if (status == SL_OK && o->shards != NULL)
        status = add_copy(m, o->readable, o->shard_count, err);
    return status == SL_OK ? sl_outbox_add(&updates->outbox, SL_COORDINATOR, SL_TAKE(m), err) : status;
}

/* Each server of rank >= 1 must have an address of its own. */
static bool servers_make_sense(const struct sl_message *m)
{
    if (m->count < 1 || m->count > SL_SERVERS_MAX || m->frame_count != 1 ||
            m->frames[0].size != m->count * sizeof(struct sl_server_entry))
        return m->count == 1 && m->frame_count == 0;
    const struct sl_server_entry *servers = m->frames[0].data;
    for (uint64_t s = 1; s < m->count; s++)
        if (servers[s].incarnation == 0 || servers[s].endpoint[0] == 0 ||
                memchr(servers[s].endpoint, 0, sizeof(servers[s].endpoint)) == NULL)
            return false;
    return true;
}

/* WELCOME while joining → we are in; senseless → the two programs do not fit; later → ignored. */
static enum sl_status on_welcome(
        struct wk_core *core, const struct sl_message *m, struct wk_updates *updates, struct sl_error *err)
{
    if (core->state != STATE_JOINING)
        return SL_OK;
    if (!servers_make_sense(m)) {
        finish(core, updates, SL_MISMATCH, "the coordinator's list of servers makes no sense");
        return SL_OK;
    }
    core->servers = sl_alloc((size_t)m->count, sizeof(*core->servers));
    if (core->servers == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %" PRIu64 " servers", m->count);
    core->server_count = (int)m->count;
    if (m->frame_count == 1)
        memcpy(core->servers, m->frames[0].data, m->frames[0].size);
    sl_placement_make(core->options.layout, core->server_count, core->owners);
    core->cluster = m->cluster;
    core->state = STATE_IDLE;
    if (core->server_count > 1)
        updates->action = (struct wk_action){
                .kind = WK_ACTION_CONNECT, .servers = core->servers, .server_count = core->server_count};
    return SL_OK;
}

/* ---- a run: pull, compute ---- */

static void compute(struct wk_core *core, bool arriving, struct wk_updates *updates)
{
    assert(!core->busy);
    core->state = arriving ? STATE_PULLING : STATE_COMPUTING;
    core->busy = true;
    updates->action = core->run;
    updates->action.kind = WK_ACTION_COMPUTE;
    updates->action.arriving = arriving;
    updates->action.here = core->holding.here;
    updates->action.parameters = core->options.incarnation + core->holding.pulls;
}

/* Asks servers of ranks from begin to end for their blocks, or what of them has changed since those that are held. */
static enum sl_status pull(
        struct wk_core *core, int begin, int end, struct wk_updates *updates, struct sl_error *err)
{
    for (int s = begin; s < end; s++) {
        struct sl_message *m = message_to_send(core, SL_MESSAGE_PULL);
        if (m != NULL) {
            m->version = core->holding.wanted;
            m->held = wk_holding_held(&core->holding, core->owners, s);
        }
        enum sl_status status = sl_outbox_add(&updates->outbox, server_address(core, s), m, err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

/* A step is reported, so that nothing else is to be done: the next version is asked for before anybody wants it computed on. Its blocks are taken as servers make them. But for those of
 * the first server: the next assignment comes on the same link, and would wait behind them. */
static enum sl_status pull_ahead(struct wk_core *core, struct wk_updates *updates, struct sl_error *err)
{
    if (!core->ahead_due || core->busy || core->state != STATE_IDLE)
        return SL_OK;
    core->ahead_due = false;
    if (core->holding.version < 0 || core->server_count == 1)
        return SL_OK;
    wk_holding_begin(&core->holding, core->holding.version + 1);
    return pull(core, 1, core->server_count, updates, err);
}

/* Parameters are written while they are pulled, so the run before must have let go of them; this one reads each block when it is there. What was pulled ahead is gone on with, if it is new enough. */
static enum sl_status begin_run(struct wk_core *core, struct wk_updates *updates, struct sl_error *err)
{
    struct wk_holding *holding = &core->holding;
    enum sl_status status = SL_OK;
    core->ahead_due = false;
    if (core->busy && !sl_mutant("worker: parameters change while it computes")) {
        if (core->state == STATE_COMPUTING || core->state == STATE_PULLING)
            updates->action = (struct wk_action){.kind = WK_ACTION_CANCEL};
        core->state = STATE_DRAINING;
        if (!sl_mutant("worker: parameters change while a run that was cancelled reads them"))
            wk_holding_stop(holding); /* what comes of it until IDLE is lost */
        return SL_OK;
    }
    if (holding->version >= 0 && sl_mutant("worker: any parameters are good enough"))
        holding->version = core->run.version;
    bool arriving = holding->version < core->run.version;
    bool ahead = arriving && holding->wanted >= core->run.version;
    if (!arriving)
        wk_holding_stop(holding);
    else if (!ahead)
        wk_holding_begin(holding, core->run.version);
    if (arriving)
        status = pull(core, 0, ahead ? 1 : core->server_count, updates, err);
    if (arriving && holding->missing == core->options.layout->block_count)
        wk_holding_overwrite(holding);
    if (status == SL_OK)
        compute(core, arriving, updates);
    return status;
}

/* Whether the data has these slots of the step, or these units of validation. */
static bool run_exists(const struct wk_core *core, const struct sl_message *m)
{
    uint64_t size = core->options.slot_size;
    if (m->phase == SL_PHASE_VALIDATE)
        return m->end <= (core->options.hello.validation_count + size - 1) / size;
    return m->slots == sl_plan_slots(core->options.plan, m->step) && m->end <= m->slots;
}

/* ASSIGN: replaces what we are at (it is done by others, or over); before WELCOME → ignored; of slots that the data does not have → leave, the two do not fit. */
static enum sl_status on_assign(
        struct wk_core *core, const struct sl_message *m, struct wk_updates *updates, struct sl_error *err)
{
    bool early = core->options.layout->vectors == 1;
    if (core->state == STATE_JOINING || core->broken_us != 0 || (m->phase == SL_PHASE_SCORE && !early))
        return SL_OK;
    if (!run_exists(core, m)) {
        char text[SL_MESSAGE_TEXT_MAX];
        (void)snprintf(text, sizeof(text),
                "the coordinator assigns %s [%u, %u) of %u in step %" PRId64
                ", which this worker's data does not have",
                m->phase == SL_PHASE_VALIDATE ? "units of validation" : "slots", m->begin, m->end, m->slots,
                m->step);
        finish(core, updates, SL_MISMATCH, text);
        return SL_OK;
    }
    drop_pending(core);
    core->reported = 0;
    core->run = (struct wk_action){.run = core->run.run + 1,
            .phase = m->phase,
            .step = m->step,
            .version = m->version,
            .slots = m->slots,
            .begin = m->begin,
            .end = m->end,
            .hash = m->hash != 0 && m->phase != SL_PHASE_SCORE}; /* of scores there are no sums */
    memcpy(core->run.coefficient, m->coefficient, sizeof(core->run.coefficient));
    return begin_run(core, updates, err);
}

/* Whether blocks of parameters may be written now: a run waits for them, or nothing reads the old ones. */
static bool takes_params(const struct wk_core *core)
{
    if (core->state == STATE_DRAINING &&
            sl_mutant("worker: parameters change while a run that was cancelled reads them"))
        return true;
    return core->state == STATE_PULLING || (core->state == STATE_IDLE && !core->busy);
}

/* PARAMS that are being pulled, of the server that owns them → taken; the run may read the block from now on. Anything else → let pass (holding.h): nothing that a late answer carries can be right. */
static void on_params(
        struct wk_core *core, struct sl_address from, const struct sl_message *m, struct wk_updates *updates)
{
    if (m->block >= (uint32_t)core->options.layout->block_count ||
            !sl_address_equal(from, server_address(core, core->owners[m->block])))
        return;
    if (!takes_params(core)) {
        if (sl_mutant("worker: what is let pass counts as held"))
            core->holding.held[m->block] = m->version;
        return;
    }
    if (!wk_holding_take(&core->holding, m))
        return;
    if (core->state != STATE_IDLE)
        updates->arrived = (int)m->block;
    if (core->holding.wanted < 0 && core->state == STATE_PULLING)
        core->state = STATE_COMPUTING;
}

/* IDLE: the executor is free: the run that was waiting for that begins. */
static enum sl_status on_idle(struct wk_core *core, struct wk_updates *updates, struct sl_error *err)
{
    core->busy = false;
    return core->state == STATE_DRAINING ? begin_run(core, updates, err) : pull_ahead(core, updates, err);
}

/* ---- results ---- */

/* Adds one tag's gradient of a block as bf16. */
static enum sl_status add_rounded(
        struct wk_core *core, struct sl_message *m, int tag, const float *values, struct sl_error *err)
{
    struct sl_buffer *rounded = NULL;
    enum sl_status status = wk_residual_encode(core->residual, (int)m->block, tag, values,
            core->run.phase == SL_PHASE_SKIP, &rounded, &m->encoding[m->frame_count], err);
    if (status == SL_OK)
        sl_message_add_frame(m, rounded, rounded->data, rounded->size);
    sl_buffer_release(rounded);
    return status;
}

/* Adds one tag's gradient: as it lies, or as its lines that are not zero where that is less. Copies only the lines. */
static enum sl_status add_gradient(struct sl_message *m, struct sl_buffer *gradients, const float *values,
        const struct sl_block *block, struct sl_error *err)
{
    size_t size = block->sparse ? sl_encoding_lines_size(values, block->count) : 0;
    if (size == 0) {
        sl_message_add_frame(m, gradients, values, block->count * sizeof(float));
        return SL_OK;
    }
    struct sl_buffer *lines = sl_buffer_create_unset(size);
    if (lines == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a push");
    sl_encoding_put_lines(values, block->count, lines->data);
    m->encoding[m->frame_count] = SL_ENCODING_LINES;
    sl_message_add_frame(m, lines, lines->data, size);
    sl_buffer_release(lines);
    return SL_OK;
}

static enum sl_status push_block(struct wk_core *core, struct sl_node node, int b,
        struct sl_buffer *gradients, struct wk_updates *updates, struct sl_error *err)
{
    const struct sl_layout *layout = core->options.layout;
    const struct sl_block *block = &layout->blocks[b];
    SL_AUTO(sl_message_destroy_auto) struct sl_message *m = message_to_send(core, SL_MESSAGE_PUSH);
    if (m == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a message");
    m->node = node;
    m->block = (uint32_t)b;
    enum sl_status status = SL_OK;
    for (int tag = 0; tag < SL_TAGS && status == SL_OK; tag++) {
        const float *values =
                (const float *)gradients->data + sl_layout_gradient_at(layout, tag, block->offset);
        if (block->tagged[tag])
            status = core->residual != NULL ? add_rounded(core, m, tag, values, err)
                                            : add_gradient(m, gradients, values, block, err);
    }
    return status == SL_OK
                   ? sl_outbox_add(&updates->outbox, server_address(core, core->owners[b]), SL_TAKE(m), err)
                   : status;
}

/* The run is over when all its slots are reported. */
static void end_run_if_reported(struct wk_core *core)
{
    if (core->reported < core->run.end - core->run.begin)
        return;
    core->state = STATE_IDLE;
    core->ahead_due = core->options.pulls_ahead && core->run.phase == SL_PHASE_TRAIN;
}

/* Compute threads know how long they waited for parameters: that was no computing. */
static void take_waiting(struct wk_core *core, uint64_t waited_us)
{
    uint64_t *compute_us = &core->spent.us[SL_SPENT_COMPUTE];
    *compute_us -= waited_us < *compute_us ? waited_us : *compute_us;
}

static enum sl_status send_stats(struct wk_core *core, const struct pending_node *done,
        struct wk_updates *updates, struct sl_error *err)
{
    struct sl_message *m = message_to_send(core, SL_MESSAGE_STATS);
    if (m != NULL) {
        m->version = core->holding.version;
        m->node = done->node;
        m->stats = done->stats;
        m->spent = done->spent;
        take_waiting(core, m->spent.us[SL_SPENT_PULL]);
        sl_spent_add(&m->spent, &core->spent);
        core->spent = (struct sl_spent){0};
        m->compute_us = done->compute_us;
        m->hash = done->hash;
    }
    core->reported += sl_tree_end(core->run.slots, done->node) - sl_tree_begin(done->node);
    end_run_if_reported(core);
    enum sl_status status = sl_outbox_add(&updates->outbox, SL_COORDINATOR, m, err);
    return status == SL_OK ? pull_ahead(core, updates, err) : status;
}

/* The pending entry of a node, made when its first blocks come. */
static enum sl_status find_pending(
        struct wk_core *core, struct sl_node node, struct pending_node **ret_pending, struct sl_error *err)
{
    int blocks = core->options.layout->block_count;
    for (int i = 0; i < core->pending_count; i++) {
        *ret_pending = &core->pending[i];
        if (sl_tree_equal(core->pending[i].node, node))
            return SL_OK;
    }
    assert(core->pending_count < PENDING_MAX);
    struct pending_node new = {.node = node,
            .unacknowledged = core->options.layout->trained_block_count,
            .progress = sl_alloc((size_t)blocks, 1)};
    if (new.progress == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a push");
    *ret_pending = &core->pending[core->pending_count++];
    **ret_pending = new;
    return SL_OK;
}

/* A block goes once, a frozen one never. */
static enum sl_status push_once(struct wk_core *core, struct pending_node *pending, int b,
        const struct wk_event *event, struct wk_updates *updates, struct sl_error *err)
{
    if (pending->progress[b] != BLOCK_COMPUTED_ON || core->options.layout->blocks[b].frozen)
        return SL_OK;
    pending->progress[b] = BLOCK_PUSHED;
    return push_block(core, event->node, b, event->gradients, updates, err);
}

/* BLOCKS_DONE of the run → to their servers, while the rest of their node is computed. Of a run that was replaced → nothing. */
static enum sl_status on_blocks_done(
        struct wk_core *core, const struct wk_event *event, struct wk_updates *updates, struct sl_error *err)
{
    struct pending_node *pending = NULL;
    if (core->state != STATE_COMPUTING || event->run != core->run.run)
        return SL_OK;
    enum sl_status status = find_pending(core, event->node, &pending, err);
    for (int i = 0; i < event->block_count && status == SL_OK; i++)
        status = push_once(core, pending, event->blocks[i], event, updates, err);
    return status;
}

/* A node that is whole and acknowledged is reported. */
static enum sl_status report_if_done(
        struct wk_core *core, struct pending_node *pending, struct wk_updates *updates, struct sl_error *err)
{
    bool early = sl_mutant("worker: reports before all is acknowledged") && pending->whole;
    if ((!pending->whole && !sl_mutant("worker: reports before all is computed")) ||
            (pending->unacknowledged > 0 && !early))
        return SL_OK;
    struct pending_node done = *pending;
    sl_free(pending->progress);
    *pending = core->pending[--core->pending_count];
    return send_stats(core, &done, updates, err);
}

/* NODE_DONE of the run → those of its blocks that were not pushed yet to their servers; of SCORE and of an audit there is nothing to push, so it is reported at once. Of a run that was replaced → nothing. */
static enum sl_status on_node_done(
        struct wk_core *core, const struct wk_event *event, struct wk_updates *updates, struct sl_error *err)
{
    if (core->state != STATE_COMPUTING || event->run != core->run.run)
        return SL_OK;
    struct pending_node done = {.node = event->node,
            .whole = true,
            .stats = *event->stats,
            .spent = event->spent,
            .compute_us = event->compute_us,
            .hash = event->hash};
    if (core->run.phase == SL_PHASE_AUDIT || core->run.phase == SL_PHASE_SCORE)
        return send_stats(core, &done, updates, err);
    struct pending_node *pending = NULL;
    enum sl_status status = find_pending(core, event->node, &pending, err);
    if (status != SL_OK)
        return status;
    done.unacknowledged = pending->unacknowledged;
    done.progress = pending->progress;
    *pending = done;
    for (int b = 0; b < core->options.layout->block_count && status == SL_OK; b++)
        status = push_once(core, pending, b, event, updates, err);
    return status == SL_OK ? report_if_done(core, pending, updates, err) : status;
}

/* ACK of a pushed block: counted once; the last one of a node reports it. Anything that is not pending → ignored. */
static enum sl_status on_ack(struct wk_core *core, struct sl_address from, const struct sl_message *m,
        struct wk_updates *updates, struct sl_error *err)
{
    if (core->state != STATE_COMPUTING || m->step != core->run.step ||
            m->block >= (uint32_t)core->options.layout->block_count ||
            !sl_address_equal(from, server_address(core, core->owners[m->block])))
        return SL_OK;
    for (int i = 0; i < core->pending_count; i++) {
        struct pending_node *pending = &core->pending[i];
        if (!sl_tree_equal(pending->node, m->node) || pending->progress[m->block] != BLOCK_PUSHED)
            continue;
        pending->progress[m->block] = BLOCK_ACKNOWLEDGED;
        pending->unacknowledged--;
        return report_if_done(core, pending, updates, err);
    }
    return SL_OK;
}

static enum sl_status on_validation_done(
        struct wk_core *core, const struct wk_event *event, struct wk_updates *updates, struct sl_error *err)
{
    if (core->state != STATE_COMPUTING || event->run != core->run.run)
        return SL_OK;
    struct sl_message *m = message_to_send(core, SL_MESSAGE_VALIDATED);
    if (m != NULL) {
        m->version = core->holding.version;
        m->begin = core->run.begin;
        m->end = core->run.end;
        m->compute_us = event->compute_us;
        sl_message_add_frame(m, event->evaluation, event->evaluation->data, event->evaluation->size);
    }
    core->reported = core->run.end - core->run.begin;
    end_run_if_reported(core);
    return sl_outbox_add(&updates->outbox, SL_COORDINATOR, m, err);
}

/* ---- events ---- */

static enum sl_status on_message(
        struct wk_core *core, const struct wk_event *event, struct wk_updates *updates, struct sl_error *err)
{
    const struct sl_message *m = event->message;
    bool control = event->from.role == SL_ROLE_COORDINATOR;
    if (core->state != STATE_JOINING && m->cluster != core->cluster)
        return SL_OK; /* of the run before a rollback */
    switch (m->kind) {
    case SL_MESSAGE_PARAMS:
        on_params(core, event->from, m, updates);
        return SL_OK;
    case SL_MESSAGE_ACK:
        return on_ack(core, event->from, m, updates, err);
    case SL_MESSAGE_WELCOME:
        return control ? on_welcome(core, m, updates, err) : SL_OK;
    case SL_MESSAGE_ASSIGN:
        return control ? on_assign(core, m, updates, err) : SL_OK;
    case SL_MESSAGE_REFUSE:
    case SL_MESSAGE_STOP:
        if (control)
            finish(core, updates, m->kind == SL_MESSAGE_STOP ? SL_OK : SL_MISMATCH, m->text);
        return SL_OK;
    default:
        return SL_OK; /* nothing that is for workers */
    }
}

/* GONE: the coordinator → begin anew. A server, without which nothing can be computed → the same, unless the coordinator says something else first. */
static void on_gone(struct wk_core *core, const struct wk_event *event, struct wk_updates *updates)
{
    char text[SL_MESSAGE_TEXT_MAX];
    bool coordinator = event->from.role == SL_ROLE_COORDINATOR;
    (void)snprintf(text, sizeof(text), "%s: %.*s", coordinator ? "the coordinator" : "a server",
            SL_MESSAGE_TEXT_MAX - 32, event->text);
    if (coordinator) {
        finish(core, updates, SL_AGAIN, text);
    } else if (core->broken_us == 0) {
        core->broken_us = event->now_us + BROKEN_GRACE_US;
        memcpy(core->broken_text, text, sizeof(text));
    }
}

/* Gives up when nobody lets us in; tells now and then how we are. */
static enum sl_status on_tick(
        struct wk_core *core, const struct wk_event *event, struct wk_updates *updates, struct sl_error *err)
{
    if (core->state == STATE_JOINING) {
        if (event->now_us - core->started_us > core->options.join_us)
            finish(core, updates, SL_TIMEOUT,
                    "no answer from the coordinator: is its address right, does it run?");
        return SL_OK;
    }
    if (core->broken_us != 0 && event->now_us >= core->broken_us) {
        finish(core, updates, SL_AGAIN, core->broken_text);
        return send_bye(core, core->broken_text, updates, err); /* our slots need not wait for the deadline */
    }
    if (event->now_us < core->report_us)
        return SL_OK;
    core->report_us = event->now_us + core->options.report_us;
    struct sl_message *m = message_to_send(core, SL_MESSAGE_REPORT);
    if (m != NULL)
        m->report = event->report;
    return sl_outbox_add(&updates->outbox, SL_COORDINATOR, m, err);
}

/* The time since the event before was spent in the state that it left. A validation is nobody's step. */
static void account(struct wk_core *core, int64_t now_us)
{
    uint64_t us = core->spent_until_us > 0 && now_us > core->spent_until_us
                          ? (uint64_t)(now_us - core->spent_until_us)
                          : 0;
    bool training = core->run.phase != SL_PHASE_VALIDATE;
    core->spent_until_us = now_us;
    if (core->state == STATE_IDLE && training)
        core->spent.us[SL_SPENT_WAIT] += us;
    else if ((core->state == STATE_COMPUTING || core->state == STATE_PULLING) && training)
        core->spent.us[core->busy ? SL_SPENT_COMPUTE : SL_SPENT_PUSH] += us;
}

enum sl_status wk_core_step(
        struct wk_core *core, const struct wk_event *event, struct wk_updates *updates, struct sl_error *err)
{
    sl_outbox_clear(&updates->outbox);
    updates->action = (struct wk_action){.kind = WK_ACTION_NONE};
    updates->arrived = -1;
    enum sl_status status = SL_OK;
    if (core->state == STATE_LEFT)
        return SL_OK;
    account(core, event->now_us);
    switch (event->kind) {
    case WK_EVENT_START:
        core->started_us = event->now_us;
        core->report_us = event->now_us + core->options.report_us;
        status = say_hello(core, updates, err);
        break;
    case WK_EVENT_TICK:
        status = on_tick(core, event, updates, err);
        break;
    case WK_EVENT_MESSAGE:
        status = on_message(core, event, updates, err);
        break;
    case WK_EVENT_GONE:
        on_gone(core, event, updates);
        break;
    case WK_EVENT_BLOCKS_DONE:
        status = on_blocks_done(core, event, updates, err);
        break;
    case WK_EVENT_NODE_DONE:
        status = on_node_done(core, event, updates, err);
        break;
    case WK_EVENT_VALIDATION_DONE:
        status = on_validation_done(core, event, updates, err);
        break;
    case WK_EVENT_IDLE:
        status = on_idle(core, updates, err);
        break;
    case WK_EVENT_LEAVE:
        finish(core, updates, SL_STOPPED, event->text);
        status = send_bye(core, event->text, updates, err);
        break;
    }
    updates->wake_us = core->state == STATE_JOINING ? core->started_us + core->options.join_us + 1
                       : core->broken_us != 0 && core->broken_us < core->report_us ? core->broken_us
                                                                                   : core->report_us;
    return status;
}

const char *wk_core_doing(const struct wk_core *core)
{
    switch (core->state) {
    case STATE_JOINING:
        return "joining";
    case STATE_PULLING:
        return "pulling";
    case STATE_DRAINING:
        return "computing";
    case STATE_COMPUTING:
        return core->busy ? "computing" : "pushing";
    case STATE_IDLE:
    case STATE_LEFT:
        break;
    }
    return "idle";
}
