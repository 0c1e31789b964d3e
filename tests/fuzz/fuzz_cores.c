/* A peer that says anything at all, in any order, to each of the cores: nothing that it can say may trip an assert, read beyond a buffer, overflow, or make a core say ever more.
 *
 * The first byte chooses the mode and the exchange, the second whether shards are local to workers; then come events: what happens (1 byte), and small numbers for its fields. Most events are messages with fields drawn
 * from few values around what is right, because a random 64-bit hash never is; some are encoded headers as they come. Every message goes through the codec, as from the wire; what it refuses never reaches a
 * core. The cluster is played by the cores themselves, a coordinator and two servers, which hear each other without loss; workers are the attackers, though some events have one do what it was told, so that
 * the search gets far; now and then the second server is an attacker too. The worker's core hears attackers alone. */
#include "common/codec.h"
#include "common/memory.h"
#include "common/placement.h"
#include "ps/coordinator.h"
#include "ps/server.h"
#include "worker/core.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CLUSTER 77
#define CONFIG_HASH 5
#define OWN 100 /* id of the first server */
#define SERVERS 2
#define WORKERS 3
#define EVENTS_MAX 400
#define FRAME_MAX 65536
#define OUTBOX_MAX 4096 /* messages that one event may lead to */
#define BLOCKS_MAX 64

static const uint64_t shard_sizes[2] = {10, 13};

struct input {
    const uint8_t *data;
    size_t left;
};

struct world {
    struct sl_config config;
    struct sl_layout *layout;
    struct sl_plan *plan;
    int owners[BLOCKS_MAX];
    struct ps_table *tables[SERVERS];
    struct ps_server *servers[SERVERS];
    uint64_t ids[SERVERS]; /* incarnations */
    struct ps_coordinator *coordinator;
    struct wk_core *worker;
    float *params;
    struct ps_updates updates;
    struct ps_server_updates answers;
    struct {
        struct sl_address from;
        struct sl_address to;
        struct sl_message *message;
    } queue[OUTBOX_MAX];
    int queue_count;
    struct sl_message *assigned[WORKERS + 1]; /* the last ASSIGN of each */
    struct wk_updates worker_updates;
    struct wk_action job;
    uint32_t job_at;
    int job_missing; /* blocks of its parameters that have not come */
    int64_t now_us, seen_step;
    uint64_t cluster;
    bool restore, over;
};

static uint8_t byte(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->data++;
}

static void must(bool what)
{
    if (!what)
        abort();
}

/* ---- the cluster ---- */

static void make_config(struct sl_config *config, uint8_t mode, bool local)
{
    config->label_count = 2;
    config->modality_count = 2;
    for (int m = 0; m < 2; m++) {
        config->modalities[m] = (struct sl_modality_config){
                .kind = SL_KIND_FEATURES, .input = 3, .hidden = 4, .max_items = 2};
        (void)snprintf(config->modalities[m].name, SL_NAME_MAX, "m%d", m);
        (void)snprintf(config->labels[m].name, SL_NAME_MAX, "c%d", m);
    }
    config->fusion.dim = 4;
    config->fusion.heads = 2;
    config->fusion.layers = 1;
    config->fusion.mlp = 4;
    config->modulation.form = (enum sl_modulation_form)(mode >> 3 & 3); /* to PARETO */
    config->modulation.beta_max = 2.0;
    config->modulation.gamma = 1.5;
    config->modulation.alpha = 0.5;
    config->modulation.decay = 0.9;
    config->modulation.end = -1;
    config->optimiser.lr = 1e-3F;
    config->optimiser.beta1 = 0.9F;
    config->optimiser.beta2 = 0.999F;
    config->optimiser.eps = 1e-8F;
    config->optimiser.clip_norm = 1.0F;
    config->batch.slots = 5;
    config->batch.slot_size = 2;
    config->epochs = 3;
    config->modulation.exchange = mode & 0x40 ? SL_EXCHANGE_EARLY : SL_EXCHANGE_TAGGED;
    config->consistency.mode = (enum sl_consistency)(mode % 3);
    config->consistency.staleness = 2;
    config->dataset.locality = local ? SL_LOCALITY_SHARDS : SL_LOCALITY_SAMPLES;
    config->dataset.missing = mode & 0x80 ? SL_MISSING_SKIP : SL_MISSING_WAIT;
    config->snapshots.every_steps = 1;
    config->early_stopping.patience = 2;
    (void)snprintf(config->snapshots.keep_best, sizeof(config->snapshots.keep_best), "fused.loss");
    config->cluster.heartbeat_ms = 1000;
    config->cluster.straggler = 2.0;
    config->cluster.audit = 0.5;
}

static void send(struct world *w, struct sl_address from, struct sl_address to, struct sl_message *m)
{
    must(w->queue_count < OUTBOX_MAX);
    w->queue[w->queue_count].from = from;
    w->queue[w->queue_count].to = to;
    w->queue[w->queue_count++].message = m;
}

/* Keeps what goes to another core of the cluster and what workers are told to do, and drops the rest. */
static void sort(struct world *w, struct sl_address from, struct sl_outbox *outbox)
{
    must(outbox->count <= OUTBOX_MAX);
    for (int i = 0; i < outbox->count; i++) {
        struct sl_outgoing *item = &outbox->items[i];
        if (item->to.role != SL_ROLE_WORKER) {
            send(w, from, item->to, SL_TAKE(item->message));
        } else if (item->message->kind == SL_MESSAGE_ASSIGN && item->to.id >= 1 && item->to.id <= WORKERS) {
            sl_message_destroy(w->assigned[item->to.id]);
            w->assigned[item->to.id] = SL_TAKE(item->message);
        }
    }
    sl_outbox_clear(outbox);
}

static void serve(struct world *w, int rank, struct ps_server_event *event)
{
    struct sl_error err = {0};
    int64_t before = ps_server_version(w->servers[rank]);
    event->now_us = w->now_us += 1000;
    must(ps_server_step(w->servers[rank], event, &w->answers, &err) == SL_OK);
    must(ps_server_version(w->servers[rank]) >= before);
    sort(w, (struct sl_address){SL_ROLE_SERVER, w->ids[rank]}, &w->answers.outbox);
    if (!w->answers.more ||
            w->now_us / 1000 % 3 == 0) /* a piece of a commit, or it waits for the next event */
        return;
    struct ps_server_event work = {.kind = PS_SERVER_WORK, .now_us = w->now_us};
    must(ps_server_step(w->servers[rank], &work, &w->answers, &err) == SL_OK);
    sort(w, (struct sl_address){SL_ROLE_SERVER, w->ids[rank]}, &w->answers.outbox);
}

/* A new core for a server, which says hello. */
static void start_server(struct world *w, int rank)
{
    struct sl_error err = {0};
    struct ps_server_options options = {.config = &w->config,
            .layout = w->layout,
            .table = w->tables[rank],
            .hello = {.role = SL_ROLE_SERVER,
                    .config_hash = CONFIG_HASH,
                    .layout_hash = w->layout->hash,
                    .rank = (uint32_t)rank,
                    .servers = SERVERS},
            .incarnation = w->ids[rank],
            .join_us = 1000000000,
            .report_us = 1000000};
    if (rank > 0)
        (void)snprintf(options.hello.endpoint, sizeof(options.hello.endpoint), "tcp://h:1");
    ps_server_destroy(w->servers[rank]);
    w->servers[rank] = NULL;
    must(ps_server_create(&w->servers[rank], &options, &err) == SL_OK);
    struct ps_server_event start = {.kind = PS_SERVER_START};
    serve(w, rank, &start);
}

static void load(struct world *w, const struct ps_action *action)
{
    for (int b = 0; b < w->layout->block_count; b++) {
        if (w->owners[b] != (int)action->rank)
            continue;
        size_t size = w->layout->blocks[b].count * sizeof(float);
        struct sl_message *m = sl_message_create(SL_MESSAGE_LOAD);
        struct sl_buffer *buffer = sl_buffer_create(size);
        must(m != NULL && buffer != NULL);
        m->cluster = action->cluster;
        m->count = action->count;
        m->version = ps_coordinator_training(w->coordinator)->step;
        m->block = (uint32_t)b;
        memset(buffer->data, 0, size);
        sl_message_add_frame(m, buffer, buffer->data, size);
        sl_buffer_release(buffer);
        send(w, SL_COORDINATOR, action->to, m);
    }
}

static void coordinate(struct world *w, struct ps_event *event)
{
    struct sl_error err = {0};
    bool write = false;
    event->now_us = w->now_us += 1000;
    must(ps_coordinator_step(w->coordinator, event, &w->updates, &err) == SL_OK);
    int64_t step = ps_coordinator_training(w->coordinator)->step;
    must(step >= w->seen_step || w->restore || event->kind == PS_EVENT_RESTORED);
    w->seen_step = step;
    for (int i = 0; i < w->updates.action_count; i++) {
        const struct ps_action *action = &w->updates.actions[i];
        if (action->kind == PS_ACTION_LOAD)
            load(w, action);
        write |= action->kind == PS_ACTION_SNAPSHOT_WRITE;
        w->restore |= action->kind == PS_ACTION_RESTORE;
        w->over |= action->kind == PS_ACTION_FINISH;
    }
    sort(w, SL_COORDINATOR, &w->updates.outbox);
    if (write) {
        struct ps_event written = {.kind = PS_EVENT_SNAPSHOT_WRITTEN, .text = ""};
        coordinate(w, &written);
    }
}

static void drop_queue(struct world *w)
{
    for (int i = 0; i < w->queue_count; i++)
        sl_message_destroy(w->queue[i].message);
    w->queue_count = 0;
}

static int rank_of(const struct world *w, struct sl_address address)
{
    for (int s = 0; s < SERVERS; s++)
        if (address.role == SL_ROLE_SERVER && address.id == w->ids[s])
            return s;
    return -1;
}

/* All links are closed, servers and the run begin anew. */
static void restore(struct world *w)
{
    struct ps_training training = ps_training_begin();
    struct ps_event restored = {.kind = PS_EVENT_RESTORED, .training = &training, .text = ""};
    drop_queue(w);
    coordinate(w, &restored);
    w->restore = false;
    w->cluster++;
    w->ids[1] += 100;
    for (int s = 0; s < SERVERS && !w->over; s++)
        start_server(w, s);
}

/* Until nobody in the cluster has anything to say to another. */
static void settle(struct world *w)
{
    for (int rounds = 0; rounds < 10000 && (w->queue_count > 0 || w->restore); rounds++) {
        if (w->restore) {
            restore(w);
            continue;
        }
        struct sl_address from = w->queue[0].from, to = w->queue[0].to;
        struct sl_message *m = w->queue[0].message;
        memmove(&w->queue[0], &w->queue[1], (size_t)--w->queue_count * sizeof(w->queue[0]));
        int rank = rank_of(w, to);
        if (to.role == SL_ROLE_COORDINATOR) {
            struct ps_event event = {.kind = PS_EVENT_MESSAGE, .from = from, .message = m};
            coordinate(w, &event);
        } else if (rank >= 0) {
            struct ps_server_event event = {.kind = PS_SERVER_MESSAGE, .from = from, .message = m};
            serve(w, rank, &event);
        }
        sl_message_destroy(m);
    }
    must(w->queue_count == 0);
}

static void open_world(struct world *w, uint8_t mode, bool local)
{
    struct sl_error err = {0};
    make_config(&w->config, mode, local);
    must(sl_layout_create(&w->layout, &w->config, 64, &err) == SL_OK && w->layout->block_count <= BLOCKS_MAX);
    struct sl_plan_options plan = {.count = 23, .slots = 5, .slot_size = 2};
    plan.shards = local ? shard_sizes : NULL;
    plan.shard_count = local ? 2 : 0;
    must(sl_plan_create(&w->plan, &plan, &err) == SL_OK);
    sl_placement_make(w->layout, SERVERS, w->owners);
    struct ps_optimiser optimiser = ps_optimiser_from_config(&w->config);
    w->cluster = CLUSTER;
    struct ps_coordinator_options options = {
            &w->config, w->layout, CONFIG_HASH, CLUSTER, OWN, SERVERS, ps_training_begin(), NULL};
    must(ps_coordinator_create(&w->coordinator, &options, &err) == SL_OK);
    for (int s = 0; s < SERVERS; s++) {
        int own[BLOCKS_MAX], count = 0;
        for (int b = 0; b < w->layout->block_count; b++)
            if (w->owners[b] == s)
                own[count++] = b;
        must(ps_table_create(&w->tables[s], w->layout, &optimiser, own, count, &err) == SL_OK);
        w->ids[s] = OWN + (uint64_t)s;
        start_server(w, s);
    }
    settle(w);
    struct wk_core_options worker = {.layout = w->layout,
            .plan = w->plan,
            .slot_size = 2,
            .join_us = 5000000,
            .report_us = 1000000,
            .hello = {.train_count = 23, .validation_count = 5}};
    w->params = sl_alloc_aligned(w->layout->count, sizeof(float));
    must(wk_core_create(&w->worker, &worker, w->params, &err) == SL_OK);
    struct wk_event start = {.kind = WK_EVENT_START};
    must(wk_core_step(w->worker, &start, &w->worker_updates, &err) == SL_OK);
}

static void close_world(struct world *w)
{
    drop_queue(w);
    for (int i = 0; i <= WORKERS; i++)
        sl_message_destroy(w->assigned[i]);
    ps_updates_fini(&w->updates);
    sl_outbox_fini(&w->answers.outbox);
    sl_outbox_fini(&w->worker_updates.outbox);
    wk_core_destroy(w->worker);
    ps_coordinator_destroy(w->coordinator);
    for (int s = 0; s < SERVERS; s++) {
        ps_server_destroy(w->servers[s]);
        ps_table_destroy(w->tables[s]);
    }
    sl_plan_destroy(w->plan);
    sl_layout_destroy(w->layout);
    sl_free(w->params);
}

/* ---- the worker's core ---- */

static void work(struct world *w, struct wk_event *event)
{
    struct sl_error err = {0};
    event->now_us = w->now_us += 1000;
    must(wk_core_step(w->worker, event, &w->worker_updates, &err) == SL_OK);
    must(w->worker_updates.outbox.count <= OUTBOX_MAX);
    const struct wk_action *action = &w->worker_updates.action;
    if (action->kind == WK_ACTION_COMPUTE) {
        /* what the executor relies on: within the plan's steps, the tree's slots and its own arrays; and one run at a time */
        uint32_t units = action->phase == SL_PHASE_VALIDATE ? 3 : sl_plan_slots(w->plan, action->step);
        must(action->begin < action->end && action->end <= units && action->step >= 0);
        must(action->phase == SL_PHASE_VALIDATE || action->slots == units);
        must(w->job.kind != WK_ACTION_COMPUTE);
        w->job = *action;
        w->job_at = action->begin;
        w->job_missing = 0;
        for (int b = 0; action->arriving && b < w->layout->block_count; b++)
            w->job_missing += !action->here[b];
    } else if (action->kind == WK_ACTION_FINISH) {
        w->job.kind = WK_ACTION_NONE;
    } else if (action->kind == WK_ACTION_CANCEL) {
        w->job_at = w->job.end;
        w->job_missing = 0;
    }
    if (w->worker_updates.arrived >= 0) { /* only for a run that waits for it */
        must(w->job.kind == WK_ACTION_COMPUTE && w->job_missing > 0);
        w->job_missing--;
    }
    sl_outbox_clear(&w->worker_updates.outbox);
}

/* The executor is ours, not the attacker's: it finishes the next node of the job, or the validation, then says that it is idle. */
static void compute(struct world *w)
{
    struct wk_event event = {.kind = WK_EVENT_IDLE};
    if (w->job.kind != WK_ACTION_COMPUTE || w->job_missing > 0)
        return;
    if (w->job_at >= w->job.end) {
        w->job.kind = WK_ACTION_NONE;
        work(w, &event);
        return;
    }
    struct sl_buffer *buffer = sl_buffer_create(SL_TAGS * w->layout->count * sizeof(float));
    struct sl_step_stats stats = {.count = 1};
    must(buffer != NULL);
    event = (struct wk_event){.kind = WK_EVENT_VALIDATION_DONE, .run = w->job.run, .evaluation = buffer};
    if (w->job.phase != SL_PHASE_VALIDATE) {
        event = (struct wk_event){
                .kind = WK_EVENT_NODE_DONE, .run = w->job.run, .stats = &stats, .gradients = buffer};
        event.node = sl_tree_cover(w->job.slots, w->job_at, w->job.end);
    }
    w->job_at = w->job.phase == SL_PHASE_VALIDATE ? w->job.end : sl_tree_end(w->job.slots, event.node);
    work(w, &event);
    sl_buffer_release(buffer);
}

/* ---- messages ---- */

/* Mostly what is right, sometimes next to it, sometimes the end of the range. */
static uint64_t near(uint8_t draw, uint64_t right)
{
    if (draw < 160)
        return right;
    if (draw < 200)
        return right + draw % 8 - 4;
    return draw < 250 ? draw % 10 : UINT64_MAX >> (draw % 4 * 16);
}

static double odd_number(uint8_t draw)
{
    static const double odd[] = {0.0, -1.0, 1e308, -1e308, __builtin_inf(), __builtin_nan(""), 1e-300, 1e30};
    return draw < 200 ? 1.0 + draw : odd[draw % 8];
}

static void fill_hello(struct world *w, struct input *in, struct sl_hello *hello)
{
    hello->config_hash = near(byte(in), CONFIG_HASH);
    hello->layout_hash = near(byte(in), w->layout->hash);
    hello->train_count = near(byte(in), 23);
    hello->validation_count = near(byte(in), 5);
    if (hello->validation_count > 1000 && hello->validation_count <= 1U << 26)
        hello->validation_count = 1000; /* allowed, but slow */
    if (hello->train_count > 1000 && hello->train_count <= UINT32_MAX)
        hello->train_count = 1000;
    hello->rank = (uint32_t)near(byte(in), 1);
    hello->servers = (uint32_t)near(byte(in), SERVERS);
    (void)snprintf(hello->endpoint, sizeof(hello->endpoint), "e");
}

static void fill_stats(struct world *w, struct input *in, struct sl_message *m)
{
    bool valid = m->slots > 0 && m->slots <= SL_SLOTS_MAX && m->node.level < 8 &&
                 sl_tree_node_valid(m->slots, m->node) &&
                 m->slots == sl_plan_slots(w->plan, m->step & 0xffff);
    int64_t right = valid ? sl_plan_samples(w->plan, m->step & 0xffff, sl_tree_begin(m->node),
                                    sl_tree_end(m->slots, m->node))
                          : 2;
    m->stats.count = (int)(near(byte(in), (uint64_t)right) & INT32_MAX);
    m->stats.weight_sum = odd_number(byte(in));
    m->stats.loss[2] = odd_number(byte(in));
    m->stats.score[0] = odd_number(byte(in));
    m->stats.score[1] = 1.0;
    m->compute_us = near(byte(in), 5);
    m->hash = near(byte(in), 5);
}

static void fill(struct world *w, struct input *in, struct sl_message *m)
{
    int64_t step = ps_coordinator_training(w->coordinator)->step;
    uint8_t place = byte(in), draw = byte(in);
    m->cluster = near(byte(in), w->cluster);
    m->step = (int64_t)near(byte(in), (uint64_t)(step + place % 3));
    m->version = (int64_t)near(byte(in), (uint64_t)(step + draw % 3));
    m->slots = (uint32_t)near(byte(in), sl_plan_slots(w->plan, m->step & 0xffff));
    m->phase = draw % 4 == 0 ? (enum sl_phase)(draw / 4 % SL_PHASE_COUNT) : SL_PHASE_TRAIN;
    m->node = (struct sl_node){(uint32_t)near(byte(in), place % 4), (uint32_t)near(byte(in), place / 4 % 8)};
    m->begin = (uint32_t)near(byte(in), place % 3);
    m->end = (uint32_t)near(byte(in), m->begin + place / 16 % 4);
    m->block = (uint32_t)near(byte(in), draw % (unsigned)w->layout->block_count);
    m->count = near(byte(in), m->kind == SL_MESSAGE_WELCOME ? SERVERS : 12);
    m->hash = near(byte(in), 0);
    /* not another byte: the corpus is older */
    if (m->kind == SL_MESSAGE_PULL || m->kind == SL_MESSAGE_PARAMS)
        m->held = place >= 250 ? SL_STEP_MAX : step + draw % 3 - 1 - place / 4 % 3;
    if (m->held < -1)
        m->held = -1;
    if (m->kind == SL_MESSAGE_PARAMS && place % 4 >= 2)
        m->encoding[0] = SL_ENCODING_CHANGED;
    if (m->kind == SL_MESSAGE_HELLO)
        fill_hello(w, in, &m->hello);
    if (m->kind == SL_MESSAGE_STATS || m->kind == SL_MESSAGE_VALIDATED)
        fill_stats(w, in, m);
    if (m->kind == SL_MESSAGE_COMMIT)
        m->commit = (struct sl_commit){1.0, odd_number(byte(in)), odd_number(byte(in)), {1.0, 1.0}};
}

static size_t right_size(const struct world *w, const struct sl_message *m, int frame)
{
    const struct sl_block *block = &w->layout->blocks[m->block % (uint32_t)w->layout->block_count];
    if (m->kind == SL_MESSAGE_VALIDATED)
        return sl_evaluation_int_count(3, 2) * sizeof(int64_t) +
               sl_evaluation_double_count(3, 2) * sizeof(double);
    if (m->kind == SL_MESSAGE_REDUCED)
        return (size_t)w->layout->block_count / SERVERS * sizeof(struct sl_block_sums);
    if (m->kind == SL_MESSAGE_APPLIED)
        return (size_t)w->layout->block_count / SERVERS * sizeof(struct sl_block_change);
    if (m->kind == SL_MESSAGE_WELCOME)
        return SERVERS * sizeof(struct sl_server_entry);
    if (m->kind == SL_MESSAGE_HELLO)
        return frame == 0 ? 2 * sizeof(uint64_t) : 2;
    if (m->kind == SL_MESSAGE_PARAMS && m->encoding[0] == SL_ENCODING_CHANGED) /* a line, or none */
        return m->held % 2 == 0 ? 0 : sl_encoding_bitmap_size(block->count) + SL_LINE_FLOATS * sizeof(float);
    return block->count * sizeof(float);
}

static int right_count(const struct world *w, const struct sl_message *m)
{
    const struct sl_block *block = &w->layout->blocks[m->block % (uint32_t)w->layout->block_count];
    if (m->kind == SL_MESSAGE_PUSH)
        return block->tagged[0] + block->tagged[1];
    if (m->kind == SL_MESSAGE_HELLO)
        return w->config.dataset.locality == SL_LOCALITY_SHARDS ? 2 : 0;
    return m->kind == SL_MESSAGE_PARAMS || m->kind == SL_MESSAGE_VALIDATED || m->kind == SL_MESSAGE_REDUCED ||
           m->kind == SL_MESSAGE_APPLIED || m->kind == SL_MESSAGE_LOAD || m->kind == SL_MESSAGE_SAVED ||
           m->kind == SL_MESSAGE_WELCOME;
}

/* What makes sense in a frame of this kind. */
static void fill_frame(const struct sl_message *m, int frame, void *bytes, size_t size)
{
    if (m->kind == SL_MESSAGE_HELLO && frame == 0 && size == 2 * sizeof(uint64_t)) {
        memcpy(bytes, shard_sizes, size);
    } else if (m->kind == SL_MESSAGE_PARAMS && m->encoding[0] == SL_ENCODING_CHANGED &&
               size >= sizeof(uint64_t)) {
        memset(bytes, 0, sizeof(uint64_t));
        *(unsigned char *)bytes = 1;
    } else if (m->kind == SL_MESSAGE_WELCOME && size == SERVERS * sizeof(struct sl_server_entry)) {
        memset(bytes, 0, size);
        for (int s = 0; s < SERVERS; s++)
            memcpy((char *)bytes + (size_t)s * sizeof(struct sl_server_entry),
                    &(struct sl_server_entry){OWN + (uint64_t)s, "e"}, sizeof(struct sl_server_entry));
    } else if (m->kind == SL_MESSAGE_VALIDATED && size >= 3 * 34 * sizeof(int64_t)) {
        memset(bytes, 0, size);
        for (int b = 0; b < 3;
                b++) /* K² + 2 bins = 34 integers a branch: one sample, predicted right, in the first bin */
            for (size_t k = 0; k < 34; k++)
                ((int64_t *)bytes)[b * 34 + (int)k] = k == 0 || k == 4 || k == 19;
    }
}

/* As many frames and bytes as are right, or not; their contents are what makes sense, or one byte again and again. */
static void add_frames(struct world *w, struct input *in, struct sl_message *m)
{
    int count = (int)(near(byte(in), (uint64_t)right_count(w, m)) % (SL_MESSAGE_FRAMES_MAX + 1));
    for (int i = 0; i < count; i++) {
        size_t size = near(byte(in), right_size(w, m, i)) % FRAME_MAX;
        struct sl_buffer *buffer = sl_buffer_create(size);
        must(buffer != NULL);
        uint8_t value = byte(in);
        memset(buffer->data, value, size);
        if (value < 128)
            fill_frame(m, i, buffer->data, size);
        sl_message_add_frame(m, buffer, buffer->data, size);
        sl_buffer_release(buffer);
    }
}

/* Through the codec, as bytes; NULL when they are refused. */
static struct sl_message *on_the_wire(struct world *w, struct input *in, struct sl_message *draft)
{
    unsigned char bytes[SL_HEADER_SIZE_MAX];
    struct sl_message *m = NULL;
    struct sl_error err = {0};
    size_t size = 0;
    if (draft != NULL) {
        must(sl_codec_encode(draft, bytes, &size, &err) == SL_OK);
    } else {
        size = (size_t)byte(in) * 4;
        size = size > in->left ? in->left : size;
        if (size > 0)
            memcpy(bytes, in->data, size);
        in->data += size;
        in->left -= size;
    }
    if (sl_codec_decode(&m, bytes, size, &err) != SL_OK)
        return NULL;
    add_frames(w, in, m);
    if (sl_codec_check_frames(m, &err) == SL_OK)
        return m;
    sl_message_destroy(m);
    return NULL;
}

/* ---- events ---- */

/* An attacker's message. whom: 0 the coordinator, 1 and 2 servers, 3 the worker; from a worker, or for the coordinator and the worker also from the second server, and for the worker from the
 * coordinator. */
static void attack(struct world *w, struct input *in, bool raw)
{
    uint8_t whom = byte(in);
    struct sl_message *draft =
            sl_message_create((enum sl_message_kind)(1 + byte(in) % (SL_MESSAGE_KIND_COUNT - 1)));
    must(draft != NULL);
    fill(w, in, draft);
    struct sl_message *m = on_the_wire(w, in, raw ? NULL : draft);
    sl_message_destroy(draft);
    struct sl_address from = {SL_ROLE_WORKER, 1U + (whom >> 2) % WORKERS};
    if (whom >= 240)
        from = (struct sl_address){SL_ROLE_SERVER, w->ids[1]};
    if (m == NULL)
        return;
    if (whom % 4 == 3) {
        struct wk_event event = {.kind = WK_EVENT_MESSAGE, .from = SL_COORDINATOR, .message = m};
        if (whom % 8 == 7)
            event.from = (struct sl_address){SL_ROLE_SERVER, OWN + 1};
        work(w, &event);
    } else if (whom % 4 == 0) {
        struct ps_event event = {.kind = PS_EVENT_MESSAGE, .from = from, .message = m};
        coordinate(w, &event);
    } else {
        struct ps_server_event event = {.kind = PS_SERVER_MESSAGE, .from = from, .message = m};
        event.from.role = SL_ROLE_WORKER;
        serve(w, whom % 4 - 1, &event);
    }
    sl_message_destroy(m);
    settle(w);
}

static void deliver(struct world *w, uint64_t id, int rank, struct sl_message *m)
{
    struct sl_address from = {SL_ROLE_WORKER, id};
    struct ps_event event = {.kind = PS_EVENT_MESSAGE, .from = from, .message = m};
    struct ps_server_event to_server = {.kind = PS_SERVER_MESSAGE, .from = from, .message = m};
    m->cluster = w->cluster;
    if (rank < 0)
        coordinate(w, &event);
    else
        serve(w, rank, &to_server);
    sl_message_destroy(m);
    settle(w);
}

static struct sl_message *like(const struct world *w, uint64_t id, enum sl_message_kind kind)
{
    struct sl_message *m = sl_message_create(kind);
    must(m != NULL);
    m->step = w->assigned[id]->step;
    m->version = w->assigned[id]->version;
    m->phase = w->assigned[id]->phase;
    m->slots = w->assigned[id]->slots;
    m->begin = w->assigned[id]->begin;
    m->end = w->assigned[id]->end;
    return m;
}

static void push_node(struct world *w, uint64_t id, struct sl_node node)
{
    for (int b = 0; b < w->layout->block_count; b++) {
        struct sl_message *m = like(w, id, SL_MESSAGE_PUSH);
        m->node = node;
        m->block = (uint32_t)b;
        for (int tag = 0; tag < SL_TAGS; tag++) {
            if (!w->layout->blocks[b].tagged[tag])
                continue;
            size_t size = w->layout->blocks[b].count * sizeof(float);
            struct sl_buffer *buffer = sl_buffer_create(size);
            must(buffer != NULL);
            memset(buffer->data, 1, size);
            sl_message_add_frame(m, buffer, buffer->data, size);
            sl_buffer_release(buffer);
        }
        deliver(w, id, w->owners[b], m);
    }
}

/* A worker does what it was told: its next node, or its validation. */
static void obey(struct world *w, uint64_t id)
{
    if (w->assigned[id] == NULL)
        return;
    if (w->assigned[id]->phase == SL_PHASE_VALIDATE) {
        struct sl_message *m = like(w, id, SL_MESSAGE_VALIDATED);
        size_t size = right_size(w, m, 0);
        struct sl_buffer *buffer = sl_buffer_create(size);
        must(buffer != NULL);
        fill_frame(m, 0, buffer->data, size);
        sl_message_add_frame(m, buffer, buffer->data, size);
        sl_buffer_release(buffer);
        sl_message_destroy(SL_TAKE(w->assigned[id]));
        deliver(w, id, -1, m);
        return;
    }
    struct sl_message *m = like(w, id, SL_MESSAGE_STATS);
    struct sl_message *mine = SL_TAKE(w->assigned[id]);
    m->node = sl_tree_cover(mine->slots, mine->begin, mine->end);
    uint32_t end = sl_tree_end(mine->slots, m->node);
    int64_t samples =
            0; /* none either when the run is not over our data: the first worker may have told another size */
    if (mine->phase != SL_PHASE_SKIP && mine->slots == sl_plan_slots(w->plan, mine->step))
        samples = sl_plan_samples(w->plan, mine->step, sl_tree_begin(m->node), end);
    m->stats =
            (struct sl_step_stats){.count = (int)samples, .weight_sum = (double)samples, .score = {1.0, 1.0}};
    m->hash = mine->hash * 7;
    w->assigned[id] = mine;
    if (mine->phase != SL_PHASE_AUDIT)
        push_node(w, id, m->node);
    if (w->assigned[id] == mine) {
        mine->begin = end;
        if (mine->begin >= mine->end)
            sl_message_destroy(SL_TAKE(w->assigned[id]));
    }
    deliver(w, id, -1, m);
}

/* What happens besides messages: time, links that end, a signal, work. */
static void happen(struct world *w, uint8_t what)
{
    struct ps_event event = {.kind = PS_EVENT_TICK,
            .from = {SL_ROLE_WORKER, 1U + what / 16 % WORKERS},
            .status = SL_STOPPED,
            .text = "stop"};
    struct wk_event tick = {.kind = WK_EVENT_TICK};
    struct ps_server_event gone = {.kind = PS_SERVER_GONE, .from = event.from, .text = "gone"};
    switch (what % 8) {
    case 0:
        w->now_us += (int64_t)what * 50000;
        work(w, &tick);
        break;
    case 1:
        event.kind = PS_EVENT_GONE;
        serve(w, 0, &gone);
        break;
    case 2:
        event.kind = what >= 0xf0 ? PS_EVENT_STOP : PS_EVENT_TICK;
        w->now_us += (int64_t)what * 100000;
        break;
    case 3:
        if (what < 0xc0)
            return;
        event.kind = PS_EVENT_GONE;
        event.from = (struct sl_address){SL_ROLE_SERVER, w->ids[1]};
        break;
    case 4:
        compute(w);
        return;
    default:
        obey(w, event.from.id);
        return;
    }
    coordinate(w, &event);
    settle(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct world *w = sl_alloc(1, sizeof(*w));
    if (w == NULL)
        return 0;
    uint8_t mode = byte(&in);
    open_world(w, mode, byte(&in) % 4 == 3);
    for (int i = 0; i < EVENTS_MAX && in.left > 0; i++) {
        uint8_t kind = byte(&in);
        if (kind % 4 == 0)
            attack(w, &in, kind % 32 == 28);
        else
            happen(w, byte(&in));
    }
    close_world(w);
    sl_free(w);
    return 0;
}
