/* A parameter server without sockets: see local_server.h. */
#include "deploy/bench/local_server.h"

#include "common/memory.h"

#include <math.h>
#include <string.h>

#define RATE 1e-6 /* of learning: nothing must drift away while the same gradients come again and again */

#define CLUSTER 1
#define INCARNATION 1
#define JOIN_US 1000000 /* no time passes here */

static struct sl_message *message_of(const struct dp_server *server, enum sl_message_kind kind)
{
    struct sl_message *message = sl_message_create(kind);
    if (message == NULL)
        return NULL;
    message->cluster = CLUSTER;
    message->step = server->version;
    message->version = server->version;
    return message;
}

/* The sums of the reduced step, from the answer to the last push. */
static void read_reduced(struct dp_server *server)
{
    const struct sl_outbox *outbox = &server->updates.outbox;
    for (int i = 0; i < outbox->count; i++) {
        const struct sl_message *message = outbox->items[i].message;
        if (message->kind != SL_MESSAGE_REDUCED)
            continue;
        const struct sl_block_sums *sums = message->frames[0].data;
        server->norm2 = 0.0;
        server->reduced = true;
        for (int b = 0; b < server->subject->layout->block_count; b++)
            server->norm2 += sums[b].norm2;
    }
}

/* Takes the message, which may be NULL from a failed create. */
static enum sl_status step(
        struct dp_server *server, struct sl_address from, struct sl_message *message, struct sl_error *err)
{
    if (message == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a message");
    uint64_t dropped = ps_server_dropped(server->server);
    struct ps_server_event event = {.kind = PS_SERVER_MESSAGE, .from = from, .message = message};
    struct ps_server_event work = {.kind = PS_SERVER_WORK};
    enum sl_status status = ps_server_step(server->server, &event, &server->updates, err);
    while (status == SL_OK && server->updates.more)
        status = ps_server_step(server->server, &work, &server->updates, err);
    if (status == SL_OK && ps_server_dropped(server->server) != dropped)
        status = sl_fail(err, SL_FAILED, "the server dropped a %s", sl_message_name(message->kind));
    if (status == SL_OK && server->updates.finished)
        status = sl_fail(err, SL_FAILED, "the server left: %s", server->updates.text);
    server->reduced = false;
    if (status == SL_OK)
        read_reduced(server);
    sl_message_destroy(message);
    return status;
}

/* ---- joining ---- */

static enum sl_status load_block(struct dp_server *server, int block, struct sl_error *err)
{
    const struct sl_block *place = &server->subject->layout->blocks[block];
    struct sl_message *message = message_of(server, SL_MESSAGE_LOAD);
    struct sl_buffer *buffer = sl_buffer_create(place->count * sizeof(float));
    if (message == NULL || buffer == NULL) {
        sl_message_destroy(message);
        sl_buffer_release(buffer);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a block");
    }
    memcpy(buffer->data, server->subject->params + place->offset, buffer->size);
    message->block = (uint32_t)block;
    message->count = server->slots; /* every step is an epoch */
    sl_message_add_frame(message, buffer, buffer->data, buffer->size);
    sl_buffer_release(buffer);
    return step(server, SL_COORDINATOR, message, err);
}

static enum sl_status join(struct dp_server *server, struct sl_error *err)
{
    struct ps_server_event start = {.kind = PS_SERVER_START};
    enum sl_status status = ps_server_step(server->server, &start, &server->updates, err);
    if (status == SL_OK)
        status = step(server, SL_COORDINATOR, message_of(server, SL_MESSAGE_WELCOME), err);
    for (int b = 0; status == SL_OK && b < server->subject->layout->block_count; b++)
        status = load_block(server, b, err);
    if (status == SL_OK && ps_server_version(server->server) != 0)
        status = sl_fail(err, SL_FAILED, "the server did not take its blocks");
    return status;
}

enum sl_status dp_server_init(
        struct dp_server *server, const struct dp_subject *subject, uint32_t slots, struct sl_error *err)
{
    *server = (struct dp_server){
            .subject = subject, .slots = slots, .optimiser = ps_optimiser_from_config(subject->config)};
    enum sl_status status =
            ps_table_create(&server->table, subject->layout, &server->optimiser, NULL, 0, err);
    struct ps_server_options options = {.config = subject->config,
            .piece_floats =
                    subject->layout->count, /* a commit is one piece: its answers are those of one event */
            .layout = subject->layout,
            .table = server->table,
            .hello = {.role = SL_ROLE_SERVER, .servers = 1},
            .incarnation = INCARNATION,
            .join_us = JOIN_US,
            .report_us = JOIN_US};
    if (status == SL_OK)
        status = ps_server_create(&server->server, &options, err);
    return status == SL_OK ? join(server, err) : status;
}

void dp_server_fini(struct dp_server *server)
{
    ps_server_destroy(server->server);
    sl_outbox_fini(&server->updates.outbox);
    ps_table_destroy(server->table);
    *server = (struct dp_server){0};
}

/* ---- a step ---- */

static void keep(void *context)
{
    (void)context; /* the gradients belong to the benchmark */
}

static enum sl_status add_frame(
        struct sl_message *message, struct sl_buffer *buffer, float *data, size_t size, struct sl_error *err)
{
    struct sl_buffer *own = buffer == NULL ? sl_buffer_adopt(data, size, keep, NULL) : NULL;
    if (buffer == NULL && own == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a frame");
    sl_message_add_frame(message, buffer == NULL ? own : buffer, data, size);
    sl_buffer_release(own);
    return SL_OK;
}

enum sl_status dp_server_push(struct dp_server *server, uint64_t worker, struct sl_node node, int block,
        float *gradients, struct sl_buffer *buffer, struct sl_error *err)
{
    const struct sl_layout *layout = server->subject->layout;
    const struct sl_block *place = &layout->blocks[block];
    struct sl_message *message = message_of(server, SL_MESSAGE_PUSH);
    if (message == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a push");
    message->slots = server->slots;
    message->node = node;
    message->block = (uint32_t)block;
    enum sl_status status = SL_OK;
    for (int tag = 0; tag < SL_TAGS && status == SL_OK; tag++)
        if (place->tagged[tag])
            status = add_frame(message, buffer, gradients + sl_layout_gradient_at(layout, tag, place->offset),
                    place->count * sizeof(float), err);
    if (status == SL_OK)
        return step(server, (struct sl_address){SL_ROLE_WORKER, worker}, message, err);
    sl_message_destroy(message);
    return status;
}

enum sl_status dp_server_take(
        struct dp_server *server, struct sl_address from, struct sl_message **message, struct sl_error *err)
{
    return step(server, from, SL_TAKE(*message), err);
}

enum sl_status dp_server_decide(const struct dp_server *server, const struct sl_step_stats *stats,
        double *ret_coefficients, struct sl_error *err)
{
    const struct sl_config *config = server->subject->config;
    struct ps_modulation after = server->modulation;
    double ratios[SL_MODALITIES_MAX];
    return ps_modulation_step(&after, &config->modulation, server->version, stats->score,
            config->modality_count, ratios, ret_coefficients, err);
}

enum sl_status dp_server_commit(
        struct dp_server *server, const struct sl_step_stats *stats, struct sl_error *err)
{
    const struct sl_config *config = server->subject->config;
    double ratios[SL_MODALITIES_MAX], coefficients[SL_MODALITIES_MAX] = {0};
    enum sl_status status = ps_modulation_step(&server->modulation, &config->modulation, server->version,
            stats->score, config->modality_count, ratios, coefficients, err);
    struct sl_message *message = status == SL_OK ? message_of(server, SL_MESSAGE_COMMIT) : NULL;
    if (message == NULL)
        return status == SL_OK ? sl_fail(err, SL_NO_MEMORY, "out of memory for a commit") : status;
    double inverse = 1.0 / stats->weight_sum;
    message->version = server->version + 1;
    message->commit = (struct sl_commit){.inverse_weight = inverse,
            .clip = ps_optimiser_clip(&server->optimiser, sqrt(server->norm2) * inverse),
            .rate = RATE};
    for (int m = 0; m < SL_MODALITIES_MAX; m++)
        message->commit.fused[m] = message->commit.update[m] = 1.0;
    memcpy(message->commit.coefficient, coefficients, sizeof(coefficients));
    status = step(server, SL_COORDINATOR, message, err);
    server->version = ps_server_version(server->server);
    return status;
}

enum sl_status dp_server_pull(struct dp_server *server, float *params, struct sl_error *err)
{
    const struct sl_layout *layout = server->subject->layout;
    enum sl_status status =
            step(server, (struct sl_address){SL_ROLE_WORKER, 1}, message_of(server, SL_MESSAGE_PULL), err);
    for (int i = 0; i < server->updates.outbox.count && status == SL_OK; i++) {
        const struct sl_message *answer = server->updates.outbox.items[i].message;
        if (answer->kind == SL_MESSAGE_PARAMS)
            memcpy(params + layout->blocks[answer->block].offset, answer->frames[0].data,
                    answer->frames[0].size);
    }
    sl_outbox_clear(
            &server->updates.outbox); /* nobody holds the blocks any more: the next update is in place */
    return status;
}
