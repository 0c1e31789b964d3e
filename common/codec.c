/* Headers through protobuf-c: see codec.h. Unpacking uses a capped allocator, because a few bytes on the wire can ask for many in memory;
 * every number is checked here, so that the cores need not. */
#include "common/codec.h"

#include "common/memory.h"
#include "proto/cluster.pb-c.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef Shelflife__Cluster__Header Header;

static const struct {
    int least, most;
} frame_counts[SL_MESSAGE_KIND_COUNT] = {
#define X(kind, name, least, most) [SL_MESSAGE_##kind] = {least, most},
        SL_MESSAGE_KINDS(X)
#undef X
};

/* ---- encode ---- */

#define SET(object, field, value) ((object).has_##field = 1, (object).field = (value))

/* Frames that are all dense need not be named. */
static size_t count_encodings(const struct sl_message *m)
{
    size_t count = 0;
    for (size_t i = 0; i < SL_MESSAGE_FRAMES_MAX; i++)
        if (m->encoding[i] != SL_ENCODING_DENSE)
            count = i + 1;
    return count;
}

static void fill_header(Header *h, const struct sl_message *m)
{
    SET(*h, protocol, SL_PROTOCOL_VERSION);
    SET(*h, kind, (uint32_t)m->kind);
    SET(*h, cluster, m->cluster);
    SET(*h, incarnation, m->incarnation);
    SET(*h, peer, m->peer);
    SET(*h, sequence, m->sequence);
    SET(*h, ack, m->ack);
    SET(*h, step, m->step);
    SET(*h, version, m->version);
    if (m->held >= 0)
        SET(*h, held, m->held);
    SET(*h, phase, (uint32_t)m->phase);
    SET(*h, slots, m->slots);
    SET(*h, level, m->node.level);
    SET(*h, index, m->node.index);
    SET(*h, begin, m->begin);
    SET(*h, end, m->end);
    SET(*h, block, m->block);
    SET(*h, rank, m->rank);
    SET(*h, count, m->count);
    SET(*h, compute_us, m->compute_us);
    SET(*h, hash, m->hash);
    if (m->kind == SL_MESSAGE_ASSIGN) {
        h->n_coefficient = SL_MODALITIES_MAX;
        h->coefficient = (double *)m->coefficient; /* packing only reads it */
    }
    if (m->kind == SL_MESSAGE_STATS) {
        h->n_spent = SL_SPENT_COUNT;
        h->spent = (uint64_t *)m->spent.us;
    }
    h->n_encoding = count_encodings(m);
    h->encoding = (uint32_t *)m->encoding;
    if (m->proof != 0)
        SET(*h, proof, m->proof);
    if (m->shared != 0)
        SET(*h, shared, m->shared);
    if (m->text[0] != 0)
        h->text = (char *)m->text; /* packing only reads it */
}

static void fill_hello(Shelflife__Cluster__Hello *to, const struct sl_hello *from)
{
    SET(*to, role, (uint32_t)from->role);
    SET(*to, config_hash, from->config_hash);
    SET(*to, layout_hash, from->layout_hash);
    SET(*to, train_count, from->train_count);
    SET(*to, validation_count, from->validation_count);
    SET(*to, train_fingerprint, from->train_fingerprint);
    SET(*to, validation_fingerprint, from->validation_fingerprint);
    SET(*to, threads, from->threads);
    SET(*to, pid, from->pid);
    SET(*to, rank, from->rank);
    SET(*to, servers, from->servers);
    to->host = (char *)from->host;
    to->endpoint = (char *)from->endpoint;
}

static void fill_stats(
        Shelflife__Cluster__Stats *to, const struct sl_message *m, uint64_t correct[SL_BRANCHES_MAX])
{
    for (int b = 0; b < SL_BRANCHES_MAX; b++)
        correct[b] = (uint64_t)m->stats.correct[b];
    SET(*to, count, (uint64_t)m->stats.count);
    SET(*to, weight_sum, m->stats.weight_sum);
    to->n_loss = SL_BRANCHES_MAX;
    to->loss = (double *)m->stats.loss;
    to->n_score = SL_MODALITIES_MAX;
    to->score = (double *)m->stats.score;
    to->n_correct = SL_BRANCHES_MAX;
    to->correct = correct;
    to->n_coefficient = SL_MODALITIES_MAX;
    to->coefficient = (double *)m->stats.coefficient;
}

static void fill_commit(Shelflife__Cluster__Commit *to, const struct sl_commit *from)
{
    SET(*to, inverse_weight, from->inverse_weight);
    SET(*to, clip, from->clip);
    SET(*to, rate, from->rate);
    to->n_coefficient = SL_MODALITIES_MAX;
    to->coefficient = (double *)from->coefficient;
    to->n_fused = SL_MODALITIES_MAX;
    to->fused = (double *)from->fused;
    to->n_update = SL_MODALITIES_MAX;
    to->update = (double *)from->update;
}

static void fill_report(Shelflife__Cluster__Report *to, const struct sl_report *from)
{
    SET(*to, memory, from->memory);
    SET(*to, sent, from->sent);
    SET(*to, received, from->received);
    SET(*to, queued, from->queued);
    SET(*to, busy_us, from->busy_us);
    SET(*to, dropped, from->dropped);
}

enum sl_status sl_codec_encode(
        const struct sl_message *message, unsigned char *bytes, size_t *ret_size, struct sl_error *err)
{
    Header header = SHELFLIFE__CLUSTER__HEADER__INIT;
    Shelflife__Cluster__Hello hello = SHELFLIFE__CLUSTER__HELLO__INIT;
    Shelflife__Cluster__Stats stats = SHELFLIFE__CLUSTER__STATS__INIT;
    Shelflife__Cluster__Commit commit = SHELFLIFE__CLUSTER__COMMIT__INIT;
    Shelflife__Cluster__Report report = SHELFLIFE__CLUSTER__REPORT__INIT;
    uint64_t correct[SL_BRANCHES_MAX];
    fill_header(&header, message);
    switch (message->kind) {
    case SL_MESSAGE_HELLO:
        fill_hello(&hello, &message->hello);
        header.hello = &hello;
        break;
    case SL_MESSAGE_STATS:
    case SL_MESSAGE_VALIDATED:
        fill_stats(&stats, message, correct);
        header.stats = &stats;
        break;
    case SL_MESSAGE_COMMIT:
        fill_commit(&commit, &message->commit);
        header.commit = &commit;
        break;
    case SL_MESSAGE_REPORT:
        fill_report(&report, &message->report);
        header.report = &report;
        break;
    default:
        break;
    }
    size_t size = shelflife__cluster__header__get_packed_size(&header);
    if (size > SL_HEADER_SIZE_MAX)
        return sl_fail(err, SL_FAILED, "a %s header of %zu bytes is over the limit of %d",
                sl_message_name(message->kind), size, SL_HEADER_SIZE_MAX);
    *ret_size = shelflife__cluster__header__pack(&header, bytes);
    return SL_OK;
}

/* ---- decode ---- */

struct budget {
    size_t left;
    bool out_of_memory; /* not the message's fault */
};

static void *budget_alloc(void *data, size_t size)
{
    struct budget *budget = data;
    if (size > budget->left)
        return NULL;
    budget->left -= size;
    void *pointer = sl_alloc(1, size);
    budget->out_of_memory |= pointer == NULL;
    return pointer;
}

static void budget_free(void *data, void *pointer)
{
    (void)data;
    sl_free(pointer);
}

static enum sl_status copy_text(
        char *to, size_t capacity, const char *from, const char *field, struct sl_error *err)
{
    size_t length = from == NULL ? 0 : strlen(from);
    if (length >= capacity)
        return sl_fail(err, SL_BAD_DATA, "message field %s is longer than %zu bytes", field, capacity - 1);
    if (length > 0)
        memcpy(to, from, length);
    to[length] = 0;
    return SL_OK;
}

static enum sl_status copy_doubles(
        double *to, size_t most, const double *from, size_t count, const char *field, struct sl_error *err)
{
    if (count > most)
        return sl_fail(err, SL_BAD_DATA, "message field %s has %zu values, at most %zu are allowed", field,
                count, most);
    if (count > 0)
        memcpy(to, from, count * sizeof(*to));
    return SL_OK;
}

static enum sl_status read_hello(
        struct sl_hello *to, const Shelflife__Cluster__Hello *from, struct sl_error *err)
{
    if (from->role > SL_ROLE_SERVER)
        return sl_fail(err, SL_BAD_DATA, "message field hello.role is %u", from->role);
    to->role = (enum sl_role)from->role;
    to->config_hash = from->config_hash;
    to->layout_hash = from->layout_hash;
    to->train_count = from->train_count;
    to->validation_count = from->validation_count;
    to->train_fingerprint = from->train_fingerprint;
    to->validation_fingerprint = from->validation_fingerprint;
    to->threads = from->threads;
    to->pid = from->pid;
    to->rank = from->rank;
    to->servers = from->servers;
    if (to->rank >= SL_SERVERS_MAX || to->servers > SL_SERVERS_MAX)
        return sl_fail(err, SL_BAD_DATA, "message names server %u of %u, there are at most %d", to->rank,
                to->servers, SL_SERVERS_MAX);
    enum sl_status status = copy_text(to->host, sizeof(to->host), from->host, "hello.host", err);
    return status != SL_OK
                   ? status
                   : copy_text(to->endpoint, sizeof(to->endpoint), from->endpoint, "hello.endpoint", err);
}

static enum sl_status read_stats(
        struct sl_message *to, const Shelflife__Cluster__Stats *from, struct sl_error *err)
{
    if (from->count > INT32_MAX || from->n_correct > SL_BRANCHES_MAX)
        return sl_fail(err, SL_BAD_DATA, "message field stats.count or stats.correct is out of range");
    to->stats.count = (int)from->count;
    to->stats.weight_sum = from->weight_sum;
    for (size_t b = 0; b < from->n_correct; b++) {
        if (from->correct[b] > INT32_MAX)
            return sl_fail(err, SL_BAD_DATA, "message field stats.correct is out of range");
        to->stats.correct[b] = (int64_t)from->correct[b];
    }
    enum sl_status status =
            copy_doubles(to->stats.loss, SL_BRANCHES_MAX, from->loss, from->n_loss, "stats.loss", err);
    if (status != SL_OK)
        return status;
    status = copy_doubles(to->stats.score, SL_MODALITIES_MAX, from->score, from->n_score, "stats.score", err);
    return status != SL_OK ? status
                           : copy_doubles(to->stats.coefficient, SL_MODALITIES_MAX, from->coefficient,
                                     from->n_coefficient, "stats.coefficient", err);
}

static void read_report(struct sl_report *to, const Shelflife__Cluster__Report *from)
{
    *to = (struct sl_report){
            from->memory, from->sent, from->received, from->queued, from->busy_us, from->dropped};
}

static enum sl_status read_commit(
        struct sl_commit *to, const Shelflife__Cluster__Commit *from, struct sl_error *err)
{
    to->inverse_weight = from->inverse_weight;
    to->clip = from->clip;
    to->rate = from->rate;
    enum sl_status status = copy_doubles(to->coefficient, SL_MODALITIES_MAX, from->coefficient,
            from->n_coefficient, "commit.coefficient", err);
    if (status == SL_OK)
        status = copy_doubles(to->fused, SL_MODALITIES_MAX, from->fused, from->n_fused, "commit.fused", err);
    return status != SL_OK ? status
                           : copy_doubles(to->update, SL_MODALITIES_MAX, from->update, from->n_update,
                                     "commit.update", err);
}

/* The tree's numbers, once and for all: afterwards node lies within slots and begin < end. */
static enum sl_status check_tree(const struct sl_message *m, struct sl_error *err)
{
    if (m->step < 0 || m->version < 0)
        return sl_fail(err, SL_BAD_DATA, "message field %s is negative", m->step < 0 ? "step" : "version");
    if (m->step > SL_STEP_MAX || m->version > SL_STEP_MAX)
        return sl_fail(err, SL_BAD_DATA, "message field %s is out of range",
                m->step > SL_STEP_MAX ? "step" : "version");
    if (m->held < -1 || m->held > SL_STEP_MAX)
        return sl_fail(err, SL_BAD_DATA, "message field held is out of range");
    if (m->kind == SL_MESSAGE_PUSH || m->kind == SL_MESSAGE_STATS) {
        if (m->slots == 0 || m->slots > SL_SLOTS_MAX || m->node.level > 31 ||
                !sl_tree_node_valid(m->slots, m->node))
            return sl_fail(err, SL_BAD_DATA, "%s names node (%u, %u) of %u slots, which there is not",
                    sl_message_name(m->kind), m->node.level, m->node.index, m->slots);
    }
    if (m->kind == SL_MESSAGE_ASSIGN || m->kind == SL_MESSAGE_VALIDATED) {
        bool slots = m->phase != SL_PHASE_VALIDATE; /* else units, of which the core knows the number */
        if (m->begin >= m->end || (slots && (m->end > m->slots || m->slots > SL_SLOTS_MAX)))
            return sl_fail(err, SL_BAD_DATA, "%s names [%u, %u) of %u slots, which is empty or out of range",
                    sl_message_name(m->kind), m->begin, m->end, m->slots);
    }
    return SL_OK;
}

static void copy_numbers(struct sl_message *m, const Header *h)
{
    m->kind = (enum sl_message_kind)h->kind;
    m->cluster = h->cluster;
    m->incarnation = h->incarnation;
    m->peer = h->peer;
    m->sequence = h->sequence;
    m->ack = h->ack;
    m->step = h->step;
    m->version = h->version;
    m->held = h->has_held ? h->held : -1;
    m->phase = (enum sl_phase)h->phase;
    m->slots = h->slots;
    m->node = (struct sl_node){h->level, h->index};
    m->begin = h->begin;
    m->end = h->end;
    m->block = h->block;
    m->rank = h->rank;
    m->count = h->count;
    m->compute_us = h->compute_us;
    m->hash = h->hash;
    m->proof = h->proof;
    m->shared = h->shared;
}

/* Whether frames of this kind may be written so. */
static bool may_be_encoded(enum sl_message_kind kind, uint32_t encoding)
{
    if (encoding == SL_ENCODING_DENSE)
        return true;
    return encoding < SL_ENCODING_COUNT &&
           kind == (encoding == SL_ENCODING_CHANGED ? SL_MESSAGE_PARAMS : SL_MESSAGE_PUSH);
}

/* Afterwards only pushes and parameters have frames that are not dense, each in an encoding that there is for them. */
static enum sl_status read_encodings(struct sl_message *m, const Header *h, struct sl_error *err)
{
    if (h->n_encoding > SL_MESSAGE_FRAMES_MAX)
        return sl_fail(err, SL_BAD_DATA, "message field encoding has %zu values, at most %d are allowed",
                h->n_encoding, SL_MESSAGE_FRAMES_MAX);
    for (size_t i = 0; i < h->n_encoding; i++) {
        uint32_t encoding = h->encoding[i];
        if (!may_be_encoded(m->kind, encoding))
            return sl_fail(err, SL_BAD_DATA, "message field encoding is %u in %s", encoding,
                    sl_message_name(m->kind));
        m->encoding[i] = (enum sl_encoding)encoding;
    }
    return SL_OK;
}

static enum sl_status read_header(struct sl_message *m, const Header *h, struct sl_error *err)
{
    if (!h->has_protocol || h->protocol != SL_PROTOCOL_VERSION)
        return sl_fail(err, SL_MISMATCH,
                "peer speaks protocol version %u, this program version %d: run the same release everywhere",
                h->protocol, SL_PROTOCOL_VERSION);
    if (!h->has_kind || h->kind == SL_MESSAGE_NONE || h->kind >= SL_MESSAGE_KIND_COUNT)
        return sl_fail(err, SL_BAD_DATA, "message of unknown kind %u", h->kind);
    if (h->phase >= SL_PHASE_COUNT)
        return sl_fail(err, SL_BAD_DATA, "message field phase is %u", h->phase);
    if (h->shared >> SL_MESSAGE_FRAMES_MAX != 0)
        return sl_fail(err, SL_BAD_DATA, "message field shared is %u", h->shared);
    copy_numbers(m, h);
    enum sl_status status = copy_text(m->text, sizeof(m->text), h->text, "text", err);
    if (status != SL_OK)
        return status;
    status = copy_doubles(
            m->coefficient, SL_MODALITIES_MAX, h->coefficient, h->n_coefficient, "coefficient", err);
    if (status != SL_OK)
        return status;
    status = read_encodings(m, h, err);
    if (status != SL_OK)
        return status;
    if (h->n_spent > SL_SPENT_COUNT)
        return sl_fail(err, SL_BAD_DATA, "message field spent has %zu values, at most %d are allowed",
                h->n_spent, SL_SPENT_COUNT);
    for (size_t i = 0; i < h->n_spent; i++)
        m->spent.us[i] = h->spent[i];
    if (h->hello != NULL && (status = read_hello(&m->hello, h->hello, err)) != SL_OK)
        return status;
    if (h->stats != NULL && (status = read_stats(m, h->stats, err)) != SL_OK)
        return status;
    if (h->commit != NULL && (status = read_commit(&m->commit, h->commit, err)) != SL_OK)
        return status;
    if (h->report != NULL)
        read_report(&m->report, h->report);
    return check_tree(m, err);
}

enum sl_status sl_codec_decode(
        struct sl_message **ret_message, const unsigned char *bytes, size_t size, struct sl_error *err)
{
    if (size > SL_HEADER_SIZE_MAX)
        return sl_fail(
                err, SL_BAD_DATA, "a header of %zu bytes is over the limit of %d", size, SL_HEADER_SIZE_MAX);
    struct budget budget = {.left = SL_HEADER_MEMORY_MAX};
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &budget};
    Header *header = shelflife__cluster__header__unpack(&allocator, size, bytes);
    if (header == NULL && budget.out_of_memory)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a header of %zu bytes", size);
    if (header == NULL)
        return sl_fail(err, SL_BAD_DATA, "a header of %zu bytes is not a message of this protocol", size);
    SL_AUTO(sl_message_destroy_auto) struct sl_message *message = sl_message_create(SL_MESSAGE_NONE);
    enum sl_status status = message == NULL ? sl_fail(err, SL_NO_MEMORY, "out of memory for a message")
                                            : read_header(message, header, err);
    shelflife__cluster__header__free_unpacked(header, &allocator);
    if (status == SL_OK)
        *ret_message = SL_TAKE(message);
    return status;
}

/* Afterwards a list of servers is whole entries whose texts end. */
static enum sl_status check_servers(const struct sl_frame *frame, struct sl_error *err)
{
    size_t count = frame->size / sizeof(struct sl_server_entry);
    if (frame->size % sizeof(struct sl_server_entry) != 0 || count == 0 || count > SL_SERVERS_MAX)
        return sl_fail(err, SL_BAD_DATA, "welcome lists servers in %zu bytes, expected 1 to %d times %zu",
                frame->size, SL_SERVERS_MAX, sizeof(struct sl_server_entry));
    for (size_t i = 0; i < count; i++) {
        const char *entry = (const char *)frame->data + i * sizeof(struct sl_server_entry);
        if (memchr(entry + offsetof(struct sl_server_entry, endpoint), 0, SL_ENDPOINT_MAX) == NULL)
            return sl_fail(err, SL_BAD_DATA, "welcome has an endpoint of server %zu that does not end", i);
    }
    return SL_OK;
}

enum sl_status sl_codec_check_frames(const struct sl_message *message, struct sl_error *err)
{
    if (message->frame_count < frame_counts[message->kind].least ||
            message->frame_count > frame_counts[message->kind].most)
        return sl_fail(err, SL_BAD_DATA, "%s came with %d frames, expected %d to %d",
                sl_message_name(message->kind), message->frame_count, frame_counts[message->kind].least,
                frame_counts[message->kind].most);
    if (message->kind == SL_MESSAGE_WELCOME && message->frame_count > 0)
        return check_servers(&message->frames[0], err);
    return SL_OK;
}
