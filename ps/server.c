/* A server's decisions: see server.h. One message kind, one function. */
#include "ps/server.h"

#include "common/memory.h"
#include "ps/reduction.h"

#include <stdio.h>
#include <string.h>

#define WAITING_MAX 4096 /* as many as the coordinator takes workers */

/* A worker that asked for a version that does not stand yet. */
struct waiting_pull {
    struct sl_address from;
    int64_t version;
};

struct ps_server {
    const struct sl_layout *layout;
    struct ps_table *table;
    struct ps_reduction *reduction;
    uint64_t cluster, sequence, dropped;
    int64_t version;
    uint32_t max_slots, slots;         /* slots of the step being reduced, 0 = no push yet */
    int blocks, blocks_whole;          /* owned; whole in this step */
    struct sl_buffer *sums;            /* struct sl_block_sums (layout->block_count,) of this step */
    char problem[SL_MESSAGE_TEXT_MAX]; /* the first gradient that is not finite */
    struct waiting_pull *waiting;
    int waiting_count, waiting_capacity;
};

static const struct sl_address coordinator = {SL_ROLE_SERVER, 0};

enum sl_status ps_server_create(struct ps_server **ret_server, const struct sl_config *config,
        const struct sl_layout *layout, struct ps_table *table, uint64_t cluster, struct sl_error *err)
{
    struct ps_server *s = sl_alloc(1, sizeof(*s));
    if (s == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the server");
    s->layout = layout;
    s->table = table;
    s->cluster = cluster;
    s->max_slots = (uint32_t)config->batch.slots;
    for (int b = 0; b < layout->block_count; b++) {
        if (!ps_table_owns(table, b))
            continue;
        s->blocks++;
        s->version = ps_table_version(table, b);
    }
    enum sl_status status = ps_reduction_create(&s->reduction, layout, s->max_slots, err);
    if (status != SL_OK) {
        ps_server_destroy(s);
        return status;
    }
    *ret_server = s;
    return SL_OK;
}

void ps_server_destroy(struct ps_server *s)
{
    if (s == NULL)
        return;
    ps_reduction_destroy(s->reduction);
    sl_buffer_release(s->sums);
    sl_free(s->waiting);
    sl_free(s);
}

static struct sl_message *message_to_send(struct ps_server *s, enum sl_message_kind kind, int64_t step)
{
    struct sl_message *m = sl_message_create(kind);
    if (m != NULL) {
        m->cluster = s->cluster;
        m->sequence = ++s->sequence;
        m->step = step;
    }
    return m;
}

/* ---- push ---- */

static enum sl_status begin_reduction(struct ps_server *s, uint32_t slots, struct sl_error *err)
{
    /* a new buffer for every step: the last one may still be on its way to the coordinator */
    struct sl_buffer *sums = sl_buffer_create((size_t)s->layout->block_count * sizeof(struct sl_block_sums));
    if (sums == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the sums of a step");
    sl_buffer_release(s->sums);
    s->sums = sums;
    s->slots = slots;
    s->blocks_whole = 0;
    s->problem[0] = 0;
    ps_reduction_reset(s->reduction, slots);
    return SL_OK;
}

static enum sl_status send_reduced(struct ps_server *s, struct sl_outbox *outbox, struct sl_error *err)
{
    struct sl_message *m = message_to_send(s, SL_MESSAGE_REDUCED, s->version);
    if (m != NULL) {
        (void)snprintf(m->text, sizeof(m->text), "%s", s->problem);
        sl_message_add_frame(m, s->sums, s->sums->data, s->sums->size);
    }
    return sl_outbox_add(outbox, coordinator, m, err);
}

/* The block's sums for norm and angles, taken now because the block is in cache. */
static void measure(struct ps_server *s, int block)
{
    const float *grads[SL_TAGS];
    struct sl_error problem = {0};
    struct sl_block_sums *sums = s->sums->data;
    ps_reduction_peek(s->reduction, block, grads);
    if (ps_table_measure(s->table, block, grads, &sums[block], &problem) != SL_OK && s->problem[0] == 0)
        (void)snprintf(s->problem, sizeof(s->problem), "%.*s", SL_MESSAGE_TEXT_MAX - 1, problem.text);
    s->blocks_whole++;
}

/* Gives the frames of a push to the reduction, each under the tag that the block has, in the order of the tags. */
static enum sl_status reduce(struct ps_server *s, struct sl_message *m, struct sl_error *err)
{
    const struct sl_block *block = &s->layout->blocks[m->block];
    struct sl_frame frames[SL_TAGS] = {{0}};
    int used = 0;
    for (int tag = 0; tag < SL_TAGS; tag++)
        if (block->tagged[tag] && used < m->frame_count)
            frames[tag] = m->frames[used++];
    if (used != m->frame_count || used != block->tagged[SL_TAG_UNIMODAL] + block->tagged[SL_TAG_FUSED])
        return sl_fail(err, SL_BAD_DATA, "push of block %u came with %d frames", m->block, m->frame_count);
    m->frame_count = 0; /* the reduction owns them now */
    return ps_reduction_push(s->reduction, m->block, m->node, frames, err);
}

static enum sl_status acknowledge(struct ps_server *s, struct sl_address to, const struct sl_message *push,
        struct sl_outbox *outbox, struct sl_error *err)
{
    struct sl_message *m = message_to_send(s, SL_MESSAGE_ACK, push->step);
    if (m != NULL) {
        m->slots = push->slots;
        m->node = push->node;
        m->block = push->block;
    }
    return sl_outbox_add(outbox, to, m, err);
}

/* PUSH of the open step → joined, acknowledged; of slots that are in already (a resend, or another worker was first) → acknowledged; of a past step →
 * acknowledged too, it can only be a resend; of a future step, of another tree or a senseless block → dropped. */
static enum sl_status on_push(struct ps_server *s, struct sl_address from, struct sl_message *m,
        struct sl_outbox *outbox, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    bool fits = m->step <= s->version && m->slots <= s->max_slots &&
                m->block < (uint32_t)s->layout->block_count && ps_table_owns(s->table, (int)m->block) &&
                (m->step < s->version || s->slots == 0 || s->slots == m->slots);
    if (!fits) {
        s->dropped++;
        return SL_OK;
    }
    if (m->step == s->version) {
        struct sl_error problem = {0};
        if (s->slots == 0)
            status = begin_reduction(s, m->slots, err);
        if (status != SL_OK)
            return status;
        bool whole_before = ps_reduction_whole(s->reduction, (int)m->block);
        status = reduce(s, m, &problem);
        if (status == SL_BAD_DATA) {
            s->dropped++;
            return SL_OK;
        }
        if (status == SL_STALE)
            s->dropped++;
        else if (status != SL_OK)
            return sl_fail(err, status, "%s", problem.text);
        if (!whole_before && ps_reduction_whole(s->reduction, (int)m->block)) {
            measure(s, (int)m->block);
            status = s->blocks_whole == s->blocks ? send_reduced(s, outbox, err) : SL_OK;
            if (status != SL_OK)
                return status;
        }
    } else {
        s->dropped++;
    }
    return acknowledge(s, from, m, outbox, err);
}

/* ---- pull ---- */

static enum sl_status send_params(
        struct ps_server *s, struct sl_address to, struct sl_outbox *outbox, struct sl_error *err)
{
    for (int b = 0; b < s->layout->block_count; b++) {
        if (!ps_table_owns(s->table, b))
            continue;
        struct sl_message *m = message_to_send(s, SL_MESSAGE_PARAMS, s->version);
        if (m != NULL) {
            struct sl_buffer *params = ps_table_share(s->table, b);
            m->block = (uint32_t)b;
            sl_message_add_frame(m, params, params->data, s->layout->blocks[b].count * sizeof(float));
            sl_buffer_release(params);
        }
        enum sl_status status = sl_outbox_add(outbox, to, m, err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

static enum sl_status wait_for(
        struct ps_server *s, struct sl_address from, int64_t version, struct sl_error *err)
{
    for (int i = 0; i < s->waiting_count; i++) {
        if (s->waiting[i].from.id == from.id) {
            s->waiting[i].version = version; /* a worker waits for one version at a time */
            return SL_OK;
        }
    }
    if (s->waiting_count == WAITING_MAX) {
        s->dropped++;
        return SL_OK;
    }
    if (s->waiting_count == s->waiting_capacity) {
        int capacity = s->waiting_capacity == 0 ? 16 : 2 * s->waiting_capacity;
        struct waiting_pull *waiting = sl_realloc(s->waiting, (size_t)capacity, sizeof(*waiting));
        if (waiting == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for %d waiting pulls", capacity);
        s->waiting = waiting;
        s->waiting_capacity = capacity;
    }
    s->waiting[s->waiting_count++] = (struct waiting_pull){from, version};
    return SL_OK;
}

/* PULL of the version that stands → sent; of the next one → kept; of a past one or of one that cannot come next → dropped, its run is void. */
static enum sl_status on_pull(struct ps_server *s, struct sl_address from, const struct sl_message *m,
        struct sl_outbox *outbox, struct sl_error *err)
{
    if (m->step == s->version)
        return send_params(s, from, outbox, err);
    if (m->step == s->version + 1)
        return wait_for(s, from, m->step, err);
    s->dropped++;
    return SL_OK;
}

static enum sl_status answer_waiting(struct ps_server *s, struct sl_outbox *outbox, struct sl_error *err)
{
    int kept = 0;
    for (int i = 0; i < s->waiting_count; i++) {
        struct waiting_pull pull = s->waiting[i];
        if (pull.version > s->version) {
            s->waiting[kept++] = pull;
            continue;
        }
        enum sl_status status = pull.version == s->version ? send_params(s, pull.from, outbox, err) : SL_OK;
        if (status != SL_OK)
            return status;
    }
    s->waiting_count = kept;
    return SL_OK;
}

/* ---- commit ---- */

/* COMMIT of the reduced step → every block updated. Of any other step → dropped: it was applied before. */
static enum sl_status on_commit(
        struct ps_server *s, const struct sl_message *m, struct sl_outbox *outbox, struct sl_error *err)
{
    if (m->step != s->version || s->slots == 0 || s->blocks_whole < s->blocks) {
        s->dropped++;
        return SL_OK;
    }
    for (int b = 0; b < s->layout->block_count; b++) {
        if (!ps_table_owns(s->table, b))
            continue;
        const float *grads[SL_TAGS];
        ps_reduction_peek(s->reduction, b, grads);
        enum sl_status status = ps_table_apply(s->table, b, s->version, &m->commit, grads, err);
        if (status != SL_OK)
            return status;
        ps_reduction_drop(s->reduction, b);
    }
    s->version++;
    s->slots = 0;
    enum sl_status status = answer_waiting(s, outbox, err);
    if (status != SL_OK)
        return status;
    return sl_outbox_add(outbox, coordinator, message_to_send(s, SL_MESSAGE_APPLIED, s->version), err);
}

enum sl_status ps_server_step(struct ps_server *s, struct sl_address from, struct sl_message *m,
        struct sl_outbox *outbox, struct sl_error *err)
{
    sl_outbox_clear(outbox);
    if (m->cluster != s->cluster) {
        s->dropped++;
        return SL_OK;
    }
    switch (m->kind) {
    case SL_MESSAGE_PUSH:
        return on_push(s, from, m, outbox, err);
    case SL_MESSAGE_PULL:
        return on_pull(s, from, m, outbox, err);
    case SL_MESSAGE_COMMIT:
        return from.role == SL_ROLE_SERVER ? on_commit(s, m, outbox, err) : SL_OK;
    default:
        return SL_OK;
    }
}

int64_t ps_server_version(const struct ps_server *s)
{
    return s->version;
}

uint64_t ps_server_dropped(const struct ps_server *s)
{
    return s->dropped;
}
