/* Every module that allocates, with its n-th allocation failing for n = 1, 2, 3 … until it gets through: NO_MEMORY each time, no crash, no leak. What a scenario
 * makes before the failures begin lies in `set`, what it makes while they happen must be gone, or usable, when it returns. */
#include "common/codec.h"
#include "common/evaluation.h"
#include "common/json.h"
#include "common/memory.h"
#include "common/text.h"
#include "ps/coordinator.h"
#include "ps/server.h"
#include "ps/snapshot.h"
#include "tests/unit/ps/fixture.h"
#include "worker/core.h"
#include "worker/gradient_pool.h"

#define CLUSTER 77
#define ALLOCATIONS_MAX 5000 /* that a scenario may need */

static const char text[] =
        "labels: [{name: day, duration: 24h}, {name: week, duration: 7d}, {name: evergreen, duration: inf}]\n"
        "dataset: {train: t, validation: v}\n"
        "modalities:\n"
        "  - {name: visual, kind: vit, image: 16, patch: 8, hidden: 12, layers: 1, heads: 2, mlp: 16, "
        "frames: 2}\n"
        "  - {name: text, kind: bert, vocab: vocab.txt, vocab_size: 9, hidden: 8, layers: 1, heads: 2, mlp: "
        "8, max_tokens: 4}\n"
        "  - {name: audio, kind: features, in: 4, hidden: 8, freeze: [\"fc1.*\"]}\n"
        "fusion: {dim: 8, heads: 2, layers: 1, mlp: 8}\n"
        "batch: {slots: 4, slot_size: 2}\n"
        "snapshots: {dir: runs/a}\n";

static struct {
    struct sl_config *config; /* of the fixture: two modalities of features, 8 slots */
    struct sl_layout *layout;
    float *params;
} set;

static int set_up(void **state)
{
    (void)state;
    set.config = fixture_config();
    (void)snprintf(
            set.config->snapshots.keep_best, sizeof(set.config->snapshots.keep_best), "fused.accuracy");
    set.config->cluster.heartbeat_ms = 1000;
    set.config->cluster.timeout_ms = 5000;
    set.config->batch.slots = 2;
    set.layout = fixture_layout(set.config, 4096);
    set.params = fixture_vector(set.layout->count, 1, 0.1F);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sl_free(set.params);
    sl_layout_destroy(set.layout);
    sl_free(set.config);
    return 0;
}

/* Runs the scenario with its n-th allocation and all later ones failing, for growing n, until it succeeds. */
static void exhaust(enum sl_status (*scenario)(struct sl_error *err), int at_least)
{
    for (uint64_t n = 1; n < ALLOCATIONS_MAX; n++) {
        struct sl_error err = {0};
        sl_memory_fail_after(n);
        enum sl_status status = scenario(&err);
        sl_memory_fail_after(0);
        if (status == SL_OK) {
            assert_true(n > (uint64_t)at_least);
            return;
        }
        if (status != SL_NO_MEMORY)
            fail_msg("allocation %d fails: status %s, \"%s\"", (int)n, sl_status_name(status), err.text);
        assert_true(err.text[0] != 0);
    }
    fail_msg("it never gets through");
}

/* ---- common ---- */

static enum sl_status parse_config(struct sl_error *err)
{
    static const char *const overrides[] = {"modalities.text.layers=2", "seed=9"};
    SL_AUTO(sl_config_destroy_auto) struct sl_config *config = NULL;
    SL_AUTO_FREE char *dump = NULL;
    uint64_t hash = 0;
    enum sl_status status =
            sl_config_parse(&config, text, strlen(text), "run.yaml", "base", overrides, 2, false, err);
    if (status == SL_OK)
        status = sl_config_dump(&dump, config, err);
    if (status == SL_OK)
        status = sl_config_hash(&hash, config, err);
    return status;
}

static enum sl_status create_layout(struct sl_error *err)
{
    SL_AUTO(sl_layout_destroy_auto) struct sl_layout *layout = NULL;
    return sl_layout_create(&layout, set.config, 256, err);
}

static enum sl_status encode_and_decode(struct sl_error *err)
{
    SL_AUTO(sl_message_destroy_auto) struct sl_message *sent = sl_message_create(SL_MESSAGE_HELLO);
    SL_AUTO(sl_message_destroy_auto) struct sl_message *got = NULL;
    unsigned char bytes[SL_HEADER_SIZE_MAX];
    size_t size = 0;
    if (sent == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a message");
    (void)snprintf(sent->hello.host, sizeof(sent->hello.host), "host");
    (void)snprintf(sent->text, sizeof(sent->text), "text");
    enum sl_status status = sl_codec_encode(sent, bytes, &size, err);
    return status == SL_OK ? sl_codec_decode(&got, bytes, size, err) : status;
}

static enum sl_status evaluate(struct sl_error *err)
{
    SL_AUTO(sl_evaluation_destroy_auto) struct sl_evaluation *whole = NULL;
    SL_AUTO(sl_evaluation_destroy_auto) struct sl_evaluation *part = NULL;
    static const float logits[3] = {1.0F, 2.0F, 0.0F};
    static const char *const names[3] = {"a", "b", "c"};
    enum sl_status status = sl_evaluation_create(&whole, 3, 3, err);
    if (status == SL_OK)
        status = sl_evaluation_create(&part, 3, 3, err);
    if (status == SL_OK)
        status = sl_evaluation_add_logits(part, 2, logits, 1, err);
    if (status == SL_OK)
        status = sl_evaluation_merge(whole, part, err);
    if (status != SL_OK)
        return status;
    struct sl_json json;
    const char *line = NULL;
    size_t size = 0;
    sl_json_init(&json, 1 << 20);
    sl_evaluation_json(whole, &json, NULL, names, names);
    status = sl_json_finish(&json, &line, &size, err);
    sl_json_fini(&json);
    return status;
}

static void test_common(void **state)
{
    (void)state;
    exhaust(parse_config, 10);
    exhaust(create_layout, 2);
    exhaust(encode_and_decode, 3);
    exhaust(evaluate, 6);
}

/* ---- worker ---- */

static enum sl_status take_gradients(struct sl_error *err)
{
    struct wk_gradient_pool *pool = NULL;
    struct sl_buffer *first = NULL, *second = NULL;
    enum sl_status status = wk_gradient_pool_create(&pool, set.layout, err);
    if (status == SL_OK)
        status = wk_gradient_pool_take(pool, &first, err);
    if (status == SL_OK)
        status = wk_gradient_pool_take(pool, &second, err);
    sl_buffer_release(first);
    sl_buffer_release(second);
    wk_gradient_pool_destroy(pool);
    return status;
}

/* A message of the coordinator or server, made while nothing fails. */
static struct sl_message *make(enum sl_message_kind kind)
{
    struct sl_message *m = sl_message_create(kind);
    assert_non_null(m);
    m->cluster = CLUSTER;
    m->slots = 2;
    m->end = 2;
    m->node = (struct sl_node){1, 0};
    return m;
}

static struct sl_buffer *zeros(size_t size)
{
    struct sl_buffer *buffer = sl_buffer_create(size);
    assert_non_null(buffer);
    return buffer;
}

static void add_frame(struct sl_message *m, size_t size)
{
    struct sl_buffer *buffer = zeros(size);
    sl_message_add_frame(m, buffer, buffer->data, size);
    sl_buffer_release(buffer);
}

static struct sl_message *from_server[64];
static int from_server_count;

static enum sl_status worker_life(struct sl_error *err)
{
    struct wk_core *core = NULL;
    struct wk_updates updates = {0};
    struct wk_core_options options = {
            .layout = set.layout, .slots = 2, .slot_size = 4, .heartbeat_us = 1000, .timeout_us = 100000};
    options.hello = (struct sl_hello){.train_count = 8, .validation_count = 4};
    struct sl_step_stats stats = {.count = 8};
    static struct sl_buffer gradients; /* never freed: the count stays above 0 */
    atomic_store(&gradients.references, 1);
    gradients.data = set.params;
    struct wk_event start = {.kind = WK_EVENT_START}, done = {.kind = WK_EVENT_NODE_DONE,
                                                              .node = {1, 0},
                                                              .stats = &stats,
                                                              .gradients = &gradients};
    enum sl_status status = wk_core_create(&core, &options, set.params, err);
    if (status == SL_OK)
        status = wk_core_step(core, &start, &updates, err);
    for (int i = 0; i < from_server_count && status == SL_OK; i++) {
        struct wk_event event = {.kind = WK_EVENT_MESSAGE, .message = from_server[i]};
        status = wk_core_step(core, &event, &updates, err);
        if (status == SL_OK && updates.action.kind == WK_ACTION_COMPUTE)
            status = wk_core_step(core, &done, &updates, err);
    }
    sl_outbox_fini(&updates.outbox);
    wk_core_destroy(core);
    return status;
}

static void test_worker(void **state)
{
    (void)state;
    exhaust(take_gradients, 5);
    from_server[from_server_count++] = make(SL_MESSAGE_WELCOME);
    from_server[from_server_count++] = make(SL_MESSAGE_ASSIGN);
    for (int kind = SL_MESSAGE_PARAMS; kind <= SL_MESSAGE_ACK; kind += SL_MESSAGE_ACK - SL_MESSAGE_PARAMS) {
        for (int b = 0; b < set.layout->block_count; b++) {
            struct sl_message *m = make((enum sl_message_kind)kind);
            m->block = (uint32_t)b;
            if (kind == SL_MESSAGE_PARAMS)
                add_frame(m, set.layout->blocks[b].count * sizeof(float));
            from_server[from_server_count++] = m;
        }
    }
    exhaust(worker_life, 10);
    for (int i = 0; i < from_server_count; i++)
        sl_message_destroy(from_server[i]);
}

/* ---- server ---- */

/* The halves of one node for every block, then COMMIT; made anew for every try, because the server takes the frames. */
static struct sl_message *to_server[64];
static int to_server_count;

static void make_server_messages(void)
{
    to_server_count = 0;
    to_server[to_server_count++] = make(SL_MESSAGE_PULL);
    to_server[to_server_count] = make(SL_MESSAGE_PULL);
    to_server[to_server_count++]->step = 1;
    for (int i = 0; i < 2 * set.layout->block_count; i++) {
        const struct sl_block *block = &set.layout->blocks[i / 2];
        struct sl_message *m = make(SL_MESSAGE_PUSH);
        m->block = (uint32_t)(i / 2);
        m->node = (struct sl_node){0, (uint32_t)i % 2};
        for (int tag = 0; tag < SL_TAGS; tag++)
            if (block->tagged[tag])
                add_frame(m, block->count * sizeof(float));
        to_server[to_server_count++] = m;
    }
    to_server[to_server_count++] = make(SL_MESSAGE_COMMIT);
}

static enum sl_status server_life(struct sl_error *err)
{
    struct ps_table *table = NULL;
    struct ps_server *server = NULL;
    struct sl_outbox outbox = {0};
    struct ps_optimiser optimiser = ps_optimiser_from_config(set.config);
    enum sl_status status = ps_table_create(&table, set.layout, &optimiser, NULL, 0, err);
    if (status == SL_OK)
        status = ps_table_load(table, set.params, NULL, NULL, 0, err);
    if (status == SL_OK)
        status = ps_server_create(&server, set.config, set.layout, table, CLUSTER, err);
    for (int i = 0; i < to_server_count && status == SL_OK; i++) {
        struct sl_address from = {
                to_server[i]->kind == SL_MESSAGE_COMMIT ? SL_ROLE_SERVER : SL_ROLE_WORKER, 1};
        status = ps_server_step(server, from, to_server[i], &outbox, err);
    }
    assert_true(status != SL_OK || ps_server_version(server) == 1);
    sl_outbox_fini(&outbox);
    ps_server_destroy(server);
    ps_table_destroy(table);
    return status;
}

static void test_server(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct sl_error err = {0};
        make_server_messages();
        sl_memory_fail_after(n);
        enum sl_status status = server_life(&err);
        sl_memory_fail_after(0);
        for (int i = 0; i < to_server_count; i++)
            sl_message_destroy(to_server[i]);
        if (status == SL_OK) {
            assert_true(n > 50);
            return;
        }
        if (status != SL_NO_MEMORY || err.text[0] == 0 || n >= ALLOCATIONS_MAX)
            fail_msg("allocation %d fails: status %s, \"%s\"", (int)n, sl_status_name(status), err.text);
    }
}

static enum sl_status capture(struct sl_error *err)
{
    SL_AUTO(ps_snapshot_destroy_auto) struct ps_snapshot *snapshot = NULL;
    SL_AUTO(ps_table_destroy_auto) struct ps_table *table = NULL;
    struct ps_optimiser optimiser = ps_optimiser_from_config(set.config);
    struct ps_manifest manifest = {.training = ps_training_begin()};
    struct ps_attachment attachment = {"config.yaml", text, sizeof(text)};
    struct ps_snapshot_source source = {set.layout, NULL, &manifest, &attachment, 1};
    char *manifest_text = NULL;
    size_t size = 0;
    enum sl_status status = ps_table_create(&table, set.layout, &optimiser, NULL, 0, err);
    source.table = table;
    if (status == SL_OK)
        status = ps_snapshot_capture(&snapshot, &source, err);
    if (status == SL_OK)
        status = ps_manifest_write(&manifest_text, &size, &manifest, err);
    sl_free(manifest_text);
    return status;
}

static void test_snapshot(void **state)
{
    (void)state;
    exhaust(capture, 10);
}

/* ---- coordinator ---- */

static struct sl_message *to_coordinator[8];

/* Two workers come, one goes, the other computes the step of the epoch and validates; then a signal. */
static enum sl_status coordinator_life(struct sl_error *err)
{
    struct ps_coordinator *c = NULL;
    struct ps_updates updates = {0};
    struct ps_coordinator_options options = {set.config, set.layout, 0, CLUSTER, ps_training_begin()};
    struct sl_address first = {SL_ROLE_WORKER, 1}, second = {SL_ROLE_WORKER, 2}, server = {SL_ROLE_SERVER, 0};
    struct ps_event events[] = {
            {.kind = PS_EVENT_MESSAGE, .from = first, .message = to_coordinator[0]},
            {.kind = PS_EVENT_MESSAGE, .from = second, .message = to_coordinator[0]},
            {.kind = PS_EVENT_TICK},
            {.kind = PS_EVENT_GONE, .from = first},
            {.kind = PS_EVENT_MESSAGE, .from = second, .message = to_coordinator[1]},
            {.kind = PS_EVENT_MESSAGE, .from = server, .message = to_coordinator[2]},
            {.kind = PS_EVENT_MESSAGE, .from = server, .message = to_coordinator[3]},
            {.kind = PS_EVENT_MESSAGE, .from = first, .message = to_coordinator[5]},
            {.kind = PS_EVENT_MESSAGE, .from = second, .message = to_coordinator[4]},
            {.kind = PS_EVENT_STOP, .status = SL_STOPPED, .text = "SIGTERM"},
            {.kind = PS_EVENT_SNAPSHOT_WRITTEN, .text = ""},
    };
    enum sl_status status = ps_coordinator_create(&c, &options, err);
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]) && status == SL_OK; i++)
        status = ps_coordinator_step(c, &events[i], &updates, err);
    assert_true(status != SL_OK || ps_coordinator_training(c)->validated_step == 1);
    sl_outbox_fini(&updates.outbox);
    ps_coordinator_destroy(c);
    return status;
}

static void test_coordinator(void **state)
{
    (void)state;
    to_coordinator[0] = make(SL_MESSAGE_HELLO);
    to_coordinator[0]->hello =
            (struct sl_hello){.layout_hash = set.layout->hash, .train_count = 8, .validation_count = 4};
    to_coordinator[1] = make(SL_MESSAGE_STATS);
    to_coordinator[1]->stats = (struct sl_step_stats){.count = 8, .weight_sum = 8.0};
    to_coordinator[2] = make(SL_MESSAGE_REDUCED);
    add_frame(to_coordinator[2], (size_t)set.layout->block_count * sizeof(struct sl_block_sums));
    to_coordinator[3] = make(SL_MESSAGE_APPLIED);
    to_coordinator[3]->step = 1;
    to_coordinator[4] = make(SL_MESSAGE_VALIDATED);
    to_coordinator[4]->step = 1;
    to_coordinator[4]->end = 1;
    add_frame(to_coordinator[4], sl_evaluation_int_count(3, 3) * sizeof(int64_t) +
                                         sl_evaluation_double_count(3, 3) * sizeof(double));
    to_coordinator[5] = make(SL_MESSAGE_HELLO); /* of another config */
    to_coordinator[5]->hello.config_hash = 1;
    exhaust(coordinator_life, 15);
    for (int i = 0; i < 6; i++)
        sl_message_destroy(to_coordinator[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_common),
            cmocka_unit_test(test_worker),
            cmocka_unit_test(test_server),
            cmocka_unit_test(test_snapshot),
            cmocka_unit_test(test_coordinator),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
