#pragma once
/* A coordinator alone, with a test that plays everybody else: workers 1, 2, 3 …, servers 100, 101 … (100 is its own). Each function below is one event, and gives what follows from it
 * as a line of text (trace.h). Two epochs of two steps: the first has 4 slots of 2 samples, the second 3; validation has 3 units, the last of one sample. */
#include "common/placement.h"
#include "ps/coordinator.h"
#include "tests/unit/ps/fixture.h"
#include "tests/unit/ps/trace.h"

#define CLUSTER 77
#define CONFIG_HASH 5
#define TRAIN 14
#define VALIDATION 5
#define BEAT_US 1000000
#define OWN 100 /* id of the server of rank 0 */

struct world {
    struct sl_config *config;
    struct sl_layout *layout;
    struct ps_coordinator *c;
    struct ps_updates updates;
    struct sl_text text;
    int servers;
    uint64_t cluster;
    int64_t now_us, saving; /* the version of the last SAVE */
    bool local;             /* workers tell which shards they have */
    unsigned char readable[4];
};

static struct sl_error err;

/* ---- the world ---- */

static inline struct world blank_world(void)
{
    struct world w = {.config = fixture_config(), .now_us = 1000, .servers = 1, .cluster = CLUSTER};
    w.config->batch.slots = 4;
    w.config->batch.slot_size = 2;
    w.config->cluster.heartbeat_ms = BEAT_US / 1000;
    w.config->cluster.straggler = 3.0;
    (void)snprintf(w.config->snapshots.keep_best, sizeof(w.config->snapshots.keep_best), "fused.accuracy");
    return w;
}

static inline void open_world(struct world *w, const struct ps_training *training)
{
    w->layout = fixture_layout(w->config, FIXTURE_BLOCK);
    sl_text_init(&w->text, 1 << 20);
    struct ps_coordinator_options options = {
            w->config, w->layout, CONFIG_HASH, CLUSTER, OWN, w->servers, *training, NULL};
    if (ps_coordinator_create(&w->c, &options, &err) != SL_OK)
        fail_msg("%s", err.text);
}

static inline void close_world(struct world *w)
{
    ps_coordinator_destroy(w->c);
    ps_updates_fini(&w->updates);
    sl_text_fini(&w->text);
    sl_layout_destroy(w->layout);
    sl_free(w->config);
}

static inline struct ps_training at_step(int64_t step, int64_t validated_step)
{
    struct ps_training training = ps_training_begin();
    training.step = step;
    training.validated_step = validated_step;
    training.train_count = TRAIN;
    training.validation_count = VALIDATION;
    return training;
}

/* ---- events ---- */

static inline const char *step(struct world *w, struct ps_event event)
{
    const char *line = NULL;
    event.now_us = w->now_us;
    w->now_us += 10;
    if (ps_coordinator_step(w->c, &event, &w->updates, &err) != SL_OK)
        fail_msg("%s", err.text);
    for (int i = 0; i < w->updates.outbox.count; i++)
        if (w->updates.outbox.items[i].message->kind == SL_MESSAGE_SAVE)
            w->saving = w->updates.outbox.items[i].message->version;
    sl_text_reset(&w->text);
    trace_updates(&w->text, &w->updates);
    if (sl_text_finish(&w->text, &line, NULL, &err) != SL_OK)
        fail_msg("%s", err.text);
    return line;
}

#define expect(trace, event) assert_string_equal(event, trace)

/* Takes the message. */
static inline const char *from(struct world *w, enum sl_role role, uint64_t id, struct sl_message *m)
{
    const char *line = step(w, (struct ps_event){.kind = PS_EVENT_MESSAGE, .from = {role, id}, .message = m});
    sl_message_destroy(m);
    return line;
}

static inline const char *from_worker(struct world *w, uint64_t id, struct sl_message *m)
{
    return from(w, SL_ROLE_WORKER, id, m);
}

static inline const char *from_server(struct world *w, int rank, struct sl_message *m)
{
    return from(w, SL_ROLE_SERVER, OWN + (uint64_t)rank, m);
}

static inline int64_t now_at(const struct world *w)
{
    return ps_coordinator_training(w->c)->step;
}

static inline struct sl_message *message(const struct world *w, enum sl_message_kind kind)
{
    struct sl_message *m = sl_message_create(kind);
    assert_non_null(m);
    m->cluster = w->cluster;
    m->step = now_at(w);
    m->version = now_at(w);
    return m;
}

static inline void add_frame(struct sl_message *m, const void *bytes, size_t size)
{
    struct sl_buffer *buffer = sl_buffer_create(size);
    assert_non_null(buffer);
    memcpy(buffer->data, bytes, size);
    sl_message_add_frame(m, buffer, buffer->data, size);
    sl_buffer_release(buffer);
}

static inline struct sl_hello introduction(const struct world *w)
{
    return (struct sl_hello){.config_hash = CONFIG_HASH,
            .layout_hash = w->layout->hash,
            .train_count = TRAIN,
            .validation_count = VALIDATION,
            .threads =
                    2, /* enough for all slots of a step: before speeds are known a worker takes two for each */
            .pid = 12,
            .host = "h"};
}

static inline const char *hello_as(struct world *w, uint64_t id, struct sl_hello hello)
{
    static const uint64_t shards[] = {4, 4, 4, 2};
    struct sl_message *m = message(w, SL_MESSAGE_HELLO);
    m->cluster = 0;
    m->hello = hello;
    if (w->local) {
        add_frame(m, shards, sizeof(shards));
        add_frame(m, w->readable, sizeof(w->readable));
    }
    return from_worker(w, id, m);
}

static inline const char *hello(struct world *w, uint64_t id)
{
    return hello_as(w, id, introduction(w));
}

static inline struct sl_hello server_introduction(const struct world *w, int rank)
{
    struct sl_hello hello = {.role = SL_ROLE_SERVER,
            .config_hash = CONFIG_HASH,
            .layout_hash = w->layout->hash,
            .pid = 12,
            .host = "h",
            .rank = (uint32_t)rank,
            .servers = (uint32_t)w->servers};
    if (rank > 0)
        (void)snprintf(hello.endpoint, sizeof(hello.endpoint), "tcp://h:%d", 5000 + rank);
    return hello;
}

static inline const char *server_hello_as(struct world *w, uint64_t id, struct sl_hello hello)
{
    struct sl_message *m = message(w, SL_MESSAGE_HELLO);
    m->cluster = 0;
    m->hello = hello;
    return from(w, SL_ROLE_SERVER, id, m);
}

static inline const char *server_hello(struct world *w, int rank)
{
    return server_hello_as(w, OWN + (uint64_t)rank, server_introduction(w, rank));
}

static inline const char *loaded(struct world *w, int rank)
{
    return from_server(w, rank, message(w, SL_MESSAGE_LOADED));
}

/* All servers are there, worker 1 says hello, everything is loaded: the line of the last LOADED. */
static inline const char *gather(struct world *w)
{
    const char *line = "";
    for (int s = 0; s < w->servers; s++)
        (void)server_hello(w, s);
    (void)hello(w, 1);
    for (int s = 0; s < w->servers; s++)
        line = loaded(w, s);
    return line;
}

static inline struct world new_world(void)
{
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    open_world(&w, &training);
    (void)gather(&w);
    return w;
}

/* Statistics of a node of a step, computed on a version. */
static inline struct sl_message *statistics_of(
        struct world *w, int64_t at, int64_t on, uint32_t level, uint32_t index)
{
    struct sl_message *m = message(w, SL_MESSAGE_STATS);
    m->step = at;
    m->version = on;
    m->slots = at % 2 == 0 ? 4 : 3;
    m->node = (struct sl_node){level, index};
    int samples = 2 * (int)(sl_tree_end(m->slots, m->node) - sl_tree_begin(m->node));
    m->stats = (struct sl_step_stats){.count = samples, .weight_sum = samples};
    for (int b = 0; b < 3; b++)
        m->stats.loss[b] = samples * (1.0 + b);
    m->stats.score[0] = samples * 0.6;
    m->stats.score[1] = samples * 0.3;
    m->stats.correct[2] = samples / 2;
    m->compute_us = 1000;
    return m;
}

static inline struct sl_message *statistics(struct world *w, uint32_t level, uint32_t index)
{
    return statistics_of(w, now_at(w), now_at(w), level, index);
}

static inline const char *stats(struct world *w, uint64_t id, uint32_t level, uint32_t index)
{
    return from_worker(w, id, statistics(w, level, index));
}

/* Sums of a server's blocks. */
static inline struct sl_message *sums_of(struct world *w, int rank, double norm2)
{
    struct sl_message *m = message(w, SL_MESSAGE_REDUCED);
    struct sl_block_sums sums[256];
    int owners[256], count = 0;
    assert_true(w->layout->block_count <= 256);
    sl_placement_make(w->layout, w->servers, owners);
    for (int b = 0; b < w->layout->block_count; b++)
        if (owners[b] == rank)
            sums[count++] = (struct sl_block_sums){norm2, 0.5, 1.0, 1.0};
    add_frame(m, sums, (size_t)count * sizeof(sums[0]));
    return m;
}

static inline const char *reduced_at(struct world *w, int rank, int64_t at)
{
    struct sl_message *m = sums_of(w, rank, 4.0);
    m->step = at;
    return from_server(w, rank, m);
}

static inline const char *reduced(struct world *w)
{
    return reduced_at(w, 0, now_at(w));
}

/* APPLIED with the changes of a server's blocks: block b's values moved by a norm of 0.5 (b + 1) and now have one of 2 (b + 1). */
static inline struct sl_message *changes_of(struct world *w, int rank)
{
    struct sl_message *m = message(w, SL_MESSAGE_APPLIED);
    struct sl_block_change changes[256];
    int owners[256], count = 0;
    assert_true(w->layout->block_count <= 256);
    sl_placement_make(w->layout, w->servers, owners);
    for (int b = 0; b < w->layout->block_count; b++)
        if (owners[b] == rank)
            changes[count++] = (struct sl_block_change){0.25 * (b + 1) * (b + 1), 4.0 * (b + 1) * (b + 1)};
    add_frame(m, changes, (size_t)count * sizeof(changes[0]));
    return m;
}

static inline const char *applied_at(struct world *w, int rank, int64_t at, int64_t version)
{
    struct sl_message *m = changes_of(w, rank);
    m->step = at;
    m->version = version;
    return from_server(w, rank, m);
}

static inline const char *applied(struct world *w)
{
    return applied_at(w, 0, now_at(w), now_at(w) + 1);
}

/* One worker, who has all slots, computes the step. */
static inline const char *whole_step(struct world *w, uint64_t id)
{
    (void)stats(w, id, 2, 0);
    (void)reduced(w);
    return applied(w);
}

/* Units [begin, end) of which every sample is predicted right, or none; the sums are as of a model whose logits are 2 and 0. */
static inline struct sl_message *result(struct world *w, uint32_t begin, uint32_t end, bool right)
{
    struct sl_message *m = message(w, SL_MESSAGE_VALIDATED);
    struct sl_evaluation *e = NULL;
    assert_int_equal(sl_evaluation_create(&e, 3, 3, &err), SL_OK);
    const float logits[3] = {right ? 2.0F : 0.0F, right ? 0.0F : 2.0F, 0.0F};
    for (uint32_t s = 2 * begin; s < 2 * end && s < VALIDATION; s++)
        for (int b = 0; b < 3; b++)
            assert_int_equal(sl_evaluation_add_logits(e, b, logits, 0, &err), SL_OK);
    size_t ints = sl_evaluation_int_count(3, 3) * sizeof(int64_t),
           doubles = sl_evaluation_double_count(3, 3) * sizeof(double);
    struct sl_buffer *buffer = sl_buffer_create(ints + doubles);
    assert_non_null(buffer);
    memcpy(buffer->data, sl_evaluation_ints(e), ints);
    memcpy((char *)buffer->data + ints, sl_evaluation_doubles(e), doubles);
    sl_evaluation_destroy(e);
    sl_message_add_frame(m, buffer, buffer->data, buffer->size);
    sl_buffer_release(buffer);
    m->phase = SL_PHASE_VALIDATE;
    m->slots = 3;
    m->begin = begin;
    m->end = end;
    return m;
}

static inline const char *validated(struct world *w, uint64_t id, uint32_t begin, uint32_t end, bool right)
{
    return from_worker(w, id, result(w, begin, end, right));
}

/* A block of the snapshot of a version. */
static inline const char *saved(struct world *w, int rank, int block, int64_t version)
{
    struct sl_message *m = message(w, SL_MESSAGE_SAVED);
    size_t size = w->layout->blocks[block].count * sizeof(float);
    struct sl_buffer *buffer = sl_buffer_create(size);
    assert_non_null(buffer);
    m->block = (uint32_t)block;
    m->version = version;
    sl_message_add_frame(m, buffer, buffer->data, size);
    sl_buffer_release(buffer);
    return from_server(w, rank, m);
}

/* All blocks of the snapshot that was asked for last come in; the line of the last one. */
static inline const char *save_all(struct world *w)
{
    int owners[256];
    const char *line = "";
    sl_placement_make(w->layout, w->servers, owners);
    for (int b = 0; b < w->layout->block_count; b++)
        line = saved(w, owners[b], b, w->saving);
    return line;
}

static inline const char *tick(struct world *w, int64_t later_us)
{
    w->now_us += later_us;
    return step(w, (struct ps_event){.kind = PS_EVENT_TICK});
}

static inline const char *gone(struct world *w, uint64_t id)
{
    return step(
            w, (struct ps_event){.kind = PS_EVENT_GONE, .from = {SL_ROLE_WORKER, id}, .text = "not heard"});
}

static inline const char *server_gone(struct world *w, uint64_t id)
{
    return step(
            w, (struct ps_event){.kind = PS_EVENT_GONE, .from = {SL_ROLE_SERVER, id}, .text = "not heard"});
}

static inline const char *restored(struct world *w, const struct ps_training *training)
{
    w->cluster++;
    return step(w, (struct ps_event){.kind = PS_EVENT_RESTORED, .training = training, .text = ""});
}

static inline const char *stop(struct world *w)
{
    return step(w, (struct ps_event){.kind = PS_EVENT_STOP, .status = SL_STOPPED, .text = "SIGTERM"});
}

/* The blocks come in, if they are still awaited, and the snapshot is written, or not. */
static inline const char *written(struct world *w, enum sl_status status)
{
    (void)save_all(w);
    return step(w, (struct ps_event){.kind = PS_EVENT_SNAPSHOT_WRITTEN,
                           .status = status,
                           .text = status == SL_OK ? "" : "disk full"});
}

static inline const struct ps_action *last_action(const struct world *w)
{
    assert_true(w->updates.action_count > 0);
    return &w->updates.actions[w->updates.action_count - 1];
}
