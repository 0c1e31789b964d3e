/* A peer that sends anything at all, in any order, to each of the cores: nothing that it can say may trip an assert, read beyond a buffer or overflow.
 *
 * The input is a list of events of 24 bytes and more: what it goes to and who sends it (1 byte), the message's kind (1), small numbers for its fields (22), and
 * for every eighth event an encoded header instead (2 bytes of length, then the bytes, through the codec). So the search finds both what the codec lets
 * through and deep sequences. Fields are drawn from few values around what is right, because a random 64-bit hash is never right. Every message goes through the codec, as from
 * the wire; what it refuses never reaches a core. The cluster is played by the cores themselves: what the coordinator and the server tell each other is
 * delivered, as in a process; what they tell workers is not, for the worker is the attacker; the worker's core hears the attacker alone. */
#include "common/codec.h"
#include "common/memory.h"
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
#define EVENTS_MAX 400
#define FRAME_MAX 65536

struct input {
    const uint8_t *data;
    size_t left;
};

struct world {
    struct sl_config config;
    struct sl_layout *layout;
    struct ps_table *table;
    struct ps_server *server;
    struct ps_coordinator *coordinator;
    struct wk_core *worker;
    float *params;
    struct ps_updates updates;
    struct sl_outbox answers, local;
    struct wk_updates worker_updates;
    struct wk_action job;
    uint32_t job_at;
    int64_t now_us;
};

static uint8_t byte(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->data++;
}

static void must(enum sl_status status)
{
    if (status != SL_OK)
        abort();
}

/* ---- the cluster ---- */

static void make_config(struct sl_config *config)
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
    config->snapshots.every_steps = 1;
    config->early_stopping.patience = 2;
    (void)snprintf(config->snapshots.keep_best, sizeof(config->snapshots.keep_best), "fused.loss");
    config->cluster.heartbeat_ms = 1000;
    config->cluster.timeout_ms = 5000;
}

static void open_world(struct world *w)
{
    struct sl_error err = {0};
    make_config(&w->config);
    must(sl_layout_create(&w->layout, &w->config, 4096, &err));
    struct ps_optimiser optimiser = ps_optimiser_from_config(&w->config);
    must(ps_table_create(&w->table, w->layout, &optimiser, NULL, 0, &err));
    must(ps_server_create(&w->server, &w->config, w->layout, w->table, CLUSTER, &err));
    struct ps_coordinator_options options = {
            &w->config, w->layout, CONFIG_HASH, CLUSTER, ps_training_begin()};
    must(ps_coordinator_create(&w->coordinator, &options, &err));
    struct wk_core_options worker = {
            .layout = w->layout, .slots = 5, .slot_size = 2, .heartbeat_us = 1000000, .timeout_us = 5000000};
    worker.hello = (struct sl_hello){.train_count = 23, .validation_count = 5};
    w->params = sl_alloc_aligned(w->layout->count, sizeof(float));
    must(wk_core_create(&w->worker, &worker, w->params, &err));
    struct wk_event start = {.kind = WK_EVENT_START};
    must(wk_core_step(w->worker, &start, &w->worker_updates, &err));
}

static void close_world(struct world *w)
{
    sl_outbox_fini(&w->updates.outbox);
    sl_outbox_fini(&w->answers);
    sl_outbox_fini(&w->local);
    sl_outbox_fini(&w->worker_updates.outbox);
    wk_core_destroy(w->worker);
    ps_coordinator_destroy(w->coordinator);
    ps_server_destroy(w->server);
    ps_table_destroy(w->table);
    sl_layout_destroy(w->layout);
    sl_free(w->params);
}

/* Keeps what goes to the other core in the process, and drops the rest. */
static void sort(struct world *w, struct sl_outbox *outbox)
{
    struct sl_error err = {0};
    for (int i = 0; i < outbox->count; i++)
        if (outbox->items[i].to.role == SL_ROLE_SERVER)
            must(sl_outbox_add(&w->local, outbox->items[i].to, SL_TAKE(outbox->items[i].message), &err));
    sl_outbox_clear(outbox);
}

static void coordinate(struct world *w, struct ps_event *event)
{
    struct sl_error err = {0};
    event->now_us = w->now_us += 1000;
    must(ps_coordinator_step(w->coordinator, event, &w->updates, &err));
    sort(w, &w->updates.outbox);
    for (int i = 0; i < w->updates.action_count; i++) {
        if (w->updates.actions[i].kind == PS_ACTION_SNAPSHOT) {
            struct ps_event written = {.kind = PS_EVENT_SNAPSHOT_WRITTEN, .text = ""};
            coordinate(w, &written);
            return;
        }
    }
}

static void serve(struct world *w, struct sl_address from, struct sl_message *m)
{
    struct sl_error err = {0};
    if (m->kind == SL_MESSAGE_PUSH || m->kind == SL_MESSAGE_PULL || m->kind == SL_MESSAGE_COMMIT) {
        must(ps_server_step(w->server, from, m, &w->answers, &err));
        sort(w, &w->answers);
    } else {
        struct ps_event event = {.kind = PS_EVENT_MESSAGE, .from = from, .message = m};
        coordinate(w, &event);
    }
}

static void serve_local(struct world *w)
{
    while (w->local.count > 0) {
        struct sl_outbox now = w->local;
        w->local = (struct sl_outbox){0};
        for (int i = 0; i < now.count; i++)
            serve(w, (struct sl_address){SL_ROLE_SERVER, 0}, now.items[i].message);
        sl_outbox_fini(&now);
    }
}

static void work(struct world *w, struct wk_event *event)
{
    struct sl_error err = {0};
    event->now_us = w->now_us += 1000;
    must(wk_core_step(w->worker, event, &w->worker_updates, &err));
    const struct wk_action *action = &w->worker_updates.action;
    if (action->kind == WK_ACTION_COMPUTE) {
        /* what the executor relies on: within the sampler's steps, the tree's slots and its own arrays */
        uint32_t units = action->phase == SL_PHASE_TRAIN ? action->slots : 3;
        if (action->begin >= action->end || action->end > units ||
                (action->phase == SL_PHASE_TRAIN && action->slots > 5) || action->step < 0)
            abort();
        w->job = *action;
        w->job_at = action->begin;
    } else if (action->kind == WK_ACTION_FINISH) {
        w->job.kind = WK_ACTION_NONE;
    }
    sl_outbox_clear(&w->worker_updates.outbox);
}

/* The executor is ours, not the attacker's: it finishes the next node of the job, or the validation. */
static void compute(struct world *w)
{
    if (w->job.kind != WK_ACTION_COMPUTE)
        return;
    struct sl_buffer *buffer = sl_buffer_create(SL_TAGS * w->layout->count * sizeof(float));
    struct sl_step_stats stats = {.count = 1};
    struct wk_event event = {.kind = WK_EVENT_VALIDATION_DONE, .evaluation = buffer};
    if (buffer == NULL)
        return;
    if (w->job.phase == SL_PHASE_TRAIN) {
        event = (struct wk_event){.kind = WK_EVENT_NODE_DONE, .stats = &stats, .gradients = buffer};
        event.node = sl_tree_cover(w->job.slots, w->job_at, w->job.end);
        w->job_at = sl_tree_end(w->job.slots, event.node);
    }
    if (w->job.phase == SL_PHASE_VALIDATE || w->job_at >= w->job.end)
        w->job.kind = WK_ACTION_NONE;
    work(w, &event);
    sl_buffer_release(buffer);
}

/* ---- the attacker ---- */

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
}

static void fill_stats(struct input *in, struct sl_message *m)
{
    uint32_t width = sl_tree_node_valid(m->slots > 0 ? m->slots : 1, m->node) && m->node.level < 8
                             ? sl_tree_end(m->slots > 0 ? m->slots : 1, m->node) - sl_tree_begin(m->node)
                             : 1;
    m->stats.count = (int)(near(byte(in), (uint64_t)width * 2) & INT32_MAX);
    m->stats.weight_sum = odd_number(byte(in));
    m->stats.loss[2] = odd_number(byte(in));
    m->stats.score[0] = odd_number(byte(in));
    m->stats.score[1] = 1.0;
    m->compute_us = near(byte(in), 5);
}

static void fill(struct world *w, struct input *in, struct sl_message *m)
{
    int64_t step = ps_coordinator_training(w->coordinator)->step;
    m->cluster = near(byte(in), CLUSTER);
    m->step = (int64_t)near(byte(in), (uint64_t)step);
    m->slots = (uint32_t)near(byte(in), step % 3 == 2 ? 2 : 5);
    m->phase = byte(in) % 4 == 0 ? SL_PHASE_VALIDATE : SL_PHASE_TRAIN;
    uint8_t place = byte(in);
    m->node = (struct sl_node){(uint32_t)near(byte(in), place % 4), (uint32_t)near(byte(in), place / 4 % 8)};
    m->begin = (uint32_t)near(byte(in), place % 3);
    m->end = (uint32_t)near(byte(in), m->begin + place / 16 % 4);
    m->block = (uint32_t)near(byte(in), place % (unsigned)w->layout->block_count);
    if (m->kind == SL_MESSAGE_HELLO)
        fill_hello(w, in, &m->hello);
    if (m->kind == SL_MESSAGE_STATS || m->kind == SL_MESSAGE_VALIDATED)
        fill_stats(in, m);
    if (m->kind == SL_MESSAGE_COMMIT)
        m->commit = (struct sl_commit){1.0, odd_number(byte(in)), odd_number(byte(in)), {1.0, 1.0}};
}

static size_t right_size(const struct world *w, const struct sl_message *m, int frame)
{
    const struct sl_block *block = &w->layout->blocks[m->block % (uint32_t)w->layout->block_count];
    (void)frame;
    if (m->kind == SL_MESSAGE_VALIDATED)
        return sl_evaluation_int_count(3, 2) * sizeof(int64_t) +
               sl_evaluation_double_count(3, 2) * sizeof(double);
    if (m->kind == SL_MESSAGE_REDUCED)
        return (size_t)w->layout->block_count * sizeof(struct sl_block_sums);
    return block->count * sizeof(float);
}

/* As many frames and bytes as are right, or not; their contents are one byte again and again, or one sample that was counted. */
static void add_frames(struct world *w, struct input *in, struct sl_message *m)
{
    const struct sl_block *block = &w->layout->blocks[m->block % (uint32_t)w->layout->block_count];
    bool push = m->kind == SL_MESSAGE_PUSH;
    bool framed = push || m->kind == SL_MESSAGE_PARAMS || m->kind == SL_MESSAGE_VALIDATED ||
                  m->kind == SL_MESSAGE_REDUCED;
    int right = push ? block->tagged[0] + block->tagged[1] : framed;
    int count = (int)(near(byte(in), (uint64_t)right) % (SL_MESSAGE_FRAMES_MAX + 1));
    for (int i = 0; i < count; i++) {
        size_t size = near(byte(in), right_size(w, m, i)) % FRAME_MAX;
        struct sl_buffer *buffer = sl_buffer_create(size);
        if (buffer == NULL)
            abort();
        memset(buffer->data, byte(in), size);
        if (m->kind == SL_MESSAGE_VALIDATED && size >= right_size(w, m, i) && byte(in) % 2 == 0) {
            memset(buffer->data, 0, size);
            for (int b = 0; b < 3;
                    b++) /* K² + 2 bins = 34 integers a branch: one sample, predicted right, in the first bin */
                for (size_t k = 0; k < 34; k++)
                    ((int64_t *)buffer->data)[b * 34 + (int)k] = k == 0 || k == 4 || k == 19;
        }
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
        must(sl_codec_encode(draft, bytes, &size, &err));
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

static void attack(struct world *w, struct input *in, uint8_t whom)
{
    struct sl_message *draft =
            sl_message_create((enum sl_message_kind)(1 + byte(in) % (SL_MESSAGE_KIND_COUNT - 1)));
    if (draft == NULL)
        abort();
    fill(w, in, draft);
    struct sl_message *m = on_the_wire(w, in, whom % 8 == 7 ? NULL : draft);
    sl_message_destroy(draft);
    if (m == NULL)
        return;
    if (whom & 0x80) {
        struct wk_event event = {.kind = WK_EVENT_MESSAGE, .message = m};
        work(w, &event);
    } else {
        serve(w, (struct sl_address){SL_ROLE_WORKER, 1U + (whom >> 3) % 3}, m);
        serve_local(w);
    }
    sl_message_destroy(m);
}

/* What happens besides messages: time, a connection that goes, a signal, a computation that ends. */
static void happen(struct world *w, uint8_t what)
{
    struct ps_event event = {.kind = PS_EVENT_TICK,
            .from = {SL_ROLE_WORKER, 1U + what / 16 % 3},
            .status = SL_STOPPED,
            .text = "stop"};
    struct wk_event tick = {.kind = WK_EVENT_TICK};
    switch (what % 8) {
    case 0:
        w->now_us += (int64_t)what * 50000;
        work(w, &tick);
        break;
    case 1:
        event.kind = PS_EVENT_GONE;
        break;
    case 2:
        event.kind = what >= 0xf0 ? PS_EVENT_STOP : PS_EVENT_TICK;
        break;
    default:
        compute(w);
        return;
    }
    coordinate(w, &event);
    serve_local(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct world *w = sl_alloc(1, sizeof(*w));
    if (w == NULL)
        return 0;
    open_world(w);
    for (int i = 0; i < EVENTS_MAX && in.left > 0; i++) {
        uint8_t whom = byte(&in);
        if (whom % 4 == 3 && whom % 8 != 7)
            happen(w, byte(&in));
        else
            attack(w, &in, whom);
    }
    close_world(w);
    sl_free(w);
    return 0;
}
