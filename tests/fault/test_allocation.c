/* Every module that allocates, with its n-th allocation failing for n = 1, 2, 3 … until it gets through: NO_MEMORY each time, no crash, no leak. What a scenario
 * makes before the failures begin lies in `set`, what it makes while they happen must be gone, or usable, when it returns. */
#include "common/codec.h"
#include "common/evaluation.h"
#include "common/json.h"
#include "common/memory.h"
#include "common/placement.h"
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
    struct sl_plan *plan; /* one step of two slots */
    int *owners;          /* (block_count,) of two servers */
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
    struct sl_plan_options plan = {.count = 8, .slots = 2, .slot_size = 4};
    struct sl_error err = {0};
    set.owners = sl_alloc((size_t)set.layout->block_count, sizeof(int));
    if (set.owners == NULL || sl_plan_create(&set.plan, &plan, &err) != SL_OK)
        return -1;
    sl_placement_make(set.layout, 2, set.owners);
    set.params = fixture_vector(set.layout->count, 1, 0.1F);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sl_free(set.params);
    sl_free(set.owners);
    sl_plan_destroy(set.plan);
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
        status = wk_gradient_pool_take(pool, NULL, &first, err);
    if (status == SL_OK)
        status = wk_gradient_pool_take(pool, NULL, &second, err);
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

static void add_bytes(struct sl_message *m, const void *bytes, size_t size)
{
    struct sl_buffer *buffer = zeros(size);
    if (bytes != NULL)
        memcpy(buffer->data, bytes, size);
    sl_message_add_frame(m, buffer, buffer->data, size);
    sl_buffer_release(buffer);
}

static void add_frame(struct sl_message *m, size_t size)
{
    add_bytes(m, NULL, size);
}

static struct sl_message *from_server[64];
static int from_server_count;

/* It joins two servers, computes a step and begins anew. */
static enum sl_status worker_life(struct sl_error *err)
{
    struct wk_core *core = NULL;
    struct wk_updates updates = {0};
    struct wk_core_options options = {.layout = set.layout,
            .plan = set.plan,
            .slot_size = 4,
            .join_us = 1000000,
            .report_us = 1,
            .hello = {.train_count = 8, .validation_count = 4}};
    struct sl_step_stats stats = {.count = 8};
    static struct sl_buffer gradients; /* never freed: the count stays above 0 */
    atomic_store(&gradients.references, 1);
    gradients.data = set.params;
    struct wk_event start = {.kind = WK_EVENT_START}, tick = {.kind = WK_EVENT_TICK, .now_us = 5},
                    leave = {.kind = WK_EVENT_LEAVE, .text = "SIGTERM"},
                    done = {.kind = WK_EVENT_NODE_DONE,
                            .node = {1, 0},
                            .stats = &stats,
                            .gradients = &gradients},
                    blocks = {.kind = WK_EVENT_BLOCKS_DONE,
                            .node = {1, 0},
                            .blocks = &(int){0},
                            .block_count = 1,
                            .gradients = &gradients};
    enum sl_status status = wk_core_create(&core, &options, set.params, err);
    if (status == SL_OK)
        status = wk_core_step(core, &start, &updates, err);
    for (int i = 0; i < from_server_count && status == SL_OK; i++) {
        struct wk_event event = {.kind = WK_EVENT_MESSAGE, .from = SL_COORDINATOR, .message = from_server[i]};
        bool of_block = from_server[i]->kind == SL_MESSAGE_PARAMS || from_server[i]->kind == SL_MESSAGE_ACK;
        if (of_block && set.owners[from_server[i]->block] == 1)
            event.from = (struct sl_address){SL_ROLE_SERVER, 101};
        status = wk_core_step(core, &event, &updates, err);
        if (status == SL_OK && updates.action.kind == WK_ACTION_COMPUTE)
            done.run = blocks.run = updates.action.run;
        if (status == SL_OK && updates.arrived == set.layout->block_count - 1) {
            status = wk_core_step(core, &blocks, &updates, err);
            if (status == SL_OK)
                status = wk_core_step(core, &done, &updates, err);
        }
    }
    assert_true(status != SL_OK || strcmp(wk_core_doing(core), "idle") == 0);
    if (status == SL_OK)
        status = wk_core_step(core, &tick, &updates, err);
    if (status == SL_OK)
        status = wk_core_step(core, &leave, &updates, err);
    sl_outbox_fini(&updates.outbox);
    wk_core_destroy(core);
    return status;
}

static void test_worker(void **state)
{
    (void)state;
    exhaust(take_gradients, 5);
    struct sl_server_entry list[2] = {{100, ""}, {101, "tcp://h:1"}};
    from_server[from_server_count] = make(SL_MESSAGE_WELCOME);
    from_server[from_server_count]->count = 2;
    add_bytes(from_server[from_server_count++], list, sizeof(list));
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

/* It joins and loads, is pulled from, gets the halves of one node for every block, then COMMIT and SAVE; made anew for every try, because the server takes the frames. */
static struct sl_message *to_server[128];
static int to_server_count;

static void add_block_message(enum sl_message_kind kind, int b)
{
    const struct sl_block *block = &set.layout->blocks[b];
    struct sl_message *m = make(kind);
    assert_true(to_server_count < 128);
    m->block = (uint32_t)b;
    m->count = 2;
    for (int tag = 0; tag < SL_TAGS; tag++)
        if (kind == SL_MESSAGE_LOAD || block->tagged[tag])
            add_frame(m, block->count * sizeof(float));
    to_server[to_server_count++] = m;
}

static void make_server_messages(void)
{
    to_server_count = 0;
    to_server[to_server_count++] = make(SL_MESSAGE_WELCOME);
    for (int b = 0; b < set.layout->block_count; b++)
        add_block_message(SL_MESSAGE_LOAD, b);
    to_server[to_server_count++] = make(SL_MESSAGE_PULL);
    to_server[to_server_count] = make(SL_MESSAGE_PULL);
    to_server[to_server_count++]->version = 1;
    for (int i = 0; i < 2 * set.layout->block_count; i++) {
        add_block_message(SL_MESSAGE_PUSH, i / 2);
        to_server[to_server_count - 1]->node = (struct sl_node){0, (uint32_t)i % 2};
    }
    to_server[to_server_count] = make(SL_MESSAGE_COMMIT);
    to_server[to_server_count++]->version = 1;
    to_server[to_server_count] = make(SL_MESSAGE_SAVE);
    to_server[to_server_count++]->version = 1;
}

static enum sl_status server_life(struct sl_error *err)
{
    struct ps_table *table = NULL;
    struct ps_server *server = NULL;
    struct ps_server_updates updates = {0};
    struct ps_optimiser optimiser = ps_optimiser_from_config(set.config);
    enum sl_status status = ps_table_create(&table, set.layout, &optimiser, NULL, 0, err);
    struct ps_server_options options = {.config = set.config,
            .layout = set.layout,
            .table = table,
            .hello = {.role = SL_ROLE_SERVER, .servers = 1},
            .join_us = 1000000,
            .report_us = 1};
    struct ps_server_event start = {.kind = PS_SERVER_START}, tick = {.kind = PS_SERVER_TICK, .now_us = 5},
                           leave = {.kind = PS_SERVER_LEAVE, .text = "SIGTERM"};
    if (status == SL_OK)
        status = ps_server_create(&server, &options, err);
    if (status == SL_OK)
        status = ps_server_step(server, &start, &updates, err);
    for (int i = 0; i < to_server_count && status == SL_OK; i++) {
        enum sl_message_kind kind = to_server[i]->kind;
        bool worker = kind == SL_MESSAGE_PUSH || kind == SL_MESSAGE_PULL;
        struct ps_server_event event = {.kind = PS_SERVER_MESSAGE, .message = to_server[i]};
        event.from = worker ? (struct sl_address){SL_ROLE_WORKER, 1} : SL_COORDINATOR;
        status = ps_server_step(server, &event, &updates, err);
        assert_true(status != SL_OK || kind != SL_MESSAGE_SAVE || updates.outbox.count > 0);
    }
    assert_true(status != SL_OK || ps_server_version(server) == 1);
    if (status == SL_OK)
        status = ps_server_step(server, &tick, &updates, err);
    if (status == SL_OK)
        status = ps_server_step(server, &leave, &updates, err);
    sl_outbox_fini(&updates.outbox);
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

/* A snapshot of a table's blocks, as servers send them. */
static enum sl_status capture(struct sl_error *err)
{
    SL_AUTO(ps_snapshot_destroy_auto) struct ps_snapshot *snapshot = NULL;
    SL_AUTO(ps_table_destroy_auto) struct ps_table *table = NULL;
    struct ps_optimiser optimiser = ps_optimiser_from_config(set.config);
    struct ps_manifest manifest = {.training = ps_training_begin(), NULL};
    struct ps_attachment attachment = {"config.yaml", text, sizeof(text)};
    struct ps_snapshot_source source = {set.layout, &manifest, &attachment, 1};
    char *manifest_text = NULL;
    size_t size = 0;
    enum sl_status status = ps_table_create(&table, set.layout, &optimiser, NULL, 0, err);
    if (status == SL_OK)
        status = ps_table_load(table, set.params, NULL, NULL, 0, err);
    if (status == SL_OK)
        status = ps_snapshot_begin(&snapshot, &source, err);
    for (int b = 0; b < set.layout->block_count && status == SL_OK; b++) {
        size_t bytes = set.layout->blocks[b].count * sizeof(float);
        struct ps_block_state state = ps_table_capture(table, b);
        struct sl_frame params = {state.params, state.params->data, bytes},
                        m = {state.m, state.m->data, bytes}, v = {state.v, state.v->data, bytes};
        status = ps_snapshot_put(snapshot, b, &params, &m, &v, err);
        ps_block_state_fini(&state);
    }
    assert_true(status != SL_OK || ps_snapshot_whole(snapshot));
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

/* A server and two workers come, one goes, the other computes the step of the epoch and validates, a snapshot is gathered and written; the server is lost, all begins anew; then a
 * signal. */
static struct sl_message *to_coordinator[128];
static struct ps_event events[128];
static int event_count;

static struct sl_message *add_event(enum sl_role role, uint64_t id, enum sl_message_kind kind)
{
    struct sl_message *m = make(kind);
    assert_true(event_count < 128);
    to_coordinator[event_count] = m;
    events[event_count++] = (struct ps_event){.kind = PS_EVENT_MESSAGE, .from = {role, id}, .message = m};
    return m;
}

static void add_plain_event(struct ps_event event)
{
    assert_true(event_count < 128);
    to_coordinator[event_count] = NULL;
    events[event_count++] = event;
}

static void add_hellos(void)
{
    add_event(SL_ROLE_SERVER, 100, SL_MESSAGE_HELLO)->hello =
            (struct sl_hello){.role = SL_ROLE_SERVER, .layout_hash = set.layout->hash, .servers = 1};
    for (uint64_t id = 1; id <= 2; id++)
        add_event(SL_ROLE_WORKER, id, SL_MESSAGE_HELLO)->hello =
                (struct sl_hello){.layout_hash = set.layout->hash, .train_count = 8, .validation_count = 4};
}

static void make_coordinator_events(const struct ps_training *fresh)
{
    event_count = 0;
    add_hellos();
    add_event(SL_ROLE_WORKER, 3, SL_MESSAGE_HELLO)->hello.config_hash = 1; /* another config */
    (void)add_event(SL_ROLE_SERVER, 100, SL_MESSAGE_LOADED);
    add_plain_event((struct ps_event){.kind = PS_EVENT_TICK});
    add_plain_event(
            (struct ps_event){.kind = PS_EVENT_GONE, .from = {SL_ROLE_WORKER, 1}, .text = "not heard"});
    for (uint32_t slot = 0; slot < 2; slot++) {
        struct sl_message *m = add_event(SL_ROLE_WORKER, 2, SL_MESSAGE_STATS);
        m->node = (struct sl_node){0, 1 - slot};
        m->stats = (struct sl_step_stats){.count = 4, .weight_sum = 4.0};
    }
    add_frame(add_event(SL_ROLE_SERVER, 100, SL_MESSAGE_REDUCED),
            (size_t)set.layout->block_count * sizeof(struct sl_block_sums));
    struct sl_message *m = add_event(SL_ROLE_SERVER, 100, SL_MESSAGE_APPLIED);
    m->version = 1;
    add_frame(m, (size_t)set.layout->block_count * sizeof(struct sl_block_change));
    m = add_event(SL_ROLE_WORKER, 2, SL_MESSAGE_VALIDATED);
    m->step = 1;
    m->end = 1;
    add_frame(m, sl_evaluation_int_count(3, 3) * sizeof(int64_t) +
                         sl_evaluation_double_count(3, 3) * sizeof(double));
    for (int b = 0; b < set.layout->block_count; b++) {
        m = add_event(SL_ROLE_SERVER, 100, SL_MESSAGE_SAVED);
        m->block = (uint32_t)b;
        m->version = 1;
        add_frame(m, set.layout->blocks[b].count * sizeof(float));
    }
    add_plain_event((struct ps_event){.kind = PS_EVENT_SNAPSHOT_WRITTEN, .text = ""});
    add_plain_event(
            (struct ps_event){.kind = PS_EVENT_GONE, .from = {SL_ROLE_SERVER, 100}, .text = "not heard"});
    add_plain_event((struct ps_event){.kind = PS_EVENT_RESTORED, .training = fresh, .text = ""});
    add_hellos();
    add_event(SL_ROLE_SERVER, 100, SL_MESSAGE_LOADED)->cluster = CLUSTER + 1;
    add_plain_event((struct ps_event){.kind = PS_EVENT_STOP, .status = SL_STOPPED, .text = "SIGTERM"});
}

static enum sl_status coordinator_life(struct sl_error *err)
{
    struct ps_coordinator *c = NULL;
    struct ps_updates updates = {0};
    struct ps_coordinator_options options = {
            set.config, set.layout, 0, CLUSTER, 100, 1, ps_training_begin(), NULL};
    bool validated = false;
    enum sl_status status = ps_coordinator_create(&c, &options, err);
    for (int i = 0; i < event_count && status == SL_OK; i++) {
        status = ps_coordinator_step(c, &events[i], &updates, err);
        validated |= status == SL_OK && ps_coordinator_training(c)->validated_step == 1;
    }
    assert_true(status != SL_OK || (validated && ps_coordinator_rollbacks(c) == 1 &&
                                           strcmp(ps_coordinator_state(c), "training") == 0));
    ps_updates_fini(&updates);
    ps_coordinator_destroy(c);
    return status;
}

static void test_coordinator(void **state)
{
    (void)state;
    struct ps_training fresh = ps_training_begin();
    make_coordinator_events(&fresh);
    exhaust(coordinator_life, 30);
    for (int i = 0; i < event_count; i++)
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
