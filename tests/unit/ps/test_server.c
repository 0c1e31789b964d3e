/* The server's decisions, one test for a row of its tables: joining and loading, pushes that count and that do not, reduction, commit, pulls at once and later, snapshots, the end. The test plays the
 * coordinator and the workers; the data has 3 steps of 2 slots an epoch, the last has one. */
#include "ps/server.h"

#include "common/placement.h"
#include "tests/unit/ps/fixture.h"
#include "tests/unit/ps/trace.h"

#include <math.h>

#define CLUSTER 77
#define JOIN_US 5000000
#define REPORT_US 1000000

struct world {
    struct sl_config *config;
    struct sl_layout *layout;
    struct ps_table *table;
    struct ps_server *server;
    struct sl_team *team;
    struct ps_server_updates updates;
    struct sl_text text;
    int *own; /* (own_count,) */
    int own_count;
    float *params;
    int64_t now_us;
};

static struct sl_error err;

/* ---- the world ---- */

static size_t piece_floats; /* of worlds that are made */
static bool freezes;        /* their first extractor */

static struct world joining_world(int rank, int servers, enum sl_consistency mode, int staleness)
{
    struct world w = {.config = fixture_config(), .now_us = 1000};
    w.config->batch.slots = 2;
    w.config->consistency.mode = mode;
    w.config->consistency.staleness = staleness;
    w.config->modalities[0].freeze_count = freezes;
    (void)snprintf(w.config->modalities[0].freeze[0], sizeof(w.config->modalities[0].freeze[0]), "*");
    w.layout = fixture_layout(w.config, 4096); /* one block for each head and extractor, two for the fusion */
    sl_text_init(&w.text, 1 << 20);
    int *owners = sl_alloc((size_t)w.layout->block_count, sizeof(int));
    w.own = sl_alloc((size_t)w.layout->block_count, sizeof(int));
    assert_true(owners != NULL && w.own != NULL);
    sl_placement_make(w.layout, servers, owners);
    for (int b = 0; b < w.layout->block_count; b++)
        if (owners[b] == rank)
            w.own[w.own_count++] = b;
    sl_free(owners);
    struct ps_optimiser optimiser = ps_optimiser_from_config(w.config);
    w.params = fixture_vector(w.layout->count, 1, 1.0F);
    assert_int_equal(ps_table_create(&w.table, w.layout, &optimiser, w.own, w.own_count, &err), SL_OK);
    struct ps_server_options options = {.config = w.config,
            .layout = w.layout,
            .table = w.table,
            .hello = {.role = SL_ROLE_SERVER, .rank = (uint32_t)rank, .servers = (uint32_t)servers},
            .incarnation = 42,
            .join_us = JOIN_US,
            .report_us = REPORT_US,
            .piece_floats = piece_floats};
    assert_int_equal(ps_server_create(&w.server, &options, &err), SL_OK);
    assert_int_equal(sl_team_create(&w.team, 3, &err), SL_OK);
    ps_server_use_team(w.server, w.team);
    return w;
}

static void close_world(struct world *w)
{
    sl_outbox_fini(&w->updates.outbox);
    ps_server_destroy(w->server);
    sl_team_destroy(w->team);
    ps_table_destroy(w->table);
    sl_text_fini(&w->text);
    sl_layout_destroy(w->layout);
    sl_free(w->config);
    sl_free(w->params);
    sl_free(w->own);
}

/* ---- events ---- */

static const char *step(struct world *w, struct ps_server_event event)
{
    const char *line = NULL;
    event.now_us = w->now_us;
    w->now_us += 10;
    if (ps_server_step(w->server, &event, &w->updates, &err) != SL_OK)
        fail_msg("%s", err.text);
    sl_text_reset(&w->text);
    trace_outbox(&w->text, &w->updates.outbox);
    if (w->updates.finished) {
        trace_separate(&w->text);
        sl_text_printf(&w->text, "finish %s", sl_status_name(w->updates.status));
    }
    if (sl_text_finish(&w->text, &line, NULL, &err) != SL_OK)
        fail_msg("%s", err.text);
    return line;
}

#define expect(trace, event) assert_string_equal(event, trace)

/* Takes the message. */
static const char *from(struct world *w, enum sl_role role, uint64_t id, struct sl_message *m)
{
    const char *line =
            step(w, (struct ps_server_event){.kind = PS_SERVER_MESSAGE, .from = {role, id}, .message = m});
    sl_message_destroy(m);
    return line;
}

static const char *control(struct world *w, struct sl_message *m)
{
    return from(w, SL_ROLE_COORDINATOR, 0, m);
}

static struct sl_message *message(enum sl_message_kind kind, int64_t at, int64_t version)
{
    struct sl_message *m = sl_message_create(kind);
    assert_non_null(m);
    m->cluster = CLUSTER;
    m->step = at;
    m->version = version;
    return m;
}

static void add_values(struct sl_message *m, const float *values, float value, size_t count)
{
    struct sl_buffer *buffer = sl_buffer_create(count * sizeof(float));
    assert_non_null(buffer);
    for (size_t i = 0; i < count; i++)
        ((float *)buffer->data)[i] = values != NULL ? values[i] : value;
    sl_message_add_frame(m, buffer, buffer->data, buffer->size);
    sl_buffer_release(buffer);
}

static struct sl_message *load_of(struct world *w, int block, int64_t version)
{
    const struct sl_block *place = &w->layout->blocks[block];
    struct sl_message *m = message(SL_MESSAGE_LOAD, 0, version);
    m->block = (uint32_t)block;
    m->count = 5; /* slots of an epoch */
    add_values(m, w->params + place->offset, 0.0F, place->count);
    return m;
}

static const char *start(struct world *w)
{
    return step(w, (struct ps_server_event){.kind = PS_SERVER_START});
}

static const char *tick(struct world *w, int64_t later_us)
{
    w->now_us += later_us;
    return step(w, (struct ps_server_event){.kind = PS_SERVER_TICK});
}

static const char *gone(struct world *w, enum sl_role role, uint64_t id)
{
    return step(w, (struct ps_server_event){.kind = PS_SERVER_GONE, .from = {role, id}, .text = "not heard"});
}

static struct world world_of(int rank, int servers, int64_t version, enum sl_consistency mode, int staleness)
{
    struct world w = joining_world(rank, servers, mode, staleness);
    (void)start(&w);
    (void)control(&w, message(SL_MESSAGE_WELCOME, 0, 0));
    for (int i = 0; i < w.own_count; i++)
        (void)control(&w, load_of(&w, w.own[i], version));
    assert_int_equal(ps_server_version(w.server), version);
    return w;
}

/* All blocks, at a version, in bsp. */
static struct world new_world(int64_t version)
{
    return world_of(0, 1, version, SL_CONSISTENCY_BSP, 0);
}

/* A push of a node of a step of two slots, all numbers `value`. */
static struct sl_message *push(
        struct world *w, int64_t at, uint32_t level, uint32_t index, int block, float value)
{
    struct sl_message *m = message(SL_MESSAGE_PUSH, at, 0);
    const struct sl_block *place = &w->layout->blocks[block];
    m->slots = at % 3 == 2 ? 1 : 2;
    m->node = (struct sl_node){level, index};
    m->block = (uint32_t)block;
    for (int tag = 0; tag < SL_TAGS; tag++)
        if (place->tagged[tag])
            add_values(m, NULL, value, place->count);
    return m;
}

static struct sl_message *commit(int64_t at, int64_t version)
{
    struct sl_message *m = message(SL_MESSAGE_COMMIT, at, version);
    m->commit = (struct sl_commit){.inverse_weight = 0.5,
            .clip = 1.0,
            .rate = 1e-3,
            .coefficient = {0.5, 1.0},
            .fused = {1.0, 1.0},
            .update = {1.0, 1.0}};
    return m;
}

static int last_block(const struct world *w)
{
    return w->own[w->own_count - 1];
}

/* Both slots of all its blocks but the last one, in one node. */
static void push_most(struct world *w, int64_t at)
{
    for (int i = 0; i < w->own_count - 1; i++)
        (void)from(w, SL_ROLE_WORKER, 1, push(w, at, 1, 0, w->own[i], 0.25F));
}

/* The step becomes whole; the line of the last push. */
static const char *push_all(struct world *w, int64_t at)
{
    push_most(w, at);
    return from(w, SL_ROLE_WORKER, 1, push(w, at, 1, 0, last_block(w), 0.25F));
}

static void dropped_from(struct world *w, enum sl_role role, struct sl_message *m)
{
    uint64_t before = ps_server_dropped(w->server);
    expect("", from(w, role, role == SL_ROLE_WORKER ? 1 : 0, m));
    assert_int_equal(ps_server_dropped(w->server), before + 1);
}

static void dropped(struct world *w, struct sl_message *m)
{
    dropped_from(w, SL_ROLE_WORKER, m);
}

/* Every frame of a push as lines of which all are left out. */
static struct sl_message *emptied(struct sl_message *m, size_t size)
{
    for (int i = 0; i < m->frame_count; i++) {
        struct sl_buffer *buffer = sl_buffer_create(size);
        assert_non_null(buffer);
        sl_buffer_release(m->frames[i].buffer);
        m->frames[i] = (struct sl_frame){buffer, buffer->data, size};
        m->encoding[i] = SL_ENCODING_LINES;
    }
    return m;
}

static void test_a_push_that_is_sparse_counts_as_zeros(void **state)
{
    (void)state;
    struct world w = new_world(0);
    size_t lines = (w.layout->blocks[last_block(&w)].count + SL_LINE_FLOATS - 1) / SL_LINE_FLOATS;
    size_t size = (lines + 63) / 64 * 8;
    push_most(&w, 0);
    dropped(&w, emptied(push(&w, 0, 1, 0, last_block(&w), 0.25F), size + 4)); /* no lines of that block */
    const char *line = from(&w, SL_ROLE_WORKER, 1, emptied(push(&w, 0, 1, 0, last_block(&w), 0.25F), size));
    assert_non_null(strstr(line, "reduced"));
    const struct sl_message *reduced = NULL;
    for (int i = 0; i < w.updates.outbox.count; i++)
        if (w.updates.outbox.items[i].message->kind == SL_MESSAGE_REDUCED)
            reduced = w.updates.outbox.items[i].message;
    assert_non_null(reduced);
    const struct sl_block_sums *sums = reduced->frames[0].data;
    assert_true(sums[0].norm2 > 0 && sums[w.own_count - 1].norm2 == 0);
    close_world(&w);
}

/* Every frame of a push as bf16: of numbers that are exact in it nothing changes. */
static struct sl_message *rounded(struct sl_message *m)
{
    for (int i = 0; i < m->frame_count; i++) {
        size_t count = m->frames[i].size / sizeof(float);
        struct sl_buffer *buffer = sl_buffer_create(sl_encoding_bf16_size(count));
        sl_bf16 *kept = sl_alloc(count, sizeof(*kept));
        assert_true(buffer != NULL && kept != NULL);
        sl_encoding_put_bf16(m->frames[i].data, kept, count, buffer->data);
        sl_free(kept);
        sl_buffer_release(m->frames[i].buffer);
        m->frames[i] = (struct sl_frame){buffer, buffer->data, buffer->size};
        m->encoding[i] = SL_ENCODING_BF16;
    }
    return m;
}

static struct sl_block_sums sums_with(bool rounds)
{
    struct world w = new_world(0);
    int last = last_block(&w);
    push_most(&w, 0);
    struct sl_message *m = push(&w, 0, 1, 0, last, 0.25F);
    assert_non_null(strstr(from(&w, SL_ROLE_WORKER, 1, rounds ? rounded(m) : m), "reduced"));
    struct sl_block_sums sums = {0};
    for (int i = 0; i < w.updates.outbox.count; i++)
        if (w.updates.outbox.items[i].message->kind == SL_MESSAGE_REDUCED)
            sums = ((const struct sl_block_sums *)w.updates.outbox.items[i]
                            .message->frames[0]
                            .data)[w.own_count - 1];
    close_world(&w);
    return sums;
}

static void test_a_push_of_bf16_counts_as_its_numbers(void **state)
{
    (void)state;
    struct sl_block_sums dense = sums_with(false), narrow = sums_with(true);
    assert_true(dense.norm2 > 0);
    assert_memory_equal(&dense, &narrow, sizeof(dense));
    struct world w = new_world(0);
    struct sl_message *m = rounded(push(&w, 0, 1, 0, last_block(&w), 0.25F));
    m->frames[0].size -= 2;
    dropped(&w, m);
    close_world(&w);
}

/* ---- joining ---- */

static void test_it_joins_and_loads(void **state)
{
    (void)state;
    struct world w = joining_world(1, 2, SL_CONSISTENCY_BSP, 0);
    assert_true(w.own_count > 0 && w.own_count < w.layout->block_count);
    expect("c<hello", start(&w));
    assert_int_equal(w.updates.outbox.items[0].message->hello.rank, 1);
    assert_int_equal(ps_server_version(w.server), -1);
    dropped_from(&w, SL_ROLE_COORDINATOR, load_of(&w, w.own[0], 3)); /* before the welcome */
    expect("", control(&w, message(SL_MESSAGE_WELCOME, 0, 0)));
    expect("", control(&w, message(SL_MESSAGE_WELCOME, 0, 0)));
    dropped(&w, message(SL_MESSAGE_PULL, 0, 0));
    dropped(&w, push(&w, 3, 1, 0, w.own[0], 1.0F));
    for (int i = 0; i < w.own_count - 1; i++)
        expect("", control(&w, load_of(&w, w.own[i], 3)));
    struct sl_message *m = load_of(&w, last_block(&w), 4);
    dropped_from(&w, SL_ROLE_COORDINATOR, m); /* of another version than the others */
    m = load_of(&w, last_block(&w), 3);
    m->count = 6;
    dropped_from(&w, SL_ROLE_COORDINATOR, m);
    m = load_of(&w, last_block(&w), 3);
    m->frames[0].size -= 4;
    dropped_from(&w, SL_ROLE_COORDINATOR, m);
    m = load_of(&w, last_block(&w), 3);
    m->block = (uint32_t)w.layout->block_count;
    dropped_from(&w, SL_ROLE_COORDINATOR, m);
    int other = 0;
    while (ps_table_owns(w.table, other))
        other++;
    dropped_from(&w, SL_ROLE_COORDINATOR, load_of(&w, other, 3));    /* not its own */
    dropped_from(&w, SL_ROLE_COORDINATOR, load_of(&w, w.own[0], 3)); /* twice, when it has another */
    m = load_of(&w, last_block(&w), 3);
    m->cluster++;
    dropped_from(&w, SL_ROLE_COORDINATOR, m);
    expect("", from(&w, SL_ROLE_WORKER, 1, load_of(&w, last_block(&w), 3))); /* only the coordinator loads */
    expect("c<loaded 3", control(&w, load_of(&w, last_block(&w), 3)));
    assert_int_equal(ps_server_version(w.server), 3);
    dropped_from(&w, SL_ROLE_COORDINATOR, load_of(&w, w.own[0], 3));
    close_world(&w);
}

static void test_numbers_of_an_epoch_that_cannot_be(void **state)
{
    (void)state;
    static const uint64_t counts[] = {0, (uint64_t)UINT32_MAX + 1, UINT64_MAX};
    struct world w = joining_world(0, 1, SL_CONSISTENCY_BSP, 0);
    (void)start(&w);
    (void)control(&w, message(SL_MESSAGE_WELCOME, 0, 0));
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct sl_message *m = load_of(&w, 0, 0);
        m->count = counts[i];
        dropped_from(&w, SL_ROLE_COORDINATOR, m);
    }
    close_world(&w);
}

static void test_ends(void **state)
{
    (void)state;
    struct world w = joining_world(0, 1, SL_CONSISTENCY_BSP, 0);
    (void)start(&w);
    expect("", tick(&w, JOIN_US - 100));
    expect("finish timeout", tick(&w, 200));
    assert_non_null(strstr(w.updates.text, "no answer from the coordinator"));
    expect("", start(&w)); /* it has left */
    close_world(&w);
    w = joining_world(0, 1, SL_CONSISTENCY_BSP, 0);
    (void)start(&w);
    struct sl_message *m = message(SL_MESSAGE_REFUSE, 0, 0);
    (void)snprintf(m->text, sizeof(m->text), "another config");
    expect("finish mismatch", control(&w, m));
    assert_string_equal(w.updates.text, "another config");
    close_world(&w);
    w = new_world(0);
    m = message(SL_MESSAGE_STOP, 0, 0);
    m->cluster++;
    dropped_from(&w, SL_ROLE_COORDINATOR, m); /* of another run */
    expect("finish ok", control(&w, message(SL_MESSAGE_STOP, 0, 0)));
    close_world(&w);
    w = new_world(0);
    expect("", gone(&w, SL_ROLE_WORKER, 1)); /* workers come and go */
    expect("finish again", gone(&w, SL_ROLE_COORDINATOR, 0));
    assert_string_equal(w.updates.text, "the coordinator: not heard");
    close_world(&w);
    w = new_world(0);
    expect("c<bye; finish stopped",
            step(&w, (struct ps_server_event){.kind = PS_SERVER_LEAVE, .text = "SIGTERM"}));
    assert_string_equal(w.updates.outbox.items[0].message->text, "SIGTERM");
    close_world(&w);
}

static void test_reports(void **state)
{
    (void)state;
    struct world w = new_world(0);
    dropped(&w, message(SL_MESSAGE_PULL, 0, 1 << 20));
    expect("", tick(&w, REPORT_US / 2));
    assert_true(w.updates.wake_us > w.now_us && w.updates.wake_us <= w.now_us + REPORT_US);
    expect("c<report", tick(&w, REPORT_US));
    assert_int_equal(w.updates.outbox.items[0].message->report.dropped, 1);
    expect("", tick(&w, 0));
    close_world(&w);
}

/* ---- a step ---- */

static void test_a_step(void **state)
{
    (void)state;
    struct world w = new_world(0);
    float *before = sl_alloc_aligned(w.layout->count, sizeof(float)),
          *after = sl_alloc_aligned(w.layout->count, sizeof(float));
    ps_table_copy(w.table, before, NULL, NULL);
    expect("w1<ack 1.0 of block 0 at 0", from(&w, SL_ROLE_WORKER, 1, push(&w, 0, 1, 0, 0, 0.25F)));
    push_most(&w, 0);
    int last = last_block(&w);
    (void)from(&w, SL_ROLE_WORKER, 1, push(&w, 0, 0, 1, last, 0.25F));
    const char *line = from(&w, SL_ROLE_WORKER, 2, push(&w, 0, 0, 0, last, 0.5F));
    assert_int_equal(strncmp(line, "c<reduced 0; w2<ack 0.0 of block", 32), 0);
    const struct sl_message *reduced = w.updates.outbox.items[0].message;
    const struct sl_block_sums *sums = reduced->frames[0].data;
    assert_int_equal(reduced->text[0], 0);
    assert_int_equal(reduced->frames[0].size, (size_t)w.layout->block_count * sizeof(*sums));
    for (int b = 0; b < w.layout->block_count; b++)
        assert_true(sums[b].norm2 > 0.0 && sums[b].norm2 >= sums[b].fused2);
    expect("c<applied 0 to 1", control(&w, commit(0, 1)));
    assert_int_equal(ps_server_version(w.server), 1);
    ps_table_copy(w.table, after, NULL, NULL);
    assert_memory_not_equal(before, after, w.layout->count * sizeof(float));
    dropped_from(&w, SL_ROLE_COORDINATOR, commit(0, 1)); /* applied before */
    expect("w1<ack 1.0 of block 0 at 1", from(&w, SL_ROLE_WORKER, 1, push(&w, 1, 1, 0, 0, 0.25F)));
    sl_free(before);
    sl_free(after);
    close_world(&w);
}

/* Two steps of two slots, whose last additions differ from slot to slot: the sums of the second and the parameters after it. */
static void two_steps(struct sl_block_sums *ret_sums, float *ret_params, bool team)
{
    struct world w = new_world(0);
    if (!team)
        ps_server_use_team(w.server, NULL);
    for (int at = 0; at < 2; at++) {
        for (uint32_t slot = 0; slot < 2; slot++) {
            for (int b = 0; b < w.layout->block_count; b++) {
                struct sl_message *m = push(&w, at, 0, slot, b, 0.0F);
                for (int f = 0; f < m->frame_count; f++) {
                    float *values = m->frames[f].buffer->data;
                    for (size_t i = 0; i < m->frames[f].size / sizeof(float); i++)
                        values[i] = sinf((float)(i + 7 * slot + 13 * (size_t)f + (size_t)at));
                }
                (void)from(&w, SL_ROLE_WORKER, 1, m);
            }
        }
        const struct sl_message *reduced = w.updates.outbox.items[0].message;
        assert_int_equal(reduced->kind, SL_MESSAGE_REDUCED);
        memcpy(ret_sums, reduced->frames[0].data, reduced->frames[0].size);
        (void)control(&w, commit(at, at + 1));
    }
    assert_int_equal(ps_server_version(w.server), 2);
    ps_table_copy(w.table, ret_params, NULL, NULL);
    close_world(&w);
}

static void test_a_team_gives_the_same_bits(void **state)
{
    (void)state;
    struct world w = new_world(0); /* for its sizes */
    size_t blocks = (size_t)w.layout->block_count, count = w.layout->count;
    struct sl_block_sums *sums[2];
    float *params[2];
    for (int i = 0; i < 2; i++) {
        sums[i] = sl_alloc(blocks, sizeof(*sums[i]));
        params[i] = sl_alloc(count, sizeof(float));
        assert_true(sums[i] != NULL && params[i] != NULL);
        two_steps(sums[i], params[i], i == 1);
    }
    assert_memory_equal(sums[1], sums[0], blocks * sizeof(*sums[0]));
    assert_memory_equal(params[1], params[0], count * sizeof(float));
    for (int i = 0; i < 2; i++) {
        sl_free(sums[i]);
        sl_free(params[i]);
    }
    close_world(&w);
}

static void expect_block(struct world *w, int block, int *at)
{
    const struct sl_message *params = w->updates.outbox.items[*at].message;
    if (!ps_table_owns(w->table, block))
        return;
    struct sl_buffer *values = ps_table_share(w->table, block);
    assert_int_equal(params->kind, SL_MESSAGE_PARAMS);
    assert_int_equal(params->block, block);
    assert_ptr_equal(params->frames[0].data, values->data); /* from where it lies */
    sl_buffer_release(values);
    (*at)++;
}

/* All own blocks, as a forward pass reads them: each extractor, then its head; in the end the fusion. */
static void expect_params(struct world *w)
{
    int at = 0;
    assert_int_equal(w->updates.outbox.count, w->own_count);
    for (int m = 0; m <= w->config->modality_count; m++)
        for (int head = 0; head < 2; head++)
            for (int b = 0; b < w->layout->block_count; b++) {
                const struct sl_block *block = &w->layout->blocks[b];
                int stage = block->part == SL_PART_FUSION ? w->config->modality_count : block->modality;
                if (stage == m && (block->part == SL_PART_HEAD) == (head == 1) && at < w->own_count)
                    expect_block(w, b, &at);
            }
    assert_int_equal(at, w->own_count);
}

static void test_a_server_of_two_has_its_own_blocks_alone(void **state)
{
    (void)state;
    struct world w = world_of(1, 2, 0, SL_CONSISTENCY_BSP, 0);
    int other = 0;
    while (ps_table_owns(w.table, other))
        other++;
    dropped(&w, push(&w, 0, 1, 0, other, 1.0F));
    assert_int_equal(strncmp(push_all(&w, 0), "c<reduced 0; w1<ack", 19), 0);
    assert_int_equal(w.updates.outbox.items[0].message->frames[0].size,
            (size_t)w.own_count * sizeof(struct sl_block_sums));
    (void)from(&w, SL_ROLE_WORKER, 1, message(SL_MESSAGE_PULL, 0, 0));
    expect_params(&w);
    close_world(&w);
}

static int frozen_block(const struct world *w)
{
    int block = 0;
    while (!w->layout->blocks[block].frozen)
        block++;
    return block;
}

/* Nothing is pushed for a frozen block and nobody waits for that; it goes through versions as it is, without a copy. */
static void test_a_frozen_block(void **state)
{
    (void)state;
    freezes = true;
    struct world w = new_world(0);
    int frozen = frozen_block(&w);
    struct sl_buffer *held = ps_table_share(w.table, frozen); /* others have it too: a snapshot, a worker */
    dropped(&w, push(&w, 0, 1, 0, frozen, 1.0F));
    const char *line = "";
    for (int b = 0; b < w.layout->block_count; b++)
        if (b != frozen)
            line = from(&w, SL_ROLE_WORKER, 1, push(&w, 0, 1, 0, b, 0.25F));
    assert_int_equal(strncmp(line, "c<reduced 0; w1<ack", 19), 0);
    const struct sl_block_sums *sums = w.updates.outbox.items[0].message->frames[0].data;
    for (int b = 0; b < w.layout->block_count; b++)
        assert_true((sums[b].norm2 > 0.0) == (b != frozen));
    expect("c<applied 0 to 1", control(&w, commit(0, 1)));
    struct sl_buffer *now = ps_table_share(w.table, frozen);
    assert_ptr_equal(now, held);
    assert_int_equal(ps_table_version(w.table, frozen), 1);
    assert_true(ps_table_change(w.table, frozen).update2 == 0.0);
    sl_buffer_release(now);
    sl_buffer_release(held);
    close_world(&w);
    freezes = false;
}

static void test_a_server_of_frozen_blocks_alone(void **state)
{
    (void)state;
    freezes = true;
    struct world w = new_world(0);
    int rank = w.layout->block_count - 1; /* frozen blocks are placed last */
    close_world(&w);
    w = world_of(rank, rank + 1, 0, SL_CONSISTENCY_BSP, 0);
    assert_true(w.own_count == 1 && w.layout->blocks[w.own[0]].frozen);
    dropped_from(&w, SL_ROLE_COORDINATOR, commit(0, 2));
    dropped_from(&w, SL_ROLE_COORDINATOR, commit(1, 1)); /* which nobody can have opened */
    expect("c<applied 0 to 1", control(&w, commit(0, 1)));
    dropped_from(&w, SL_ROLE_COORDINATOR, commit(0, 1));
    expect("c<applied 1 to 2", control(&w, commit(1, 2)));
    (void)from(&w, SL_ROLE_WORKER, 1, message(SL_MESSAGE_PULL, 0, 2));
    expect_params(&w);
    close_world(&w);
    freezes = false;
}

static void test_pushes_that_are_acknowledged_but_not_added(void **state)
{
    (void)state;
    struct world w = new_world(3);
    expect("w1<ack 0.0 of block 0 at 3", from(&w, SL_ROLE_WORKER, 1, push(&w, 3, 0, 0, 0, 1.0F)));
    assert_int_equal(ps_server_dropped(w.server), 0);
    expect("w1<ack 0.0 of block 0 at 3", from(&w, SL_ROLE_WORKER, 1, push(&w, 3, 0, 0, 0, 1.0F)));
    expect("w2<ack 0.0 of block 0 at 3",
            from(&w, SL_ROLE_WORKER, 2, push(&w, 3, 0, 0, 0, 1.0F))); /* another worker was first */
    expect("w2<ack 0.0 of block 0 at 2",
            from(&w, SL_ROLE_WORKER, 2, push(&w, 2, 0, 0, 0, 1.0F))); /* a past step */
    assert_int_equal(ps_server_dropped(w.server), 3);
    close_world(&w);
}

static void test_pushes_that_fit_nothing_are_dropped(void **state)
{
    (void)state;
    struct world w = new_world(3);
    dropped(&w, push(&w, 4, 0, 0, 0, 1.0F)); /* a step to come */
    dropped(&w, push(&w, SL_STEP_MAX, 0, 0, 0, 1.0F));
    struct sl_message *m = push(&w, 3, 0, 0, 0, 1.0F);
    m->slots = 1; /* the step has two */
    dropped(&w, m);
    m = push(&w, 3, 0, 0, 0, 1.0F);
    m->block = (uint32_t)w.layout->block_count;
    dropped(&w, m);
    m = push(&w, 3, 0, 0, 0, 1.0F);
    m->cluster++; /* another run's */
    dropped(&w, m);
    m = push(&w, 3, 0, 0, 0, 1.0F);
    m->frames[0].size -= 4;
    dropped(&w, m);
    m = push(&w, 3, 0, 0, last_block(&w), 1.0F);
    sl_message_add_frame(m, m->frames[0].buffer, m->frames[0].data,
            m->frames[0].size); /* a tag that the block does not have */
    dropped(&w, m);
    m = push(&w, 3, 0, 0, 0, 1.0F);
    m->frame_count--;
    sl_buffer_release(m->frames[m->frame_count].buffer);
    dropped(&w, m);
    expect("w1<ack 0.0 of block 0 at 3", from(&w, SL_ROLE_WORKER, 1, push(&w, 3, 0, 0, 0, 1.0F)));
    expect("", control(&w, push(&w, 3, 0, 1, 0, 1.0F))); /* only workers push */
    close_world(&w);
}

static void test_commits_that_do_not_count(void **state)
{
    (void)state;
    struct world w = new_world(0);
    dropped_from(&w, SL_ROLE_COORDINATOR, commit(0, 1)); /* nothing is reduced */
    push_most(&w, 0);
    dropped_from(&w, SL_ROLE_COORDINATOR, commit(0, 1)); /* not all of it */
    (void)push_all(&w, 0);
    dropped_from(&w, SL_ROLE_COORDINATOR, commit(1, 1));
    dropped_from(&w, SL_ROLE_COORDINATOR, commit(0, 2));
    expect("", from(&w, SL_ROLE_WORKER, 1, commit(0, 1))); /* only the coordinator commits */
    assert_int_equal(ps_server_version(w.server), 0);
    expect("c<applied 0 to 1", control(&w, commit(0, 1)));
    close_world(&w);
}

/* In ssp with a bound of 2 three steps are open at a time, in any order; there is room for those that may be open, whatever else somebody pushes. */
static void test_steps_overlap(void **state)
{
    (void)state;
    struct world w = world_of(0, 1, 0, SL_CONSISTENCY_SSP, 2);
    dropped(&w, push(&w, 3, 1, 0, 0, 1.0F)); /* a fourth */
    (void)push_all(&w, 1);
    (void)from(&w, SL_ROLE_WORKER, 1, push(&w, 2, 0, 0, 0, 1.0F));
    expect("w2<ack 1.0 of block 0 at 0", from(&w, SL_ROLE_WORKER, 2, push(&w, 0, 1, 0, 0, 1.0F)));
    expect("c<applied 1 to 1", control(&w, commit(1, 1)));
    expect("w1<ack 1.0 of block 0 at 1",
            from(&w, SL_ROLE_WORKER, 1, push(&w, 1, 1, 0, 0, 1.0F))); /* applied */
    dropped(&w, push(&w, 4, 1, 0, 0, 1.0F));
    assert_int_equal(strncmp(push_all(&w, 3), "c<reduced 3", 11), 0);
    expect("c<applied 3 to 2", control(&w, commit(3, 2)));
    assert_int_equal(strncmp(push_all(&w, 0), "c<reduced 0", 11), 0);
    expect("c<applied 0 to 3", control(&w, commit(0, 3)));
    expect("w1<ack 1.0 of block 0 at 3", from(&w, SL_ROLE_WORKER, 1, push(&w, 3, 1, 0, 0, 1.0F)));
    close_world(&w);
}

static void test_asp_remembers_what_is_applied_within_a_window(void **state)
{
    (void)state;
    struct world w = world_of(0, 1, 0, SL_CONSISTENCY_ASP, 0);
    for (int64_t at = 1; at < PS_WINDOW_MAX; at++) {
        for (int i = 0; i < w.own_count; i++)
            (void)from(&w, SL_ROLE_WORKER, 1, push(&w, at, at % 3 == 2 ? 0 : 1, 0, w.own[i], 0.01F));
        (void)control(&w, commit(at, at));
        assert_int_equal(ps_server_version(w.server), at);
    }
    dropped(&w, push(&w, PS_WINDOW_MAX, 1, 0, 0, 1.0F)); /* step 0 is not applied yet */
    expect("w1<ack 1.0 of block 0 at 1", from(&w, SL_ROLE_WORKER, 1, push(&w, 1, 1, 0, 0, 1.0F)));
    (void)push_all(&w, 0);
    (void)control(&w, commit(0, PS_WINDOW_MAX));
    expect("w1<ack 1.0 of block 0 at 4096",
            from(&w, SL_ROLE_WORKER, 1, push(&w, PS_WINDOW_MAX, 1, 0, 0, 1.0F)));
    assert_int_equal(strncmp(push_all(&w, PS_WINDOW_MAX), "c<reduced 4096", 14), 0);
    close_world(&w);
}

static void test_a_gradient_that_is_not_finite_is_named_and_never_applied(void **state)
{
    (void)state;
    struct world w = new_world(0);
    float *before = sl_alloc_aligned(w.layout->count, sizeof(float)),
          *after = sl_alloc_aligned(w.layout->count, sizeof(float));
    ps_table_copy(w.table, before, NULL, NULL);
    push_most(&w, 0);
    const char *line = from(&w, SL_ROLE_WORKER, 1, push(&w, 0, 1, 0, last_block(&w), NAN));
    assert_int_equal(strncmp(line, "c<reduced 0; ", 13), 0);
    assert_non_null(strstr(w.updates.outbox.items[0].message->text, "of the gradient of fusion."));
    ps_table_copy(w.table, after, NULL, NULL);
    assert_memory_equal(before, after, w.layout->count * sizeof(float));
    sl_free(before);
    sl_free(after);
    close_world(&w);
}

/* ---- parameters ---- */

/* APPLIED tells of each own block what the update did to it. */
static void expect_changes(const struct world *w, const struct sl_message *applied)
{
    assert_int_equal(applied->kind, SL_MESSAGE_APPLIED);
    assert_int_equal(applied->version, 1);
    assert_int_equal(applied->frames[0].size, (size_t)w->own_count * sizeof(struct sl_block_change));
    for (int i = 0; i < w->own_count; i++) {
        struct sl_block_change told, change = ps_table_change(w->table, w->own[i]);
        memcpy(&told, (const char *)applied->frames[0].data + (size_t)i * sizeof(told), sizeof(told));
        assert_memory_equal(&told, &change, sizeof(told));
        assert_true(told.update2 > 0.0 && told.params2 > 0.0);
    }
}

static const char *work(struct world *w)
{
    return step(w, (struct ps_server_event){.kind = PS_SERVER_WORK});
}

/* How many blocks were sent to a worker in the last step, each with the values and the version that stand for it. */
static int sent_to(struct world *w, uint64_t worker, int64_t version)
{
    int count = 0;
    for (int i = 0; i < w->updates.outbox.count; i++) {
        const struct sl_outgoing *out = &w->updates.outbox.items[i];
        if (out->message->kind != SL_MESSAGE_PARAMS || out->to.id != worker)
            continue;
        struct sl_buffer *values = ps_table_share(w->table, (int)out->message->block);
        assert_ptr_equal(out->message->frames[0].data, values->data);
        assert_int_equal(out->message->version, version);
        assert_int_equal(ps_table_version(w->table, (int)out->message->block), version);
        sl_buffer_release(values);
        count++;
    }
    return count;
}

static struct world world_in_pieces(void)
{
    piece_floats = 1; /* a block at a time */
    struct world w = new_world(0);
    piece_floats = 0;
    ps_server_use_team(w.server, NULL);
    return w;
}

/* A commit piece by piece: those who wait get each block when it stands, those who come in between what stands already, and nobody a block of before. The version is the whole's. */
static void test_a_commit_in_pieces(void **state)
{
    (void)state;
    struct world w = world_in_pieces();
    int blocks = w.layout->block_count, updated = 1;
    (void)from(&w, SL_ROLE_WORKER, 1, message(SL_MESSAGE_PULL, 0, 1));
    (void)from(&w, SL_ROLE_WORKER, 9, message(SL_MESSAGE_PULL, 0, 2));
    (void)push_all(&w, 0);
    (void)control(&w, commit(0, 1));
    assert_int_equal(sent_to(&w, 1, 1), 1);
    assert_true(w.updates.more);
    (void)work(&w);
    updated++;
    assert_int_equal(sent_to(&w, 1, 1), 1);
    assert_int_equal(ps_server_version(w.server), 0);
    for (int64_t version = 0; version < 2; version++) { /* older ones too: soon there is nothing else */
        (void)from(&w, SL_ROLE_WORKER, 2 + (uint64_t)version, message(SL_MESSAGE_PULL, 0, version));
        assert_int_equal(sent_to(&w, 2 + (uint64_t)version, 1), updated);
    }
    expect("w1<ack 0.0 of block 0 at 0", from(&w, SL_ROLE_WORKER, 1, push(&w, 0, 0, 0, 0, 1.0F)));
    while (w.updates.more) {
        assert_true(updated < blocks);
        (void)work(&w);
        updated++;
        for (uint64_t worker = 1; worker <= 3; worker++)
            assert_int_equal(sent_to(&w, worker, 1), 1);
        assert_int_equal(sent_to(&w, 9, 1), 0);
        assert_int_equal(ps_server_version(w.server), updated == blocks ? 1 : 0);
    }
    assert_int_equal(updated, blocks);
    expect_changes(&w, w.updates.outbox.items[w.updates.outbox.count - 1].message);
    expect("", work(&w)); /* of nothing */
    (void)push_all(&w, 1);
    (void)control(&w, commit(1, 2));
    assert_int_equal(sent_to(&w, 1, 2), 0); /* it was answered */
    assert_int_equal(sent_to(&w, 9, 2), 1);
    close_world(&w);
}

/* In pieces or at once: the same values. What comes in between finds the new version whole. */
static void test_what_comes_between_pieces(void **state)
{
    (void)state;
    struct world once = new_world(0), w = world_in_pieces();
    (void)push_all(&once, 0);
    (void)control(&once, commit(0, 1));
    (void)push_all(&w, 0);
    (void)control(&w, commit(0, 1));
    assert_true(w.updates.more && !once.updates.more);
    (void)control(&w, message(SL_MESSAGE_SAVE, 0, 1));
    assert_false(w.updates.more);
    assert_int_equal(w.updates.outbox.items[0].message->kind, SL_MESSAGE_APPLIED);
    assert_int_equal(w.updates.outbox.count, 1 + w.layout->block_count);
    for (int b = 0; b < w.layout->block_count; b++) {
        struct sl_buffer *a = ps_table_share(once.table, b), *c = ps_table_share(w.table, b);
        assert_memory_equal(a->data, c->data, w.layout->blocks[b].count * sizeof(float));
        sl_buffer_release(a);
        sl_buffer_release(c);
    }
    (void)push_all(&w, 1);
    (void)control(&w, commit(1, 2));
    uint64_t dropped_before = ps_server_dropped(w.server);
    expect("c<applied 1 to 2", control(&w, commit(1, 2))); /* twice: it is completed, and not begun again */
    assert_int_equal(ps_server_dropped(w.server), dropped_before + 1);
    assert_int_equal(ps_server_version(w.server), 2);
    close_world(&w);
    close_world(&once);
}

static void test_pulls(void **state)
{
    (void)state;
    struct world w = new_world(0);
    int blocks = w.layout->block_count;
    (void)from(&w, SL_ROLE_WORKER, 1, message(SL_MESSAGE_PULL, 0, 0));
    expect_params(&w);
    expect("", from(&w, SL_ROLE_WORKER, 1, message(SL_MESSAGE_PULL, 0, 1))); /* kept until it stands */
    expect("", from(&w, SL_ROLE_WORKER, 2, message(SL_MESSAGE_PULL, 0, 1)));
    expect("", from(&w, SL_ROLE_WORKER, 2, message(SL_MESSAGE_PULL, 0, 1))); /* once */
    expect("", from(&w, SL_ROLE_WORKER, 3, message(SL_MESSAGE_PULL, 0, 1)));
    expect("", gone(&w, SL_ROLE_WORKER, 3)); /* does not wait any more */
    expect("", from(&w, SL_ROLE_WORKER, 4, message(SL_MESSAGE_PULL, 0, 2)));
    dropped(&w, message(SL_MESSAGE_PULL, 0, SL_STEP_MAX)); /* nobody can wait for that */
    (void)push_all(&w, 0);
    (void)control(&w, commit(0, 1));
    assert_int_equal(w.updates.outbox.count, 2 * blocks + 1);
    assert_true(w.updates.outbox.items[0].to.id == 1 && w.updates.outbox.items[blocks].to.id == 2);
    assert_int_equal(w.updates.outbox.items[0].message->version, 1);
    expect_changes(&w, w.updates.outbox.items[2 * blocks].message);
    (void)from(&w, SL_ROLE_WORKER, 1, message(SL_MESSAGE_PULL, 0, 0)); /* an older one → the newest */
    assert_int_equal(w.updates.outbox.count, blocks);
    assert_int_equal(w.updates.outbox.items[0].message->version, 1);
    close_world(&w);
}

static struct sl_message *pull_of(int64_t version, int64_t held)
{
    struct sl_message *m = message(SL_MESSAGE_PULL, 0, version);
    m->held = held;
    return m;
}

/* What is left out of an answer: all of a frozen block. It is relative to what the pull said, at once, after it was kept, and when a later pull took its place. */
static void expect_relative(struct world *w, int first, int64_t held)
{
    for (int i = 0; i < w->own_count; i++) {
        const struct sl_message *params = w->updates.outbox.items[first + i].message;
        bool frozen = w->layout->blocks[params->block].frozen;
        assert_int_equal(params->kind, SL_MESSAGE_PARAMS);
        assert_int_equal(params->encoding[0], frozen && held >= 0 ? SL_ENCODING_CHANGED : SL_ENCODING_DENSE);
        assert_int_equal(params->held, frozen ? held : -1);
        assert_int_equal(params->frames[0].size,
                frozen && held >= 0 ? 0 : w->layout->blocks[params->block].count * sizeof(float));
    }
}

static void test_pulls_say_what_is_held(void **state)
{
    (void)state;
    freezes = true;
    struct world w = new_world(3);
    int frozen = frozen_block(&w);
    (void)from(&w, SL_ROLE_WORKER, 1, pull_of(3, -1));
    expect_relative(&w, 0, -1);
    (void)from(&w, SL_ROLE_WORKER, 1, pull_of(3, 2)); /* of another run, or no version at all */
    assert_int_equal(w.updates.outbox.items[0].message->encoding[0], SL_ENCODING_DENSE);
    (void)from(&w, SL_ROLE_WORKER, 1, pull_of(3, SL_STEP_MAX)); /* of a version to come */
    for (int i = 0; i < w.own_count; i++)
        assert_int_equal(w.updates.outbox.items[i].message->encoding[0], SL_ENCODING_DENSE);
    expect("", from(&w, SL_ROLE_WORKER, 1, pull_of(4, 3)));
    expect("", from(&w, SL_ROLE_WORKER, 2, pull_of(4, 3)));
    expect("", from(&w, SL_ROLE_WORKER, 2, pull_of(4, -1))); /* it began anew, or lost it */
    for (int b = 0; b < w.layout->block_count; b++)
        if (b != frozen)
            (void)from(&w, SL_ROLE_WORKER, 1, push(&w, 3, 1, 0, b, 0.25F));
    (void)control(&w, commit(3, 4));
    assert_int_equal(w.updates.outbox.count, 2 * w.own_count + 1);
    expect_relative(&w, 0, 3);
    expect_relative(&w, w.own_count, -1);
    (void)from(&w, SL_ROLE_WORKER, 1, pull_of(4, 3));
    expect_relative(&w, 0, 3);
    close_world(&w);
    freezes = false;
}

static void test_waiting_pulls_are_bounded(void **state)
{
    (void)state;
    struct world w = new_world(0);
    for (uint64_t id = 0; id < 8192; id++)
        expect("", from(&w, SL_ROLE_WORKER, id, message(SL_MESSAGE_PULL, 0, 1)));
    assert_int_equal(ps_server_dropped(w.server), 0);
    expect("", from(&w, SL_ROLE_WORKER, 9000, message(SL_MESSAGE_PULL, 0, 1)));
    assert_int_equal(ps_server_dropped(w.server), 1);
    close_world(&w);
}

/* What went out keeps its bytes while the next version is made. */
static void test_parameters_on_their_way_stay_as_they_were(void **state)
{
    (void)state;
    struct world w = new_world(0);
    (void)from(&w, SL_ROLE_WORKER, 1, message(SL_MESSAGE_PULL, 0, 0));
    struct sl_buffer *sent = sl_buffer_retain(w.updates.outbox.items[0].message->frames[0].buffer);
    float first = ((const float *)sent->data)[0];
    (void)push_all(&w, 0);
    (void)control(&w, commit(0, 1));
    assert_true(((const float *)sent->data)[0] == first);
    struct sl_buffer *now = ps_table_share(w.table, 0);
    assert_true(((const float *)now->data)[0] != first);
    sl_buffer_release(now);
    sl_buffer_release(sent);
    close_world(&w);
}

static void test_a_snapshot_is_the_version_that_was_asked_for(void **state)
{
    (void)state;
    struct world w = world_of(1, 2, 3, SL_CONSISTENCY_BSP, 0);
    dropped_from(&w, SL_ROLE_COORDINATOR, message(SL_MESSAGE_SAVE, 0, 2));
    expect("", from(&w, SL_ROLE_WORKER, 1, message(SL_MESSAGE_SAVE, 0, 3)));
    (void)control(&w, message(SL_MESSAGE_SAVE, 0, 3));
    assert_int_equal(w.updates.outbox.count, w.own_count);
    for (int i = 0; i < w.own_count; i++) {
        const struct sl_message *saved = w.updates.outbox.items[i].message;
        const struct sl_block *block = &w.layout->blocks[w.own[i]];
        assert_true(
                saved->kind == SL_MESSAGE_SAVED && saved->block == (uint32_t)w.own[i] && saved->version == 3);
        assert_int_equal(saved->frame_count, 3); /* AdamW: values and two moments */
        assert_memory_equal(saved->frames[0].data, w.params + block->offset, block->count * sizeof(float));
    }
    struct sl_buffer *sent = sl_buffer_retain(w.updates.outbox.items[0].message->frames[0].buffer);
    (void)push_all(&w, 3);
    (void)control(&w, commit(3, 4));
    assert_memory_equal(sent->data, w.params + w.layout->blocks[w.own[0]].offset,
            w.layout->blocks[w.own[0]].count * sizeof(float)); /* while training goes on */
    sl_buffer_release(sent);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_a_push_that_is_sparse_counts_as_zeros),
            cmocka_unit_test(test_a_push_of_bf16_counts_as_its_numbers),
            cmocka_unit_test(test_it_joins_and_loads),
            cmocka_unit_test(test_numbers_of_an_epoch_that_cannot_be),
            cmocka_unit_test(test_ends),
            cmocka_unit_test(test_reports),
            cmocka_unit_test(test_a_step),
            cmocka_unit_test(test_a_team_gives_the_same_bits),
            cmocka_unit_test(test_a_server_of_two_has_its_own_blocks_alone),
            cmocka_unit_test(test_a_frozen_block),
            cmocka_unit_test(test_a_server_of_frozen_blocks_alone),
            cmocka_unit_test(test_pushes_that_are_acknowledged_but_not_added),
            cmocka_unit_test(test_pushes_that_fit_nothing_are_dropped),
            cmocka_unit_test(test_commits_that_do_not_count),
            cmocka_unit_test(test_steps_overlap),
            cmocka_unit_test(test_asp_remembers_what_is_applied_within_a_window),
            cmocka_unit_test(test_a_gradient_that_is_not_finite_is_named_and_never_applied),
            cmocka_unit_test(test_a_commit_in_pieces),
            cmocka_unit_test(test_what_comes_between_pieces),
            cmocka_unit_test(test_pulls),
            cmocka_unit_test(test_pulls_say_what_is_held),
            cmocka_unit_test(test_waiting_pulls_are_bounded),
            cmocka_unit_test(test_parameters_on_their_way_stay_as_they_were),
            cmocka_unit_test(test_a_snapshot_is_the_version_that_was_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
