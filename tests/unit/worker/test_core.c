/* The worker's decisions, one test for a row of its tables: an event, and what the core wants sent and done. The data has 20 training samples (a step of 7
 * slots of 2 samples, then one of 3 slots) and 5 for validation (3 units). */
#include "worker/core.h"

#include "common/placement.h"
#include "common/text.h"
#include "tests/unit/worker/fixture.h"

#define CLUSTER 77
#define JOIN_US 5000000
#define REPORT_US 1000000

struct world {
    struct sl_config *config;
    struct sl_layout *layout;
    struct sl_plan *plan;
    struct wk_core *core;
    float *params;
    int servers, *owners; /* (block_count,) */
    uint64_t run;         /* of the last COMPUTE */
    struct wk_updates updates;
    struct sl_text text;
    int64_t now_us;
};

static struct sl_error err;

/* ---- the world ---- */

static bool pulls_ahead, rounds; /* of worlds that are made */
static bool freezes;             /* their first extractor */

static struct world world_of_exchange(int servers, bool busy, enum sl_exchange exchange)
{
    struct world w = {.config = fixture_config(), .now_us = 1000, .servers = servers};
    w.config->modulation.exchange = exchange;
    w.config->modalities[0].freeze_count = freezes;
    (void)snprintf(w.config->modalities[0].freeze[0], sizeof(w.config->modalities[0].freeze[0]), "*");
    w.layout = fixture_layout(w.config);
    w.params = sl_alloc_aligned(w.layout->count, sizeof(float));
    w.owners = sl_alloc((size_t)w.layout->block_count, sizeof(int));
    assert_true(w.params != NULL && w.owners != NULL);
    sl_placement_make(w.layout, servers, w.owners);
    sl_text_init(&w.text, 1 << 20);
    struct sl_plan_options plan = {.count = 20, .slots = FIXTURE_SLOTS, .slot_size = FIXTURE_SLOT_SIZE};
    assert_int_equal(sl_plan_create(&w.plan, &plan, &err), SL_OK);
    struct wk_core_options options = {.layout = w.layout,
            .incarnation = 42,
            .plan = w.plan,
            .slot_size = FIXTURE_SLOT_SIZE,
            .join_us = JOIN_US,
            .report_us = REPORT_US,
            .pulls_ahead = pulls_ahead,
            .rounds = rounds,
            .busy = busy};
    options.hello = (struct sl_hello){
            .config_hash = 5, .layout_hash = w.layout->hash, .train_count = 20, .validation_count = 5};
    assert_int_equal(wk_core_create(&w.core, &options, w.params, &err), SL_OK);
    return w;
}

static struct world world_of(int servers, bool busy)
{
    return world_of_exchange(servers, busy, SL_EXCHANGE_TAGGED);
}

static struct world new_world(void)
{
    return world_of(1, false);
}

static void close_world(struct world *w)
{
    sl_outbox_fini(&w->updates.outbox);
    wk_core_destroy(w->core);
    sl_plan_destroy(w->plan);
    sl_text_fini(&w->text);
    sl_free(w->params);
    sl_free(w->owners);
    sl_layout_destroy(w->layout);
    sl_free(w->config);
}

/* "push 1.0 of block 0 at 3; compute 0-2 of 7 at 3": messages, then the action. */
static const char *trace(struct world *w)
{
    const char *line = NULL;
    sl_text_reset(&w->text);
    for (int i = 0; i < w->updates.outbox.count; i++) {
        const struct sl_message *m = w->updates.outbox.items[i].message;
        sl_text_printf(&w->text, "%s%s", i == 0 ? "" : "; ", sl_message_name(m->kind));
        if (m->kind == SL_MESSAGE_PUSH)
            sl_text_printf(&w->text, " %u.%u of block %u at %d", m->node.level, m->node.index, m->block,
                    (int)m->step);
        if (m->kind == SL_MESSAGE_STATS)
            sl_text_printf(&w->text, " %u.%u at %d", m->node.level, m->node.index, (int)m->step);
        if (m->kind == SL_MESSAGE_PULL)
            sl_text_printf(&w->text, " %d", (int)m->version);
        if (m->kind == SL_MESSAGE_VALIDATED)
            sl_text_printf(&w->text, " %u-%u", m->begin, m->end);
        assert_true(m->incarnation == 42);
    }
    const struct wk_action *action = &w->updates.action;
    const char *gap = w->text.size > 0 ? "; " : "";
    static const char *const phases[SL_PHASE_COUNT] = {"train", "validate", "skip", "audit", "score"};
    if (action->kind == WK_ACTION_COMPUTE) {
        sl_text_printf(&w->text, "%s%s %u-%u at %d%s", gap, phases[action->phase], action->begin, action->end,
                (int)action->step, action->arriving ? " meanwhile" : "");
        w->run = action->run;
    }
    if (action->kind == WK_ACTION_CANCEL)
        sl_text_printf(&w->text, "%scancel", gap);
    if (action->kind == WK_ACTION_CONNECT)
        sl_text_printf(&w->text, "%sconnect %d", gap, action->server_count);
    if (action->kind == WK_ACTION_FINISH)
        sl_text_printf(&w->text, "%sfinish %s", gap, sl_status_name(action->status));
    if (sl_text_finish(&w->text, &line, NULL, &err) != SL_OK)
        fail_msg("%s", err.text);
    return line;
}

#define expect(line, event) assert_string_equal(event, line)

/* ---- events ---- */

static const char *step(struct world *w, struct wk_event event)
{
    event.now_us = w->now_us;
    w->now_us += 10;
    if (wk_core_step(w->core, &event, &w->updates, &err) != SL_OK)
        fail_msg("%s", err.text);
    return trace(w);
}

/* Server r >= 1 has incarnation 100 + r; the first one shares the coordinator's link. */
static struct sl_address sender(const struct world *w, const struct sl_message *m)
{
    bool of_block = (m->kind == SL_MESSAGE_PARAMS || m->kind == SL_MESSAGE_ACK) &&
                    m->block < (uint32_t)w->layout->block_count;
    int rank = of_block ? w->owners[m->block] : 0;
    return rank == 0 ? SL_COORDINATOR : (struct sl_address){SL_ROLE_SERVER, 100 + (uint64_t)rank};
}

/* Takes the message. */
static const char *receive(struct world *w, struct sl_message *m)
{
    const char *line =
            step(w, (struct wk_event){.kind = WK_EVENT_MESSAGE, .from = sender(w, m), .message = m});
    sl_message_destroy(m);
    return line;
}

static struct sl_message *message(enum sl_message_kind kind, int64_t at)
{
    struct sl_message *m = sl_message_create(kind);
    assert_non_null(m);
    m->cluster = CLUSTER;
    m->step = at;
    m->version = at;
    return m;
}

static struct sl_message *assignment(
        enum sl_phase phase, int64_t at, uint32_t slots, uint32_t begin, uint32_t end)
{
    struct sl_message *m = message(SL_MESSAGE_ASSIGN, at);
    m->phase = phase;
    m->slots = slots;
    m->begin = begin;
    m->end = end;
    return m;
}

static const char *assign(struct world *w, int64_t at, uint32_t begin, uint32_t end)
{
    return receive(w, assignment(SL_PHASE_TRAIN, at, at % 2 == 0 ? 7 : 3, begin, end));
}

static struct sl_message *block_of(struct world *w, int block, int64_t at, float value)
{
    struct sl_message *m = message(SL_MESSAGE_PARAMS, at);
    struct sl_buffer *buffer = sl_buffer_create(w->layout->blocks[block].count * sizeof(float));
    assert_non_null(buffer);
    for (size_t i = 0; i < w->layout->blocks[block].count; i++)
        ((float *)buffer->data)[i] = value;
    m->block = (uint32_t)block;
    sl_message_add_frame(m, buffer, buffer->data, buffer->size);
    sl_buffer_release(buffer);
    return m;
}

/* All blocks of a version, of each of which the run is told. */
static void params(struct world *w, int64_t at, float value)
{
    for (int b = 0; b < w->layout->block_count; b++) {
        assert_string_equal(wk_core_doing(w->core), "pulling");
        expect("", receive(w, block_of(w, b, at, value)));
        assert_int_equal(w->updates.arrived, b);
    }
    assert_string_equal(wk_core_doing(w->core), "computing");
}

static struct sl_message *welcome_of(int servers)
{
    struct sl_message *m = message(SL_MESSAGE_WELCOME, 0);
    struct sl_buffer *buffer = sl_buffer_create((size_t)servers * sizeof(struct sl_server_entry));
    assert_non_null(buffer);
    struct sl_server_entry *list = buffer->data;
    for (int s = 0; s < servers; s++) {
        list[s].incarnation = 100 + (uint64_t)s;
        (void)snprintf(list[s].endpoint, sizeof(list[s].endpoint), "%s", s == 0 ? "" : "tcp://h:1");
    }
    m->count = (uint64_t)servers;
    sl_message_add_frame(m, buffer, buffer->data, buffer->size);
    sl_buffer_release(buffer);
    return m;
}

static const char *join(struct world *w)
{
    (void)step(w, (struct wk_event){.kind = WK_EVENT_START});
    return receive(w, welcome_of(w->servers));
}

static const char *idle(struct world *w)
{
    return step(w, (struct wk_event){.kind = WK_EVENT_IDLE});
}

static const char *node_done_of(struct world *w, uint64_t run, uint32_t level, uint32_t index)
{
    struct sl_buffer *buffer = sl_buffer_create(SL_TAGS * w->layout->count * sizeof(float));
    assert_non_null(buffer);
    struct sl_step_stats stats = {.count = 2 << level, .weight_sum = 2.0};
    const char *line = step(w, (struct wk_event){.kind = WK_EVENT_NODE_DONE,
                                       .run = run,
                                       .hash = 77,
                                       .node = {level, index},
                                       .stats = &stats,
                                       .gradients = buffer,
                                       .compute_us = 500});
    sl_buffer_release(buffer);
    return line;
}

static const char *node_done(struct world *w, uint32_t level, uint32_t index)
{
    return node_done_of(w, w->run, level, index);
}

static struct sl_message *ack(int64_t at, uint32_t level, uint32_t index, int block)
{
    struct sl_message *m = message(SL_MESSAGE_ACK, at);
    m->node = (struct sl_node){level, index};
    m->block = (uint32_t)block;
    return m;
}

/* All blocks of a node; the line of the last one. */
static const char *acks(struct world *w, int64_t at, uint32_t level, uint32_t index)
{
    for (int b = 0; b + 1 < w->layout->block_count; b++)
        expect("", receive(w, ack(at, level, index, b)));
    return receive(w, ack(at, level, index, w->layout->block_count - 1));
}

static const char *tick(struct world *w, int64_t later_us)
{
    w->now_us += later_us;
    return step(w, (struct wk_event){.kind = WK_EVENT_TICK});
}

static const char *validation_done(struct world *w)
{
    struct sl_buffer *buffer = sl_buffer_create(80);
    assert_non_null(buffer);
    const char *line = step(w, (struct wk_event){.kind = WK_EVENT_VALIDATION_DONE,
                                       .run = w->run,
                                       .evaluation = buffer,
                                       .compute_us = 500});
    sl_buffer_release(buffer);
    return line;
}

/* ---- tests ---- */

static void test_it_joins(void **state)
{
    (void)state;
    struct world w = new_world();
    expect("hello", step(&w, (struct wk_event){.kind = WK_EVENT_START}));
    assert_int_equal(w.updates.outbox.items[0].message->hello.train_count, 20);
    assert_int_equal(w.updates.outbox.items[0].to.role, SL_ROLE_COORDINATOR);
    assert_string_equal(wk_core_doing(w.core), "joining");
    expect("", tick(&w, 0));
    expect("", assign(&w, 0, 0, 7)); /* before the welcome there is no run to belong to */
    expect("", receive(&w, welcome_of(1)));
    assert_string_equal(wk_core_doing(w.core), "idle");
    expect("", receive(&w, welcome_of(1))); /* again: nothing new */
    expect("report", tick(&w, REPORT_US));
    assert_true(w.updates.outbox.items[0].message->cluster == CLUSTER);
    assert_true(w.updates.wake_us > w.now_us && w.updates.wake_us <= w.now_us + REPORT_US);
    expect("", tick(&w, 0));
    close_world(&w);
    w = world_of(3, false);
    expect("connect 3", join(&w));
    assert_string_equal(w.updates.action.servers[2].endpoint, "tcp://h:1");
    close_world(&w);
}

static struct sl_message *spoil(int what)
{
    struct sl_message *m = welcome_of(2);
    struct sl_server_entry *list = m->frames[0].buffer->data;
    if (what == 0)
        m->count = 3;
    if (what == 1)
        list[1].incarnation = 0;
    if (what == 2)
        list[1].endpoint[0] = 0;
    if (what == 3)
        memset(list[1].endpoint, 'x', sizeof(list[1].endpoint));
    if (what == 4)
        m->count = UINT64_MAX / sizeof(struct sl_server_entry) + 3;
    return m;
}

static void test_lists_of_servers_that_make_no_sense(void **state)
{
    (void)state;
    for (int what = 0; what < 5; what++) {
        struct world w = world_of(2, false);
        (void)step(&w, (struct wk_event){.kind = WK_EVENT_START});
        expect("finish mismatch", receive(&w, spoil(what)));
        close_world(&w);
    }
}

static void test_nobody_answers(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)step(&w, (struct wk_event){.kind = WK_EVENT_START});
    expect("", tick(&w, JOIN_US - 100));
    expect("finish timeout", tick(&w, 200));
    assert_non_null(strstr(w.updates.action.text, "no answer from the coordinator"));
    expect("", tick(&w, REPORT_US)); /* it has left */
    close_world(&w);
}

static const char *gone(struct world *w, struct sl_address from)
{
    return step(w, (struct wk_event){.kind = WK_EVENT_GONE, .from = from, .text = "not heard"});
}

static void test_whoever_is_gone_it_begins_anew(void **state)
{
    (void)state;
    struct world w = world_of(2, false);
    (void)join(&w);
    expect("finish again", gone(&w, SL_COORDINATOR));
    assert_string_equal(w.updates.action.text, "the coordinator: not heard");
    close_world(&w);
    w = world_of(2, false);
    (void)join(&w);
    expect("", gone(&w, (struct sl_address){
                                SL_ROLE_SERVER, 101})); /* the coordinator may know better what that means */
    expect("", assign(&w, 0, 0, 7));
    expect("", tick(&w, 100000));
    expect("bye; finish again", tick(&w, 500000));
    assert_string_equal(w.updates.action.text, "a server: not heard");
    close_world(&w);
    w = world_of(2, false);
    (void)join(&w);
    (void)gone(&w, (struct sl_address){SL_ROLE_SERVER, 101});
    expect("finish ok", receive(&w, message(SL_MESSAGE_STOP, 0))); /* it was the end of training */
    close_world(&w);
}

static void test_a_step(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)join(&w);
    expect("pull 0; train 2-7 at 0 meanwhile", assign(&w, 0, 2, 7));
    expect("", node_done(&w, 2, 1)); /* no result counts before all parameters are here */
    params(&w, 0, 1.5F);
    assert_true(w.params[0] == 1.5F && w.params[w.layout->count - 1] == 1.5F);
    (void)node_done(&w, 2, 1);
    assert_int_equal(w.updates.outbox.count, w.layout->block_count);
    for (int b = 0; b < w.layout->block_count; b++) {
        const struct sl_message *push = w.updates.outbox.items[b].message;
        const struct sl_block *block = &w.layout->blocks[b];
        assert_true(push->kind == SL_MESSAGE_PUSH && push->block == (uint32_t)b && push->slots == 7);
        assert_int_equal(push->frame_count, block->tagged[0] + block->tagged[1]);
        assert_int_equal(push->frames[0].size, block->count * sizeof(float));
        size_t tag = block->tagged[SL_TAG_UNIMODAL] ? 0 : 1;
        const float *flat = push->frames[0].buffer->data;
        assert_ptr_equal(
                push->frames[0].data, flat + tag * w.layout->count + block->offset); /* from where it lies */
    }
    expect("stats 2.1 at 0", acks(&w, 0, 2, 1));
    assert_int_equal(w.updates.outbox.items[0].message->stats.count, 8);
    assert_int_equal(w.updates.outbox.items[0].message->compute_us, 500);
    (void)node_done(&w, 1, 1);
    expect("stats 1.1 at 0", acks(&w, 0, 1, 1));
    assert_string_equal(wk_core_doing(w.core), "idle");
    expect("", assign(&w, 1, 0, 3)); /* the run was whole, but the executor has not said so */
    expect("pull 1; train 0-3 at 1 meanwhile", idle(&w));
    close_world(&w);
}

/* Of blocks with rows of a table the lines that are not zero leave; of a gradient that is mostly there, all as it lies. */
static void test_pushes_of_tables_are_sparse(void **state)
{
    (void)state;
    struct world w = new_world();
    int last = w.layout->block_count - 1;
    w.layout->blocks[last].sparse = true;
    const struct sl_block *block = &w.layout->blocks[last];
    (void)join(&w);
    (void)assign(&w, 0, 2, 3);
    params(&w, 0, 1.5F);
    struct sl_buffer *buffer = sl_buffer_create(SL_TAGS * w.layout->count * sizeof(float));
    assert_non_null(buffer);
    float *fused = (float *)buffer->data + sl_layout_gradient_at(w.layout, SL_TAG_FUSED, block->offset);
    fused[1] = 2.0F;
    struct wk_event event = {.kind = WK_EVENT_BLOCKS_DONE,
            .run = w.run,
            .node = {0, 2},
            .blocks = &last,
            .block_count = 1,
            .gradients = buffer};
    (void)step(&w, event);
    const struct sl_message *push = w.updates.outbox.items[0].message;
    assert_true(push->block == (uint32_t)last && push->encoding[0] == SL_ENCODING_LINES);
    assert_true(push->frames[0].size < block->count * sizeof(float));
    struct sl_frame frame = {
            sl_buffer_retain(push->frames[0].buffer), push->frames[0].data, push->frames[0].size};
    assert_int_equal(sl_encoding_open(&frame, SL_ENCODING_LINES, block->count, &err), SL_OK);
    assert_memory_equal(frame.data, fused, block->count * sizeof(float));
    sl_buffer_release(frame.buffer);
    (void)assign(&w, 0, 3, 4);
    (void)idle(&w);
    for (size_t i = 0; i < block->count; i++)
        fused[i] = 1.0F;
    event.run = w.run;
    event.node.index = 3;
    (void)step(&w, event);
    push = w.updates.outbox.items[0].message;
    assert_true(push->encoding[0] == SL_ENCODING_DENSE && push->frames[0].data == (const void *)fused);
    sl_buffer_release(buffer);
    close_world(&w);
}

/* What a worker pushes of number 1 of block 0 of slot 2, as the server reads it; the last encoding. Each call is the run of a step of its own. */
static float pushed(struct world *w, int64_t at, enum sl_phase phase, float value, enum sl_encoding encoding)
{
    const struct sl_block *block = &w->layout->blocks[0];
    struct sl_buffer *buffer = sl_buffer_create(SL_TAGS * w->layout->count * sizeof(float));
    assert_non_null(buffer);
    assert_true(block->tagged[SL_TAG_UNIMODAL]);
    ((float *)buffer->data)[block->offset + 1] = value;
    (void)receive(w, assignment(phase, at, at % 2 == 0 ? 7 : 3, 2, 3));
    params(w, at, 1.5F);
    (void)step(w, (struct wk_event){.kind = WK_EVENT_BLOCKS_DONE,
                          .run = w->run,
                          .node = {0, 2},
                          .blocks = &(int){0},
                          .block_count = 1,
                          .gradients = buffer});
    const struct sl_message *push = w->updates.outbox.items[0].message;
    assert_true(push->kind == SL_MESSAGE_PUSH && push->encoding[0] == encoding);
    struct sl_frame frame = {
            sl_buffer_retain(push->frames[0].buffer), push->frames[0].data, push->frames[0].size};
    assert_int_equal(sl_encoding_open(&frame, encoding, block->count, &err), SL_OK);
    float got = ((const float *)frame.data)[1];
    sl_buffer_release(frame.buffer);
    sl_buffer_release(buffer);
    (void)idle(w);
    return got;
}

/* With wire bf16 what rounding takes away comes with the next push, past a run that was skipped; a core that is made anew has nothing of it. */
static void test_pushes_are_rounded(void **state)
{
    (void)state;
    rounds = true;
    struct world w = new_world(), anew = new_world();
    rounds = false;
    (void)join(&w);
    (void)join(&anew);
    float value = 1.00390625F; /* 1 + 2^-8, between two numbers of bf16 */
    assert_true(pushed(&w, 0, SL_PHASE_TRAIN, value, SL_ENCODING_BF16) == 1.0F);
    assert_true(pushed(&w, 1, SL_PHASE_SKIP, 0.0F, SL_ENCODING_BF16_LINES) == 0.0F);
    assert_true(pushed(&w, 2, SL_PHASE_TRAIN, value, SL_ENCODING_BF16) == 1.0078125F);
    assert_true(pushed(&w, 3, SL_PHASE_TRAIN, 0.0F, SL_ENCODING_BF16) == 0.0F);
    assert_true(pushed(&anew, 0, SL_PHASE_TRAIN, 0.0F, SL_ENCODING_BF16) == 0.0F);
    close_world(&w);
    close_world(&anew);
}

static const char *blocks_done(
        struct world *w, uint64_t run, uint32_t level, uint32_t index, const int *blocks, int count)
{
    struct sl_buffer *buffer = sl_buffer_create(SL_TAGS * w->layout->count * sizeof(float));
    assert_non_null(buffer);
    const char *line = step(w, (struct wk_event){.kind = WK_EVENT_BLOCKS_DONE,
                                       .run = run,
                                       .node = {level, index},
                                       .blocks = blocks,
                                       .block_count = count,
                                       .gradients = buffer});
    sl_buffer_release(buffer);
    return line;
}

/* Each block is pushed once, when it is whole; the node is reported when it is whole too and all its blocks are acknowledged, whichever comes first. */
static void test_blocks_leave_before_their_node_is_whole(void **state)
{
    (void)state;
    for (int late = 0; late < 2; late++) {
        struct world w = new_world();
        int last = w.layout->block_count - 1, first[] = {last, 1}, rest[64];
        assert_true(last <= 64);
        (void)join(&w);
        (void)assign(&w, 0, 2, 4);
        expect("", blocks_done(&w, w.run, 1, 1, first, 2)); /* nothing is computed yet */
        params(&w, 0, 1.0F);
        char line[64];
        (void)snprintf(line, sizeof(line), "push 1.1 of block %d at 0; push 1.1 of block 1 at 0", last);
        expect(line, blocks_done(&w, w.run, 1, 1, first, 2));
        expect("", blocks_done(&w, w.run, 1, 1, first, 2));
        expect("", receive(&w, ack(0, 1, 1, 2))); /* it was not pushed */
        expect("", receive(&w, ack(0, 1, 1, 1)));
        if (late == 0)
            (void)node_done(&w, 1, 1);
        else {
            int count = 0;
            for (int b = 0; b < last; b++)
                if (b != 1)
                    rest[count++] = b;
            (void)blocks_done(&w, w.run, 1, 1, rest, count);
        }
        assert_int_equal(w.updates.outbox.count, w.layout->block_count - 2);
        for (int i = 0; i < w.updates.outbox.count; i++)
            assert_true(w.updates.outbox.items[i].message->block != 1);
        expect(late == 0 ? "stats 1.1 at 0" : "", acks(&w, 0, 1, 1));
        if (late == 1)
            expect("stats 1.1 at 0", node_done(&w, 1, 1));
        assert_string_equal(wk_core_doing(w.core), "idle");
        close_world(&w);
    }
}

/* Nothing of a frozen block leaves, and no acknowledgement of it is waited for. */
static void test_frozen_blocks_stay(void **state)
{
    (void)state;
    freezes = true;
    struct world w = new_world();
    int frozen = 0, last = w.layout->block_count - 1;
    while (!w.layout->blocks[frozen].frozen)
        frozen++;
    assert_int_equal(w.layout->trained_block_count, w.layout->block_count - 1);
    (void)join(&w);
    (void)assign(&w, 0, 0, 1);
    params(&w, 0, 1.0F);
    expect("", blocks_done(&w, w.run, 0, 0, &frozen, 1));
    (void)node_done(&w, 0, 0);
    assert_int_equal(w.updates.outbox.count, w.layout->trained_block_count);
    for (int i = 0; i < w.updates.outbox.count; i++)
        assert_true(w.updates.outbox.items[i].message->block != (uint32_t)frozen);
    for (int b = 0; b < last; b++)
        expect("", receive(&w, ack(0, 0, 0, b))); /* one of them of nothing that was pushed */
    expect("stats 0.0 at 0", receive(&w, ack(0, 0, 0, last)));
    close_world(&w);
    freezes = false;
}

static void test_blocks_of_a_run_that_was_replaced(void **state)
{
    (void)state;
    struct world w = new_world();
    int block = 0;
    (void)join(&w);
    (void)assign(&w, 0, 0, 2);
    params(&w, 0, 1.0F);
    uint64_t replaced = w.run;
    expect("cancel", assign(&w, 0, 4, 6));
    expect("", blocks_done(&w, replaced, 1, 0, &block, 1));
    expect("train 4-6 at 0", idle(&w));
    expect("", blocks_done(&w, replaced, 1, 0, &block, 1));
    expect("push 1.2 of block 0 at 0", blocks_done(&w, w.run, 1, 2, &block, 1));
    close_world(&w);
}

static void test_acknowledgements_count_once(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)join(&w);
    (void)assign(&w, 0, 0, 2);
    expect("", receive(&w, ack(0, 0, 0, 0))); /* nothing was pushed */
    params(&w, 0, 1.0F);
    (void)node_done(&w, 0, 1);
    (void)node_done(&w, 0, 0);
    for (int i = 0; i < w.layout->block_count; i++)
        expect("", receive(&w, ack(0, 0, 0, 0))); /* the same one */
    expect("", receive(&w, ack(1, 0, 0, 1)));
    expect("", receive(&w, ack(0, 1, 0, 1)));
    expect("", receive(&w, ack(0, 0, 0, w.layout->block_count)));
    expect("stats 0.1 at 0", acks(&w, 0, 0, 1));
    for (int b = 1; b + 1 < w.layout->block_count; b++)
        expect("", receive(&w, ack(0, 0, 0, b)));
    expect("stats 0.0 at 0", receive(&w, ack(0, 0, 0, w.layout->block_count - 1)));
    expect("", receive(&w, ack(0, 0, 0, 0)));
    close_world(&w);
}

static void test_parameters_that_do_not_count(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)join(&w);
    expect("", receive(&w, block_of(&w, 0, 0, 9.0F))); /* not asked for */
    (void)assign(&w, 0, 0, 7);
    struct sl_message *m = block_of(&w, 0, 0, 9.0F);
    m->block = (uint32_t)w.layout->block_count;
    expect("", receive(&w, m));
    m = block_of(&w, 0, 0, 9.0F);
    m->frames[0].size -= 4;
    expect("", receive(&w, m));
    m = block_of(&w, 0, 0, 9.0F);
    m->cluster++;
    expect("", receive(&w, m)); /* another run's */
    assert_true(w.params[0] == 0.0F);
    expect("", receive(&w, block_of(&w, 0, 0, 1.0F)));
    expect("", receive(&w, block_of(&w, 0, 0, 9.0F))); /* twice */
    assert_true(w.params[0] == 1.0F);
    for (int b = 1; b + 1 < w.layout->block_count; b++)
        expect("", receive(&w, block_of(&w, b, 0, 1.0F)));
    assert_string_equal(wk_core_doing(w.core), "pulling");
    expect("", receive(&w, block_of(&w, w.layout->block_count - 1, 0, 1.0F)));
    assert_string_equal(wk_core_doing(w.core), "computing");
    expect("", receive(&w, block_of(&w, 0, 0, 9.0F))); /* while it computes */
    assert_int_equal(w.updates.arrived, -1);
    assert_true(w.params[0] == 1.0F);
    close_world(&w);
}

/* An assignment replaces the run before it; nothing is pulled or computed while the executor reads the parameters. */
static void test_runs_are_replaced(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)join(&w);
    (void)assign(&w, 0, 0, 2);
    params(&w, 0, 1.0F);
    (void)node_done(&w, 0, 0);
    uint64_t before = w.run;
    expect("cancel", assign(&w, 0, 4, 5));
    assert_string_equal(wk_core_doing(w.core), "computing");
    expect("", node_done_of(&w, before, 0, 1)); /* of the one that was cancelled */
    expect("", acks(&w, 0, 0, 0));              /* too late to be reported */
    expect("", assign(&w, 0, 5, 6));            /* replaced again: nothing more to cancel */
    expect("train 5-6 at 0", idle(&w));         /* the same version: nothing to pull */
    expect("", idle(&w));
    (void)node_done(&w, 0, 5);
    expect("stats 0.5 at 0", acks(&w, 0, 0, 5));
    (void)idle(&w);
    expect("pull 1; train 0-1 at 1 meanwhile", assign(&w, 1, 0, 1));
    expect("", receive(&w, block_of(&w, 0, 1, 1.0F)));
    expect("cancel", assign(&w, 2, 0, 7)); /* while it pulls: some layer may be reading what came */
    expect("", receive(&w, block_of(&w, 1, 1, 7.0F)));
    assert_true(w.updates.arrived == -1 && w.params[w.layout->blocks[1].offset] == 1.0F);
    expect("pull 2; train 0-7 at 2 meanwhile", idle(&w));
    expect("", receive(&w, block_of(&w, 1, 1, 1.0F))); /* of the pull before, older than this one wants */
    assert_int_equal(w.updates.arrived, -1);
    params(&w, 2, 2.0F);
    close_world(&w);
}

/* A step is reported: the next version is asked for, and taken while nothing is computed. */
static struct world world_ahead(void)
{
    pulls_ahead = true;
    struct world w = world_of(2, false);
    pulls_ahead = false;
    (void)join(&w);
    (void)assign(&w, 0, 0, 2);
    params(&w, 0, 1.0F);
    (void)node_done(&w, 1, 0);
    expect("stats 1.0 at 0", acks(&w, 0, 1, 0));
    expect("pull 1", idle(&w)); /* not of the first server, on whose link the assignment comes */
    assert_int_equal(w.updates.outbox.items[0].to.id, 101);
    return w;
}

static void test_the_next_version_is_pulled_ahead(void **state)
{
    (void)state;
    for (int before = 0; before < 2;
            before++) { /* the second server's blocks come before the assignment, or after it */
        struct world w = world_ahead();
        int blocks = w.layout->block_count;
        for (int b = 0; b < blocks; b++) {
            if (w.owners[b] == 0)
                continue;
            size_t at = w.layout->blocks[b].offset;
            expect("", receive(&w, block_of(&w, b, 0, 9.0F))); /* an older one */
            assert_true(w.params[at] == 1.0F);
            if (before == 1)
                expect("", receive(&w, block_of(&w, b, 1, 2.0F)));
            assert_int_equal(w.updates.arrived, -1); /* for nobody yet */
        }
        expect("pull 1; train 0-3 at 1 meanwhile", assign(&w, 1, 0, 3));
        assert_true(sl_address_equal(w.updates.outbox.items[0].to, SL_COORDINATOR));
        const unsigned char *here = w.updates.action.here;
        for (int b = 0; b < blocks; b++)
            assert_int_equal(here[b], before == 1 && w.owners[b] == 1);
        for (int b = 0; b < blocks; b++) {
            if (before == 1 && w.owners[b] == 1)
                continue;
            expect("", receive(&w, block_of(&w, b, 1, 2.0F)));
            assert_int_equal(w.updates.arrived, b);
        }
        assert_string_equal(wk_core_doing(w.core), "computing");
        assert_true(w.params[0] == 2.0F && w.params[w.layout->count - 1] == 2.0F);
        (void)node_done(&w, 2, 0);
        (void)acks(&w, 1, 2, 0);
        assert_string_equal(wk_core_doing(w.core), "idle");
        close_world(&w);
    }
}

/* More slots of the same step: the parameters are still whole, and what is on its way must not be written over them; it is asked for again after that. */
static void test_the_same_version_again_after_pulling_ahead(void **state)
{
    (void)state;
    struct world w = world_ahead();
    int own = 0;
    while (w.owners[own] != 1)
        own++;
    size_t at = w.layout->blocks[own].offset;
    expect("train 4-6 at 0", assign(&w, 0, 4, 6));
    uint64_t name = w.updates.action.parameters;
    expect("", receive(&w, block_of(&w, own, 1, 2.0F)));
    assert_true(w.params[at] == 1.0F && w.updates.arrived == -1);
    (void)node_done(&w, 1, 2);
    expect("stats 1.2 at 0", acks(&w, 0, 1, 2));
    expect("pull 1", idle(&w));
    expect("", receive(&w, block_of(&w, own, 1, 2.0F)));
    assert_true(w.params[at] == 2.0F);
    struct sl_message *m = assignment(SL_PHASE_TRAIN, 3, 3, 0, 3);
    m->version = 2; /* newer than what was pulled ahead */
    expect("pull 2; pull 2; train 0-3 at 3 meanwhile", receive(&w, m));
    assert_true(w.updates.action.parameters != name);
    close_world(&w);
}

static void test_an_executor_that_is_busy_from_before_is_waited_for(void **state)
{
    (void)state;
    struct world w = world_of(1, true);
    (void)join(&w);
    expect("", assign(&w, 0, 0, 7));
    expect("pull 0; train 0-7 at 0 meanwhile", idle(&w));
    close_world(&w);
}

/* A block of which nothing changed since version `held`. */
static struct sl_message *unchanged(struct world *w, int block, int64_t at, int64_t held)
{
    struct sl_message *m = block_of(w, block, at, 9.0F);
    m->frames[0].size = 0;
    m->encoding[0] = SL_ENCODING_CHANGED;
    m->held = held;
    return m;
}

static int64_t claimed(const struct world *w, int item)
{
    assert_int_equal(w->updates.outbox.items[item].message->kind, SL_MESSAGE_PULL);
    return w->updates.outbox.items[item].message->held;
}

/* Each server is told what is held of its blocks, and what it leaves out is as it was. What came while nothing could be taken is not held. */
static void test_pulls_say_what_is_held(void **state)
{
    (void)state;
    struct world w = world_of(2, false);
    int last = w.layout->block_count - 1;
    (void)join(&w);
    (void)assign(&w, 0, 0, 2);
    assert_true(claimed(&w, 0) == -1 && claimed(&w, 1) == -1);
    expect("", receive(&w, unchanged(&w, 0, 0, 0))); /* of nothing */
    assert_int_equal(w.updates.arrived, -1);
    params(&w, 0, 1.0F);
    expect("cancel", assign(&w, 1, 0, 1));
    for (int b = 0; b <= last; b++)
        expect("", receive(&w, block_of(&w, b, 1, 7.0F))); /* nobody has asked for it yet */
    (void)idle(&w);
    assert_true(claimed(&w, 0) == 0 && claimed(&w, 1) == 0);
    for (int b = 0; b < last; b++) {
        expect("", receive(&w, unchanged(&w, b, 1, 0)));
        assert_int_equal(w.updates.arrived, b);
    }
    expect("", receive(&w, unchanged(&w, last, 1, 1))); /* it does not have that */
    assert_int_equal(w.updates.arrived, -1);
    expect("", receive(&w, block_of(&w, last, 2, 3.0F)));
    assert_string_equal(wk_core_doing(w.core), "computing");
    assert_true(w.params[0] == 1.0F && w.params[w.layout->blocks[last].offset] == 3.0F);
    expect("cancel", assign(&w, 2, 0, 1));
    (void)idle(&w);
    assert_true(claimed(&w, 0) == 1 && claimed(&w, 1) == 1); /* the oldest of each */
    close_world(&w);
}

static void test_a_newer_version_than_asked_for_is_fine(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)join(&w);
    (void)assign(&w, 0, 0, 1);
    expect("", receive(&w, block_of(&w, 0, 4, 1.0F)));
    for (int b = 1; b + 1 < w.layout->block_count; b++)
        expect("", receive(&w, block_of(&w, b, 3, 1.0F)));
    expect("", receive(&w, block_of(&w, w.layout->block_count - 1, 5, 1.0F)));
    (void)node_done(&w, 0, 0);
    expect("stats 0.0 at 0", acks(&w, 0, 0, 0));
    assert_int_equal(w.updates.outbox.items[0].message->version, 3); /* the oldest of its blocks */
    (void)idle(&w);
    struct sl_message *m = assignment(SL_PHASE_TRAIN, 4, 7, 0, 1);
    m->version = 3;
    expect("train 0-1 at 4", receive(&w, m)); /* in ssp and asp a step may begin on what is here */
    (void)node_done(&w, 0, 0);
    (void)acks(&w, 4, 0, 0);
    (void)idle(&w);
    m = assignment(SL_PHASE_TRAIN, 4, 7, 1, 2);
    m->version = 4;
    expect("pull 4; train 1-2 at 4 meanwhile", receive(&w, m));
    close_world(&w);
}

static void test_several_servers(void **state)
{
    (void)state;
    struct world w = world_of(2, false);
    int own = 0;
    while (w.owners[own] != 1)
        own++;
    (void)join(&w);
    expect("pull 0; pull 0; train 0-7 at 0 meanwhile", assign(&w, 0, 0, 7));
    assert_true(sl_address_equal(w.updates.outbox.items[0].to, SL_COORDINATOR));
    assert_int_equal(w.updates.outbox.items[1].to.id, 101);
    struct sl_message *m = block_of(&w, own, 0, 9.0F);
    expect("", step(&w, (struct wk_event){.kind = WK_EVENT_MESSAGE, .from = SL_COORDINATOR, .message = m}));
    sl_message_destroy(m); /* from who does not own it */
    params(&w, 0, 1.0F);
    (void)node_done(&w, 3, 0);
    for (int b = 0; b < w.layout->block_count; b++)
        assert_int_equal(w.updates.outbox.items[b].to.id, w.owners[b] == 0 ? 0 : 101);
    m = ack(0, 3, 0, own);
    expect("", step(&w, (struct wk_event){.kind = WK_EVENT_MESSAGE, .from = SL_COORDINATOR, .message = m}));
    sl_message_destroy(m);
    expect("stats 3.0 at 0", acks(&w, 0, 3, 0));
    close_world(&w);
}

static void test_an_audit_sends_its_hash_alone(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)join(&w);
    (void)receive(&w, assignment(SL_PHASE_AUDIT, 0, 7, 0, 2));
    params(&w, 0, 1.0F);
    expect("stats 1.0 at 0", node_done(&w, 1, 0));
    assert_int_equal(w.updates.outbox.items[0].message->hash, 77);
    assert_int_equal(w.updates.outbox.items[0].message->phase, SL_PHASE_AUDIT);
    assert_string_equal(wk_core_doing(w.core), "idle");
    close_world(&w);
}

static void test_validation(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)join(&w);
    expect("pull 2; validate 1-3 at 2 meanwhile", receive(&w, assignment(SL_PHASE_VALIDATE, 2, 3, 1, 3)));
    params(&w, 2, 1.0F);
    expect("validated 1-3", validation_done(&w));
    assert_int_equal(w.updates.outbox.items[0].message->frames[0].size, 80);
    expect("", assign(&w, 2, 0, 7)); /* until the executor is free */
    expect("train 0-7 at 2", idle(&w));
    close_world(&w);
}

static void misfit(struct sl_message *m)
{
    struct world w = new_world();
    (void)join(&w);
    expect("finish mismatch", receive(&w, m));
    assert_non_null(strstr(w.updates.action.text, "which this worker's data does not have"));
    close_world(&w);
}

static void test_assignments_beyond_the_data(void **state)
{
    (void)state;
    misfit(assignment(SL_PHASE_TRAIN, 0, 8, 0, 1)); /* a step has 7 slots at most */
    misfit(assignment(SL_PHASE_TRAIN, 1, 7, 0, 1)); /* the second one 3 */
    misfit(assignment(SL_PHASE_TRAIN, 0, 7, 6, 8));
    misfit(assignment(SL_PHASE_VALIDATE, 0, 3, 2, 4));
    misfit(assignment(SL_PHASE_VALIDATE, 0, 0, UINT32_MAX - 1, UINT32_MAX));
}

static void test_refused_stopped_leaving(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)step(&w, (struct wk_event){.kind = WK_EVENT_START});
    struct sl_message *m = message(SL_MESSAGE_REFUSE, 0);
    (void)snprintf(m->text, sizeof(m->text), "another config");
    expect("finish mismatch", receive(&w, m));
    assert_string_equal(w.updates.action.text, "another config");
    close_world(&w);

    w = new_world();
    (void)join(&w);
    m = message(SL_MESSAGE_STOP, 0);
    m->cluster++;
    expect("", receive(&w, m)); /* another run's */
    m = message(SL_MESSAGE_STOP, 0);
    (void)snprintf(m->text, sizeof(m->text), "all steps are done");
    expect("finish ok", receive(&w, m));
    close_world(&w);

    w = new_world();
    (void)join(&w);
    (void)assign(&w, 0, 0, 7);
    params(&w, 0, 1.0F);
    expect("bye; finish stopped", step(&w, (struct wk_event){.kind = WK_EVENT_LEAVE, .text = "SIGTERM"}));
    assert_string_equal(w.updates.outbox.items[0].message->text, "SIGTERM");
    expect("", node_done(&w, 2, 0)); /* what was under way is of no use any more */
    expect("", validation_done(&w));
    expect("", assign(&w, 0, 0, 7));
    close_world(&w);
}

static void test_what_is_not_for_workers_is_ignored(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)join(&w);
    for (int kind = 1; kind < SL_MESSAGE_KIND_COUNT; kind++) {
        bool ours = kind == SL_MESSAGE_REFUSE || kind == SL_MESSAGE_STOP || kind == SL_MESSAGE_ASSIGN;
        if (!ours)
            expect("", receive(&w, message((enum sl_message_kind)kind, 0)));
        struct sl_message *m = message((enum sl_message_kind)kind, 0); /* nor may a server give orders */
        expect("", step(&w, (struct wk_event){
                                    .kind = WK_EVENT_MESSAGE, .from = {SL_ROLE_SERVER, 9}, .message = m}));
        sl_message_destroy(m);
    }
    expect("pull 0; train 0-1 at 0 meanwhile", assign(&w, 0, 0, 1));
    close_world(&w);
}

/* Exchange early: scores are told at once, on the same parameters the coefficients come, and one frame a block is pushed. */
static void test_scores_come_before_gradients(void **state)
{
    (void)state;
    struct world w = world_of_exchange(1, false, SL_EXCHANGE_EARLY);
    (void)join(&w);
    struct sl_message *scoring = assignment(SL_PHASE_SCORE, 0, 7, 0, 4);
    scoring->hash = 1; /* which no coordinator asks for: there are no sums to hash */
    expect("pull 0; score 0-4 at 0 meanwhile", receive(&w, scoring));
    assert_false(w.updates.action.hash);
    uint64_t parameters = w.updates.action.parameters;
    params(&w, 0, 0.5F);
    expect("stats 1.0 at 0", node_done(&w, 1, 0));
    expect("stats 1.1 at 0", node_done(&w, 1, 1));
    assert_int_equal(w.updates.outbox.items[0].message->phase, SL_PHASE_SCORE);
    expect("", idle(&w));
    assert_string_equal(wk_core_doing(w.core), "idle");
    struct sl_message *m = assignment(SL_PHASE_TRAIN, 0, 7, 0, 4);
    m->coefficient[0] = 0.25;
    expect("train 0-4 at 0", receive(&w, m));
    assert_true(w.updates.action.coefficient[0] == 0.25 && w.updates.action.parameters == parameters);
    (void)node_done(&w, 2, 0);
    assert_int_equal(w.updates.outbox.count, w.layout->block_count);
    for (int b = 0; b < w.layout->block_count; b++)
        assert_int_equal(w.updates.outbox.items[b].message->frame_count, 1);
    expect("stats 2.0 at 0", acks(&w, 0, 2, 0));
    /* other parameters have another name */
    (void)idle(&w);
    expect("pull 1; score 0-1 at 1 meanwhile", receive(&w, assignment(SL_PHASE_SCORE, 1, 3, 0, 1)));
    assert_true(w.updates.action.parameters != parameters);
    close_world(&w);
}

/* Where its time goes: waiting, pulling, computing, pushing, told with the statistics. */
static void test_time_is_accounted_for(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)join(&w);
    w.now_us += 1000;
    (void)assign(&w, 0, 0, 4);
    w.now_us += 200;
    params(&w, 0, 0.5F);
    w.now_us += 30000;
    struct sl_buffer *buffer = sl_buffer_create(SL_TAGS * w.layout->count * sizeof(float));
    struct sl_step_stats stats = {.count = 8, .weight_sum = 2.0};
    struct wk_event done = {.kind = WK_EVENT_NODE_DONE,
            .run = w.run,
            .node = {2, 0},
            .stats = &stats,
            .spent.us[SL_SPENT_PULL] = 150, /* its threads waited so long for the first layers */
            .gradients = buffer};
    (void)step(&w, done);
    sl_buffer_release(buffer);
    (void)idle(&w);
    w.now_us += 4000;
    expect("stats 2.0 at 0", acks(&w, 0, 2, 0));
    const uint64_t *us = w.updates.outbox.items[0].message->spent.us;
    assert_in_range(us[SL_SPENT_WAIT], 1000, 1100);
    assert_int_equal(us[SL_SPENT_PULL], 150);
    assert_in_range(us[SL_SPENT_COMPUTE], 30050, 31000);
    assert_in_range(us[SL_SPENT_PUSH], 4000, 4900);
    close_world(&w);
}

/* Which no worker of a tagged exchange is asked for. */
static void test_scoring_needs_the_early_exchange(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)join(&w);
    expect("", receive(&w, assignment(SL_PHASE_SCORE, 0, 7, 0, 4)));
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_it_joins),
            cmocka_unit_test(test_lists_of_servers_that_make_no_sense),
            cmocka_unit_test(test_nobody_answers),
            cmocka_unit_test(test_whoever_is_gone_it_begins_anew),
            cmocka_unit_test(test_a_step),
            cmocka_unit_test(test_pushes_of_tables_are_sparse),
            cmocka_unit_test(test_pushes_are_rounded),
            cmocka_unit_test(test_blocks_leave_before_their_node_is_whole),
            cmocka_unit_test(test_frozen_blocks_stay),
            cmocka_unit_test(test_blocks_of_a_run_that_was_replaced),
            cmocka_unit_test(test_acknowledgements_count_once),
            cmocka_unit_test(test_parameters_that_do_not_count),
            cmocka_unit_test(test_runs_are_replaced),
            cmocka_unit_test(test_the_next_version_is_pulled_ahead),
            cmocka_unit_test(test_the_same_version_again_after_pulling_ahead),
            cmocka_unit_test(test_an_executor_that_is_busy_from_before_is_waited_for),
            cmocka_unit_test(test_pulls_say_what_is_held),
            cmocka_unit_test(test_a_newer_version_than_asked_for_is_fine),
            cmocka_unit_test(test_several_servers),
            cmocka_unit_test(test_an_audit_sends_its_hash_alone),
            cmocka_unit_test(test_scores_come_before_gradients),
            cmocka_unit_test(test_scoring_needs_the_early_exchange),
            cmocka_unit_test(test_time_is_accounted_for),
            cmocka_unit_test(test_validation),
            cmocka_unit_test(test_assignments_beyond_the_data),
            cmocka_unit_test(test_refused_stopped_leaving),
            cmocka_unit_test(test_what_is_not_for_workers_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
