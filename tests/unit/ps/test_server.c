/* The server's decisions, one test for a row of its tables: pushes that count and that do not, reduction, commit, pulls at once and later. */
#include "ps/server.h"

#include "tests/unit/ps/fixture.h"
#include "tests/unit/ps/trace.h"

#include <math.h>

#define CLUSTER 77

struct world {
    struct sl_config *config;
    struct sl_layout *layout;
    struct ps_table *table;
    struct ps_server *server;
    struct sl_outbox outbox;
    struct sl_text text;
};

static struct sl_error err;

static struct world new_world(int64_t version)
{
    struct world w = {.config = fixture_config()};
    w.layout = fixture_layout(w.config, 4096); /* one block for each head and extractor, two for the fusion */
    sl_text_init(&w.text, 1 << 20);
    struct ps_optimiser optimiser = ps_optimiser_from_config(w.config);
    float *params = fixture_vector(w.layout->count, 1, 1.0F);
    assert_int_equal(ps_table_create(&w.table, w.layout, &optimiser, NULL, 0, &err), SL_OK);
    assert_int_equal(ps_table_load(w.table, params, NULL, NULL, version, &err), SL_OK);
    assert_int_equal(ps_server_create(&w.server, w.config, w.layout, w.table, CLUSTER, &err), SL_OK);
    assert_int_equal(ps_server_version(w.server), version);
    sl_free(params);
    return w;
}

static void close_world(struct world *w)
{
    sl_outbox_fini(&w->outbox);
    ps_server_destroy(w->server);
    ps_table_destroy(w->table);
    sl_text_fini(&w->text);
    sl_layout_destroy(w->layout);
    sl_free(w->config);
}

/* Takes the message. */
static const char *from(struct world *w, enum sl_role role, uint64_t id, struct sl_message *m)
{
    const char *line = NULL;
    if (ps_server_step(w->server, (struct sl_address){role, id}, m, &w->outbox, &err) != SL_OK)
        fail_msg("%s", err.text);
    sl_message_destroy(m);
    sl_text_reset(&w->text);
    trace_outbox(&w->text, &w->outbox);
    if (sl_text_finish(&w->text, &line, NULL, &err) != SL_OK)
        fail_msg("%s", err.text);
    return line;
}

static struct sl_message *message(enum sl_message_kind kind, int64_t step)
{
    struct sl_message *m = sl_message_create(kind);
    assert_non_null(m);
    m->cluster = CLUSTER;
    m->step = step;
    return m;
}

/* A push of a step of two slots, all numbers `value`. */
static struct sl_message *push(
        struct world *w, int64_t step, uint32_t level, uint32_t index, int block, float value)
{
    struct sl_message *m = message(SL_MESSAGE_PUSH, step);
    const struct sl_block *place = &w->layout->blocks[block];
    m->slots = 2;
    m->node = (struct sl_node){level, index};
    m->block = (uint32_t)block;
    for (int tag = 0; tag < SL_TAGS; tag++) {
        if (!place->tagged[tag])
            continue;
        struct sl_buffer *buffer = sl_buffer_create(place->count * sizeof(float));
        assert_non_null(buffer);
        for (size_t i = 0; i < place->count; i++)
            ((float *)buffer->data)[i] = value;
        sl_message_add_frame(m, buffer, buffer->data, buffer->size);
        sl_buffer_release(buffer);
    }
    return m;
}

static struct sl_message *commit(int64_t step)
{
    struct sl_message *m = message(SL_MESSAGE_COMMIT, step);
    m->commit =
            (struct sl_commit){.inverse_weight = 0.5, .clip = 1.0, .rate = 1e-3, .coefficient = {0.5, 1.0}};
    return m;
}

#define expect(trace, event) assert_string_equal(event, trace)

static int last_block(const struct world *w)
{
    return w->layout->block_count - 1;
}

/* Both slots of all blocks but the last one, in one node. */
static void push_most(struct world *w, int64_t step)
{
    for (int b = 0; b < last_block(w); b++)
        (void)from(w, SL_ROLE_WORKER, 1, push(w, step, 1, 0, b, 0.25F));
}

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
    assert_int_equal(strncmp(line, "ps<reduced 0; w2<ack 0.0 of block", 33), 0);
    const struct sl_message *reduced = w.outbox.items[0].message;
    const struct sl_block_sums *sums = reduced->frames[0].data;
    assert_int_equal(reduced->text[0], 0);
    assert_int_equal(reduced->frames[0].size, (size_t)w.layout->block_count * sizeof(*sums));
    for (int b = 0; b < w.layout->block_count; b++)
        assert_true(sums[b].norm2 > 0.0 && sums[b].norm2 >= sums[b].fused2);
    expect("ps<applied 1", from(&w, SL_ROLE_SERVER, 0, commit(0)));
    assert_int_equal(ps_server_version(w.server), 1);
    ps_table_copy(w.table, after, NULL, NULL);
    assert_memory_not_equal(before, after, w.layout->count * sizeof(float));
    expect("", from(&w, SL_ROLE_SERVER, 0, commit(0))); /* applied before */
    expect("w1<ack 1.0 of block 0 at 1", from(&w, SL_ROLE_WORKER, 1, push(&w, 1, 1, 0, 0, 0.25F)));
    sl_free(before);
    sl_free(after);
    close_world(&w);
}

static void test_pushes_that_are_acknowledged_but_not_added(void **state)
{
    (void)state;
    struct world w = new_world(3);
    expect("w1<ack 0.0 of block 0 at 3", from(&w, SL_ROLE_WORKER, 1, push(&w, 3, 0, 0, 0, 1.0F)));
    assert_int_equal(ps_server_dropped(w.server), 0);
    expect("w1<ack 0.0 of block 0 at 3",
            from(&w, SL_ROLE_WORKER, 1, push(&w, 3, 0, 0, 0, 1.0F))); /* a resend */
    expect("w2<ack 0.0 of block 0 at 3",
            from(&w, SL_ROLE_WORKER, 2, push(&w, 3, 0, 0, 0, 1.0F))); /* another worker was first */
    expect("w2<ack 0.1 of block 0 at 2",
            from(&w, SL_ROLE_WORKER, 2, push(&w, 2, 0, 1, 0, 1.0F))); /* a past step */
    assert_int_equal(ps_server_dropped(w.server), 3);
    close_world(&w);
}

static void dropped(struct world *w, struct sl_message *m)
{
    uint64_t before = ps_server_dropped(w->server);
    expect("", from(w, SL_ROLE_WORKER, 1, m));
    assert_int_equal(ps_server_dropped(w->server), before + 1);
}

static void test_pushes_that_fit_nothing_are_dropped(void **state)
{
    (void)state;
    struct world w = new_world(3);
    dropped(&w, push(&w, 4, 0, 0, 0, 1.0F)); /* a step to come */
    struct sl_message *m = push(&w, 3, 0, 0, 0, 1.0F);
    m->slots = 9; /* more than a step has */
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
    m = push(&w, 3, 0, 0, 0, 1.0F);
    m->slots = 1; /* the step has two slots since the first push */
    dropped(&w, m);
    close_world(&w);
}

static void test_pulls(void **state)
{
    (void)state;
    struct world w = new_world(0);
    int blocks = w.layout->block_count;
    (void)from(&w, SL_ROLE_WORKER, 1, message(SL_MESSAGE_PULL, 0));
    assert_int_equal(w.outbox.count, blocks);
    for (int b = 0; b < blocks; b++) {
        const struct sl_message *params = w.outbox.items[b].message;
        struct sl_buffer *values = ps_table_share(w.table, b);
        assert_int_equal(params->kind, SL_MESSAGE_PARAMS);
        assert_int_equal(params->block, b);
        assert_ptr_equal(params->frames[0].data, values->data); /* from where it lies */
        sl_buffer_release(values);
    }
    expect("", from(&w, SL_ROLE_WORKER, 1, message(SL_MESSAGE_PULL, 1))); /* kept until it stands */
    expect("", from(&w, SL_ROLE_WORKER, 2, message(SL_MESSAGE_PULL, 1)));
    expect("", from(&w, SL_ROLE_WORKER, 2, message(SL_MESSAGE_PULL, 1))); /* once */
    dropped(&w, message(SL_MESSAGE_PULL, 2));                             /* cannot come next */
    push_most(&w, 0);
    (void)from(&w, SL_ROLE_WORKER, 1, push(&w, 0, 1, 0, last_block(&w), 1.0F));
    (void)from(&w, SL_ROLE_SERVER, 0, commit(0));
    assert_int_equal(w.outbox.count, 2 * blocks + 1);
    assert_true(w.outbox.items[0].to.id == 1 && w.outbox.items[blocks].to.id == 2);
    assert_int_equal(w.outbox.items[0].message->step, 1);
    assert_int_equal(w.outbox.items[2 * blocks].message->kind, SL_MESSAGE_APPLIED);
    dropped(&w, message(SL_MESSAGE_PULL, 0)); /* past */
    close_world(&w);
}

static void test_waiting_pulls_are_bounded(void **state)
{
    (void)state;
    struct world w = new_world(0);
    for (uint64_t id = 0; id < 4096; id++)
        expect("", from(&w, SL_ROLE_WORKER, id, message(SL_MESSAGE_PULL, 1)));
    assert_int_equal(ps_server_dropped(w.server), 0);
    struct sl_message *m = message(SL_MESSAGE_PULL, 1);
    expect("", from(&w, SL_ROLE_WORKER, 5000, m));
    assert_int_equal(ps_server_dropped(w.server), 1);
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
    assert_int_equal(strncmp(line, "ps<reduced 0; ", 14), 0);
    assert_non_null(strstr(w.outbox.items[0].message->text, "of the gradient of fusion."));
    ps_table_copy(w.table, after, NULL, NULL);
    assert_memory_equal(before, after, w.layout->count * sizeof(float));
    sl_free(before);
    sl_free(after);
    close_world(&w);
}

static void test_commits_that_do_not_count(void **state)
{
    (void)state;
    struct world w = new_world(0);
    dropped(&w, message(SL_MESSAGE_PULL, 7));
    expect("", from(&w, SL_ROLE_SERVER, 0, commit(0))); /* nothing is reduced */
    (void)from(&w, SL_ROLE_WORKER, 1, push(&w, 0, 1, 0, 0, 1.0F));
    expect("", from(&w, SL_ROLE_SERVER, 0, commit(0))); /* not all of it */
    push_most(&w, 0);
    (void)from(&w, SL_ROLE_WORKER, 1, push(&w, 0, 1, 0, last_block(&w), 1.0F));
    expect("", from(&w, SL_ROLE_SERVER, 0, commit(1)));
    expect("", from(&w, SL_ROLE_WORKER, 1, commit(0))); /* only the coordinator commits */
    expect("", from(&w, SL_ROLE_WORKER, 1, message(SL_MESSAGE_HEARTBEAT, 0)));
    assert_int_equal(ps_server_version(w.server), 0);
    expect("ps<applied 1", from(&w, SL_ROLE_SERVER, 0, commit(0)));
    close_world(&w);
}

/* What went out keeps its bytes while the next version is made. */
static void test_parameters_on_their_way_stay_as_they_were(void **state)
{
    (void)state;
    struct world w = new_world(0);
    (void)from(&w, SL_ROLE_WORKER, 1, message(SL_MESSAGE_PULL, 0));
    struct sl_buffer *sent = sl_buffer_retain(w.outbox.items[0].message->frames[0].buffer);
    float first = ((const float *)sent->data)[0];
    push_most(&w, 0);
    (void)from(&w, SL_ROLE_WORKER, 1, push(&w, 0, 1, 0, last_block(&w), 1.0F));
    (void)from(&w, SL_ROLE_SERVER, 0, commit(0));
    assert_true(((const float *)sent->data)[0] == first);
    struct sl_buffer *now = ps_table_share(w.table, 0);
    assert_true(((const float *)now->data)[0] != first);
    sl_buffer_release(now);
    sl_buffer_release(sent);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_a_step),
            cmocka_unit_test(test_pushes_that_are_acknowledged_but_not_added),
            cmocka_unit_test(test_pushes_that_fit_nothing_are_dropped),
            cmocka_unit_test(test_pulls),
            cmocka_unit_test(test_waiting_pulls_are_bounded),
            cmocka_unit_test(test_a_gradient_that_is_not_finite_is_named_and_never_applied),
            cmocka_unit_test(test_commits_that_do_not_count),
            cmocka_unit_test(test_parameters_on_their_way_stay_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
