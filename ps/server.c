/* A server's decisions: see server.h. One message kind, one function. */
#include "ps/server.h"

#include "common/memory.h"
#include "common/mutant.h"
#include "common/placement.h"
#include "common/plan.h"
#include "ps/answers.h"
#include "ps/committing.h"
#include "ps/waiting.h"

#include <stdio.h>
#include <string.h>

enum state { STATE_JOINING, STATE_LOADING, STATE_SERVING, STATE_LEFT };

struct ps_server {
    struct ps_server_options options;
    struct sl_team *team;
    enum state state;
    uint64_t cluster, dropped;
    int *own;                     /* (own_count,): our blocks in order */
    int *place;                   /* (block_count,): index in own, -1 = another server's */
    int *order;                   /* (own_count,): our blocks as a forward pass reads them */
    int own_count, trained_count; /* ours; those of them that are not frozen */
    unsigned char *loaded;        /* (own_count,) */
    int to_load;
    int64_t version; /* updates applied to all our blocks */
    uint64_t epoch_slots;
    struct ps_incoming incoming;
    /* a commit under way: how far it is, its step (NULL = there is none), APPLIED for when it is done */
    struct ps_committing committing;
    struct ps_incoming_step *committed;
    struct sl_message *news;
    struct ps_waiting waiting;
    struct ps_answers answers;
    int64_t started_us, report_us;
    struct ps_server_updates *updates; /* of the event being handled */
};

int ps_server_open_max(const struct sl_config *config)
{
    switch (config->consistency.mode) {
    case SL_CONSISTENCY_BSP:
        return 1;
    case SL_CONSISTENCY_SSP:
        return config->consistency.staleness + 1 < PS_OPEN_MAX ? config->consistency.staleness + 1
                                                               : PS_OPEN_MAX;
    case SL_CONSISTENCY_ASP:
        break;
    }
    return PS_OPEN_MAX;
}

/* ---- create ---- */

/* A forward pass goes through each extractor and its head, then through the fusion. */
static int stage_of(const struct ps_server *s, int own)
{
    const struct sl_block *block = &s->options.layout->blocks[s->own[own]];
    return block->part == SL_PART_FUSION ? 2 * SL_MODALITIES_MAX
                                         : 2 * block->modality + (block->part == SL_PART_HEAD);
}

static void plan_order(struct ps_server *s)
{
    int at = 0;
    for (int stage = 0; stage <= 2 * SL_MODALITIES_MAX; stage++)
        for (int i = 0; i < s->own_count; i++)
            if (stage_of(s, i) == stage)
                s->order[at++] = s->own[i];
}

static enum sl_status plan_blocks(struct ps_server *s, struct sl_error *err)
{
    size_t blocks = (size_t)s->options.layout->block_count;
    s->own = sl_alloc(blocks, sizeof(*s->own));
    s->place = sl_alloc(blocks, sizeof(*s->place));
    s->order = sl_alloc(blocks, sizeof(*s->order));
    s->loaded = sl_alloc(blocks, 1);
    SL_AUTO_FREE int *owners = sl_alloc(blocks, sizeof(*owners));
    if (s->own == NULL || s->place == NULL || s->order == NULL || s->loaded == NULL || owners == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the server's %zu blocks", blocks);
    sl_placement_make(s->options.layout, (int)s->options.hello.servers, owners);
    for (int b = 0; b < (int)blocks; b++) {
        bool ours = owners[b] == (int)s->options.hello.rank;
        s->place[b] = ours ? s->own_count : -1;
        if (!ours)
            continue;
        s->own[s->own_count++] = b;
        s->trained_count += !s->options.layout->blocks[b].frozen;
    }
    s->to_load = s->own_count;
    plan_order(s);
    return SL_OK;
}

enum sl_status ps_server_create(
        struct ps_server **ret_server, const struct ps_server_options *options, struct sl_error *err)
{
    struct ps_server *s = sl_alloc(1, sizeof(*s));
    if (s == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the server");
    s->options = *options;
    s->version = -1;
    enum sl_status status = plan_blocks(s, err);
    s->incoming.layout = options->layout;
    s->incoming.max_slots = (uint32_t)options->config->batch.slots;
    s->incoming.block_count = s->own_count;
    s->incoming.open_max = ps_server_open_max(options->config);
    if (status == SL_OK)
        status = ps_answers_init(&s->answers, options->table, options->layout, err);
    if (status != SL_OK) {
        ps_server_destroy(s);
        return status;
    }
    *ret_server = s;
    return SL_OK;
}

void ps_server_use_team(struct ps_server *s, struct sl_team *team)
{
    s->team = team;
    ps_incoming_use_team(&s->incoming, team);
}

void ps_server_destroy(struct ps_server *s)
{
    if (s == NULL)
        return;
    ps_incoming_fini(&s->incoming);
    sl_free(s->own);
    sl_free(s->place);
    sl_free(s->order);
    sl_free(s->loaded);
    ps_waiting_fini(&s->waiting);
    ps_answers_fini(&s->answers);
    sl_message_destroy(s->news);
    sl_free(s);
}

/* ---- out ---- */

static struct sl_message *message_to_send(const struct ps_server *s, enum sl_message_kind kind)
{
    struct sl_message *m = sl_message_create(kind);
    if (m != NULL) {
        m->cluster = s->cluster;
        m->incarnation = s->options.incarnation;
        m->version = s->version < 0 ? 0 : s->version;
    }
    return m;
}

static enum sl_status send(
        struct ps_server *s, struct sl_address to, struct sl_message *m, struct sl_error *err)
{
    return sl_outbox_add(&s->updates->outbox, to, m, err);
}

static void finish(struct ps_server *s, enum sl_status status, const char *text)
{
    s->state = STATE_LEFT;
    s->updates->finished = true;
    s->updates->status = status;
    (void)snprintf(s->updates->text, sizeof(s->updates->text), "%s", text);
}

/* ---- joining ---- */

static enum sl_status on_start(struct ps_server *s, int64_t now_us, struct sl_error *err)
{
    s->started_us = now_us;
    s->report_us = now_us + s->options.report_us;
    struct sl_message *m = message_to_send(s, SL_MESSAGE_HELLO);
    if (m != NULL)
        m->hello = s->options.hello;
    return send(s, SL_COORDINATOR, m, err);
}

/* WELCOME while joining → the coordinator's mark is ours. */
static void on_welcome(struct ps_server *s, const struct sl_message *m)
{
    if (s->state != STATE_JOINING)
        return;
    s->cluster = m->cluster;
    s->state = STATE_LOADING;
}

/* LOAD of an own block while loading → taken, once; the last one → LOADED, we serve. Of another size, block or twice → dropped. */
static enum sl_status on_load(struct ps_server *s, const struct sl_message *m, struct sl_error *err)
{
    struct sl_error problem = {0};
    bool ours = m->block < (uint32_t)s->options.layout->block_count && s->place[m->block] >= 0;
    bool first = s->to_load == s->own_count; /* says what all others must say */
    if (s->state != STATE_LOADING || !ours || s->loaded[s->place[m->block]] || m->count == 0 ||
            m->count > UINT32_MAX ||
            (!first && (m->version != s->incoming.low || m->count != s->epoch_slots))) {
        s->dropped++;
        return SL_OK;
    }
    enum sl_status status = ps_table_put(s->options.table, (int)m->block, &m->frames[0],
            m->frame_count > 1 ? &m->frames[1] : NULL, m->frame_count > 2 ? &m->frames[2] : NULL, m->version,
            &problem);
    if (status == SL_BAD_DATA) {
        s->dropped++;
        return SL_OK;
    }
    if (status != SL_OK)
        return sl_fail(err, status, "%s", problem.text);
    s->loaded[s->place[m->block]] = 1;
    ps_incoming_begin(&s->incoming, m->version);
    s->epoch_slots = m->count;
    if (--s->to_load > 0)
        return SL_OK;
    s->version = m->version;
    s->state = STATE_SERVING;
    return send(s, SL_COORDINATOR, message_to_send(s, SL_MESSAGE_LOADED), err);
}

/* ---- push ---- */

static enum sl_status send_reduced(
        struct ps_server *s, const struct ps_incoming_step *r, struct sl_error *err)
{
    struct sl_message *m = message_to_send(s, SL_MESSAGE_REDUCED);
    if (m != NULL) {
        m->step = r->step;
        (void)snprintf(m->text, sizeof(m->text), "%s", r->problem);
        sl_message_add_frame(m, r->sums, r->sums->data, r->sums->size);
    }
    return send(s, SL_COORDINATOR, m, err);
}

/* The block's last addition, and its sums for norm and angles in the same pass over memory. */
static void measure(struct ps_server *s, struct ps_incoming_step *r, int block)
{
    struct sl_error problem = {0};
    struct sl_block_sums *sums = r->sums->data;
    struct ps_last_sum last = ps_reduction_last(r->reduction, block);
    enum sl_status status =
            ps_table_add_measure(s->options.table, s->team, block, &last, &sums[s->place[block]], &problem);
    ps_reduction_joined(r->reduction, block);
    if (status != SL_OK && r->problem[0] == 0)
        (void)snprintf(r->problem, sizeof(r->problem), "%.*s", SL_MESSAGE_TEXT_MAX - 1, problem.text);
    r->blocks_whole++;
}

/* Makes the frames of a push dense. Gives them to the reduction, each under the tag that the block has, in the order of the tags. */
static enum sl_status reduce(
        struct ps_server *s, struct ps_incoming_step *r, struct sl_message *m, struct sl_error *err)
{
    const struct sl_block *block = &s->options.layout->blocks[m->block];
    struct sl_frame frames[SL_TAGS] = {{0}};
    int used = 0;
    for (int i = 0; i < m->frame_count; i++) {
        enum sl_status status = sl_encoding_open(&m->frames[i], m->encoding[i], block->count, err);
        if (status != SL_OK)
            return status;
    }
    for (int tag = 0; tag < SL_TAGS; tag++)
        if (block->tagged[tag] && used < m->frame_count)
            frames[tag] = m->frames[used++];
    if (used != m->frame_count || used != block->tagged[SL_TAG_UNIMODAL] + block->tagged[SL_TAG_FUSED])
        return sl_fail(err, SL_BAD_DATA, "push of block %u came with %d frames", m->block, m->frame_count);
    m->frame_count = 0; /* the reduction owns them now */
    return ps_reduction_push(r->reduction, m->block, m->node, frames, err);
}

static enum sl_status acknowledge(
        struct ps_server *s, struct sl_address to, const struct sl_message *push, struct sl_error *err)
{
    struct sl_message *m = message_to_send(s, SL_MESSAGE_ACK);
    if (m != NULL) {
        m->step = push->step;
        m->slots = push->slots;
        m->node = push->node;
        m->block = push->block;
    }
    return send(s, to, m, err);
}

/* Joins a push of an open step; the last one of a block measures it, the last block reports the step. *ret_counts: it may be acknowledged. */
static enum sl_status join_push(struct ps_server *s, struct ps_incoming_step *r, struct sl_message *m,
        bool *ret_counts, struct sl_error *err)
{
    struct sl_error problem = {0};
    bool whole_before = ps_reduction_whole(r->reduction, (int)m->block);
    enum sl_status status = reduce(s, r, m, &problem);
    *ret_counts = status == SL_OK || status == SL_STALE;
    if (status != SL_OK)
        s->dropped++;
    if (status == SL_BAD_DATA || status == SL_STALE)
        return SL_OK;
    if (status != SL_OK)
        return sl_fail(err, status, "%s", problem.text);
    if (whole_before || !ps_reduction_whole(r->reduction, (int)m->block))
        return SL_OK;
    measure(s, r, (int)m->block);
    return r->blocks_whole == s->trained_count ? send_reduced(s, r, err) : SL_OK;
}

/* Whether the coordinator can have opened a step, or will before it sees more of us: it opens them in order, at most open_max beyond as many as it knows to be applied, which are no more than `version`. So
 * of all steps that pass, exactly open_max are not applied yet: whatever somebody pushes, there is room for those that count. */
static bool may_be_open(const struct ps_server *s, int64_t step)
{
    return step < s->version + s->incoming.open_max && step < s->incoming.low + PS_WINDOW_MAX;
}

/* PUSH of a step that is or may be open → joined, acknowledged; of slots that are in already (another worker was first) → acknowledged; of a step that is
 * applied → acknowledged too; too far ahead, of another tree, a frozen or a senseless block → dropped. */
static enum sl_status on_push(
        struct ps_server *s, struct sl_address from, struct sl_message *m, struct sl_error *err)
{
    bool fits = s->state == STATE_SERVING && m->block < (uint32_t)s->options.layout->block_count &&
                s->place[m->block] >= 0 && !s->options.layout->blocks[m->block].frozen &&
                may_be_open(s, m->step) &&
                m->slots == sl_plan_cut_slots(s->epoch_slots, s->options.config->batch.slots, m->step);
    if (!fits) {
        s->dropped++;
        return SL_OK;
    }
    bool counts = true;
    if (ps_incoming_is_applied(&s->incoming, m->step) && !sl_mutant("server: a push of a past step counts")) {
        s->dropped++;
    } else {
        struct ps_incoming_step *r = ps_incoming_find(&s->incoming, m->step);
        enum sl_status status =
                r == NULL ? ps_incoming_open(&s->incoming, m->step, m->slots, &r, err) : SL_OK;
        if (status == SL_OK)
            status = join_push(s, r, m, &counts, err);
        if (status != SL_OK)
            return status;
    }
    return counts ? acknowledge(s, from, m, err) : SL_OK;
}

/* ---- pull ---- */

static enum sl_status send_block(
        struct ps_server *s, const struct ps_waiting_pull *pull, int block, struct sl_error *err)
{
    SL_AUTO(sl_message_destroy_auto) struct sl_message *m = message_to_send(s, SL_MESSAGE_PARAMS);
    if (m == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a message");
    enum sl_status status = ps_answers_put(&s->answers, block, pull->held, m, err);
    if (s->committed != NULL && sl_mutant("server: a block is sent before it is updated"))
        m->version = s->version + 1;
    return status == SL_OK ? send(s, pull->from, SL_TAKE(m), err) : status;
}

/* Own blocks from one place in the order to another, those that are needed first before the others. */
static enum sl_status send_params(
        struct ps_server *s, const struct ps_waiting_pull *pull, int begin, int end, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    for (int i = begin; i < end && status == SL_OK; i++)
        status = send_block(s, pull, s->order[i], err);
    return status;
}

static enum sl_status wait_for(struct ps_server *s, struct ps_waiting_pull pull, struct sl_error *err)
{
    enum sl_status status = ps_waiting_put(&s->waiting, pull, err);
    if (status != SL_USAGE)
        return status;
    s->dropped++;
    return SL_OK;
}

/* PULL of the version that stands or an older one → sent as it stands; of one to come → kept. While a commit is under way: what is updated already at once, the rest as it is. */
static enum sl_status on_pull(
        struct ps_server *s, struct sl_address from, const struct sl_message *m, struct sl_error *err)
{
    if (s->state != STATE_SERVING || m->version > s->version + PS_WINDOW_MAX) {
        s->dropped++;
        return SL_OK;
    }
    struct ps_waiting_pull pull = {from, m->version, m->held};
    if (s->committed != NULL && m->version <= s->version + 1) {
        enum sl_status status = send_params(s, &pull, 0, s->committing.next, err);
        pull.version = s->version + 1;
        return status == SL_OK ? wait_for(s, pull, err) : status;
    }
    bool stands = m->version <= s->version || sl_mutant("server: any version answers a pull");
    return stands ? send_params(s, &pull, 0, s->own_count, err) : wait_for(s, pull, err);
}

/* Sends what a commit has just updated to those who wait for that version. */
static enum sl_status answer_waiting(struct ps_server *s, int begin, int end, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    if (sl_mutant("server: a block is sent before it is updated") && end < s->own_count)
        end++;
    for (int i = 0; i < s->waiting.count && status == SL_OK; i++)
        if (s->waiting.pulls[i].version <= s->version + 1)
            status = send_params(s, &s->waiting.pulls[i], begin, end, err);
    return status;
}

/* ---- commit ---- */

#define PIECE_FLOATS                                                                                         \
    ((size_t)4 * SL_BLOCK_FLOATS) /* updated between two looks at the network, by each thread */

static enum sl_status finish_commit(struct ps_server *s, struct sl_error *err)
{
    s->news->version = ++s->version;
    s->committed->open = false;
    s->committed = NULL;
    ps_waiting_forget(&s->waiting, s->version); /* they have all of it */
    return send(s, SL_COORDINATOR, SL_TAKE(s->news), err);
}

/* Updates the next blocks of the commit under way. */
static enum sl_status advance_commit(struct ps_server *s, struct sl_error *err)
{
    int first = 0;
    size_t floats = s->options.piece_floats > 0 ? s->options.piece_floats : PIECE_FLOATS;
    enum sl_status status = SL_OK;
    if (ps_committing_going(&s->committing))
        status = ps_committing_advance(&s->committing, s->team, floats, &first, err);
    if (status == SL_OK && !sl_mutant("server: who waits for parameters is forgotten"))
        status = answer_waiting(s, first, s->committing.next, err);
    return status != SL_OK || ps_committing_going(&s->committing) ? status : finish_commit(s, err);
}

/* What comes next must find the new version. */
static enum sl_status complete_commit(struct ps_server *s, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    while (s->committed != NULL && status == SL_OK)
        status = advance_commit(s, err);
    return status;
}

static enum sl_status begin_commit(
        struct ps_server *s, struct ps_incoming_step *r, const struct sl_message *m, struct sl_error *err)
{
    SL_AUTO(sl_message_destroy_auto) struct sl_message *applied = message_to_send(s, SL_MESSAGE_APPLIED);
    struct sl_buffer *changes = sl_buffer_create((size_t)s->own_count * sizeof(struct sl_block_change));
    if (applied == NULL || changes == NULL) {
        sl_buffer_release(changes);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the changes of a step");
    }
    applied->step = m->step;
    sl_message_add_frame(applied, changes, changes->data, changes->size);
    s->committing = (struct ps_committing){.table = s->options.table,
            .reduction = r->reduction,
            .layout = s->options.layout,
            .blocks = s->order,
            .place = s->place,
            .count = s->own_count,
            .version = s->version,
            .commit = m->commit,
            .changes = changes->data};
    sl_buffer_release(changes); /* the message has it */
    s->committed = r;
    s->news = SL_TAKE(applied);
    ps_incoming_note_applied(&s->incoming, m->step); /* what is pushed to it from now on changes nothing */
    return SL_OK;
}

/* The step that is to be committed; NULL: we know none that is whole. Who owns nothing that is trained hears of a step here first. */
static enum sl_status find_whole(
        struct ps_server *s, int64_t step, struct ps_incoming_step **ret_step, struct sl_error *err)
{
    struct ps_incoming_step *r = ps_incoming_find(&s->incoming, step);
    enum sl_status status = SL_OK;
    if (r == NULL && s->trained_count == 0 && may_be_open(s, step) &&
            !ps_incoming_is_applied(&s->incoming, step))
        status = ps_incoming_open(&s->incoming, step,
                sl_plan_cut_slots(s->epoch_slots, s->options.config->batch.slots, step), &r, err);
    if (status == SL_OK)
        *ret_step = r != NULL && r->blocks_whole == s->trained_count ? r : NULL;
    return status;
}

/* COMMIT of a step that is whole, to the version after ours → every block updated, a piece at a time. Any other → dropped: it was applied before. */
static enum sl_status on_commit(struct ps_server *s, const struct sl_message *m, struct sl_error *err)
{
    bool another =
            s->committed != NULL; /* which is completed first; then this one begins with the next piece */
    enum sl_status status = complete_commit(s, err);
    if (status != SL_OK)
        return status;
    struct ps_incoming_step *r = NULL;
    if (s->state == STATE_SERVING && m->version == s->version + 1)
        status = find_whole(s, m->step, &r, err);
    if (status != SL_OK)
        return status;
    if (r == NULL) {
        s->dropped++;
        return SL_OK;
    }
    status = begin_commit(s, r, m, err);
    return status == SL_OK && !another ? advance_commit(s, err) : status;
}

/* ---- snapshot ---- */

static void add_whole(struct sl_message *m, struct sl_buffer *buffer, size_t size)
{
    if (buffer != NULL)
        sl_message_add_frame(m, buffer, buffer->data, size);
}

/* SAVE of the version that stands → our blocks, shared, not copied. */
static enum sl_status on_save(struct ps_server *s, const struct sl_message *m, struct sl_error *err)
{
    enum sl_status completed = complete_commit(s, err);
    if (completed != SL_OK)
        return completed;
    if (s->state != STATE_SERVING || m->version != s->version) {
        s->dropped++;
        return SL_OK;
    }
    for (int i = 0; i < s->own_count; i++) {
        struct sl_message *saved = message_to_send(s, SL_MESSAGE_SAVED);
        if (saved != NULL) {
            size_t size = s->options.layout->blocks[s->own[i]].count * sizeof(float);
            struct ps_block_state state = ps_table_capture(s->options.table, s->own[i]);
            saved->block = (uint32_t)s->own[i];
            add_whole(saved, state.params, size);
            add_whole(saved, state.m, size);
            add_whole(saved, state.v, size);
            ps_block_state_fini(&state);
        }
        enum sl_status status = send(s, SL_COORDINATOR, saved, err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

/* ---- events ---- */

static enum sl_status on_control(struct ps_server *s, const struct sl_message *m, struct sl_error *err)
{
    switch (m->kind) {
    case SL_MESSAGE_WELCOME:
        on_welcome(s, m);
        return SL_OK;
    case SL_MESSAGE_REFUSE:
        finish(s, SL_MISMATCH, m->text);
        return SL_OK;
    case SL_MESSAGE_STOP:
        finish(s, SL_OK, m->text);
        return SL_OK;
    case SL_MESSAGE_LOAD:
        return on_load(s, m, err);
    case SL_MESSAGE_COMMIT:
        return on_commit(s, m, err);
    case SL_MESSAGE_SAVE:
        return on_save(s, m, err);
    default:
        return SL_OK;
    }
}

static enum sl_status on_message(
        struct ps_server *s, const struct ps_server_event *event, struct sl_error *err)
{
    struct sl_message *m = event->message;
    if (s->state != STATE_JOINING && m->cluster != s->cluster) {
        s->dropped++; /* of the run before a rollback */
        return SL_OK;
    }
    if (event->from.role == SL_ROLE_COORDINATOR)
        return on_control(s, m, err);
    if (m->kind == SL_MESSAGE_PUSH)
        return on_push(s, event->from, m, err);
    if (m->kind == SL_MESSAGE_PULL)
        return on_pull(s, event->from, m, err);
    return SL_OK;
}

/* GONE: of the coordinator → begin anew; of a worker → nobody waits for parameters any more. */
static void on_gone(struct ps_server *s, const struct ps_server_event *event)
{
    if (event->from.role == SL_ROLE_COORDINATOR) {
        char text[SL_MESSAGE_TEXT_MAX];
        (void)snprintf(text, sizeof(text), "the coordinator: %.*s", SL_MESSAGE_TEXT_MAX - 32, event->text);
        finish(s, SL_AGAIN, text);
        return;
    }
    ps_waiting_remove(&s->waiting, event->from);
}

/* LEAVE: the coordinator need not wait until it misses us. */
static enum sl_status on_leave(struct ps_server *s, const struct ps_server_event *event, struct sl_error *err)
{
    struct sl_message *bye = message_to_send(s, SL_MESSAGE_BYE);
    if (bye != NULL)
        (void)snprintf(bye->text, sizeof(bye->text), "%s", event->text);
    finish(s, SL_STOPPED, event->text);
    return send(s, SL_COORDINATOR, bye, err);
}

static enum sl_status on_tick(struct ps_server *s, const struct ps_server_event *event, struct sl_error *err)
{
    if (s->state == STATE_JOINING) {
        if (event->now_us - s->started_us > s->options.join_us)
            finish(s, SL_TIMEOUT, "no answer from the coordinator: is its address right, does it run?");
        return SL_OK;
    }
    if (event->now_us < s->report_us)
        return SL_OK;
    s->report_us = event->now_us + s->options.report_us;
    struct sl_message *m = message_to_send(s, SL_MESSAGE_REPORT);
    if (m != NULL) {
        m->report = event->report;
        m->report.dropped = s->dropped;
    }
    return send(s, SL_COORDINATOR, m, err);
}

enum sl_status ps_server_step(struct ps_server *s, const struct ps_server_event *event,
        struct ps_server_updates *updates, struct sl_error *err)
{
    sl_outbox_clear(&updates->outbox);
    updates->finished = updates->more = false;
    s->updates = updates;
    enum sl_status status = SL_OK;
    if (s->state == STATE_LEFT)
        return SL_OK;
    switch (event->kind) {
    case PS_SERVER_START:
        status = on_start(s, event->now_us, err);
        break;
    case PS_SERVER_TICK:
        status = on_tick(s, event, err);
        break;
    case PS_SERVER_MESSAGE:
        status = on_message(s, event, err);
        break;
    case PS_SERVER_GONE:
        on_gone(s, event);
        break;
    case PS_SERVER_WORK:
        if (s->committed != NULL)
            status = advance_commit(s, err);
        break;
    case PS_SERVER_LEAVE:
        status = on_leave(s, event, err);
        break;
    }
    updates->more = s->committed != NULL && s->state != STATE_LEFT;
    updates->wake_us = s->state == STATE_JOINING ? s->started_us + s->options.join_us + 1 : s->report_us;
    return status;
}

int64_t ps_server_version(const struct ps_server *s)
{
    return s->version;
}

uint64_t ps_server_dropped(const struct ps_server *s)
{
    return s->dropped;
}
