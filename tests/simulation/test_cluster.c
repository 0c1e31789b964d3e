/* The coordinator's, the server's and the workers' cores joined by a network in memory that delivers in seeded random order (in order for each pair, as TCP does),
 * with workers that crash and join at random. The gradients are numbers drawn from (step, slot, parameters): whatever happens, the final parameters
 * must be, bit for bit, those of one worker that nothing happened to. */
#include "common/memory.h"
#include "common/random.h"
#include "ps/coordinator.h"
#include "ps/server.h"
#include "worker/core.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define WORKERS_MAX 16
#define FLIGHT_MAX 65536
#define SLOTS 5
#define SLOT_SIZE 3
#define STEPS 3 /* of an epoch: the last one has 3 slots, and the last of these 1 sample */
#define TRAIN_COUNT 37
#define VALIDATION_COUNT 11
#define CLUSTER 77

struct flight {
    struct sl_address from, to;
    struct sl_message *message;
};

struct node {
    struct wk_core *core;
    float *params;
    struct wk_updates updates;
    uint64_t id;
    bool alive;
    struct wk_action job; /* COMPUTE that is not done */
    uint32_t at;          /* slot where the next node of the job begins */
};

struct world {
    struct sl_config config;
    struct sl_layout *layout;
    struct ps_table *table;
    struct ps_server *server;
    struct ps_coordinator *coordinator;
    struct ps_updates updates;
    struct sl_outbox outbox;
    struct node nodes[WORKERS_MAX];
    int node_count;
    struct flight *flights;
    int flight_count;
    struct sl_random random;
    uint64_t draws, incarnations;
    int64_t now_us;
    int steps, validations, snapshots, events;
    bool finished;
    enum sl_status finish_status;
    double last_accuracy;
};

static uint64_t draw(struct world *w, uint64_t bound)
{
    return sl_random_below(&w->random, w->draws++, bound);
}

/* ---- the run ---- */

static void make_config(struct sl_config *config)
{
    memset(config, 0, sizeof(*config));
    config->label_count = 3;
    config->modality_count = 2;
    for (int m = 0; m < 2; m++) {
        struct sl_modality_config *modality = &config->modalities[m];
        (void)snprintf(modality->name, sizeof(modality->name), "%s", m == 0 ? "visual" : "text");
        modality->kind = SL_KIND_FEATURES;
        modality->input = 5 + m;
        modality->hidden = 8;
        modality->max_items = 2;
    }
    for (int k = 0; k < 3; k++)
        (void)snprintf(config->labels[k].name, sizeof(config->labels[k].name), "c%d", k);
    config->fusion.dim = 8;
    config->fusion.heads = 2;
    config->fusion.layers = 1;
    config->fusion.mlp = 8;
    config->modulation.alpha = 0.5;
    config->modulation.decay = 0.9;
    config->modulation.end = -1;
    config->modulation.statistics = SL_STATISTICS_MEAN;
    config->optimiser.lr = 1e-2F;
    config->optimiser.beta1 = 0.9F;
    config->optimiser.beta2 = 0.999F;
    config->optimiser.eps = 1e-8F;
    config->optimiser.weight_decay = 0.05F;
    config->optimiser.clip_norm = 1.0F;
    config->optimiser.schedule = SL_SCHEDULE_COSINE;
    config->batch.slots = SLOTS;
    config->batch.slot_size = SLOT_SIZE;
    config->epochs = 4;
    config->seed = 3;
    config->snapshots.every_steps = 2;
    (void)snprintf(config->snapshots.keep_best, sizeof(config->snapshots.keep_best), "fused.accuracy");
    config->cluster.heartbeat_ms = 1000;
    config->cluster.timeout_ms = 5000;
}

/* The last slot with samples of an epoch is not full. */
static int samples_of_slot(int64_t step, uint32_t slot)
{
    int64_t left = TRAIN_COUNT - step % STEPS * SLOTS * SLOT_SIZE - (int64_t)slot * SLOT_SIZE;
    return left < SLOT_SIZE ? (int)left : SLOT_SIZE;
}

/* One slot's gradients: numbers that depend on (step, slot) and a little on the parameters, so that a wrong version shows. */
static void leaf(struct world *w, const float *params, int64_t step, uint32_t slot, float *grads,
        struct sl_step_stats *stats)
{
    size_t count = w->layout->count;
    struct sl_random r = sl_random_make(99, SL_RANDOM_TEST, (uint64_t)step, slot);
    for (size_t tag = 0; tag < SL_TAGS; tag++)
        for (size_t i = 0; i < count; i++)
            grads[tag * count + i] = sl_random_float(&r, tag * count + i) - 0.5F + 0.1F * params[i];
    int samples = samples_of_slot(step, slot);
    *stats = (struct sl_step_stats){.count = samples, .weight_sum = samples};
    for (int b = 0; b < 3; b++)
        stats->loss[b] = 1.0 + sl_random_float(&r, (uint64_t)(1000000 + b));
    for (int m = 0; m < 2; m++)
        stats->score[m] = 0.5 + m + sl_random_float(&r, (uint64_t)(2000000 + m));
}

static void subtree(struct world *w, const float *params, const struct wk_action *job, struct sl_node node,
        float *grads, struct sl_step_stats *stats)
{
    if (node.level == 0) {
        leaf(w, params, job->step, node.index, grads, stats);
        return;
    }
    struct sl_node left = {node.level - 1, 2 * node.index}, right = {node.level - 1, 2 * node.index + 1};
    subtree(w, params, job, left, grads, stats);
    if (!sl_tree_node_valid(job->slots, right))
        return;
    size_t size = SL_TAGS * w->layout->count;
    float *other = sl_alloc_aligned(size, sizeof(float));
    struct sl_step_stats other_stats;
    subtree(w, params, job, right, other, &other_stats);
    sl_vector_add(grads, other, size);
    sl_step_stats_add(stats, &other_stats);
    sl_free(other);
}

/* ---- the network ---- */

static void post(struct world *w, struct sl_address from, struct sl_outbox *outbox)
{
    for (int i = 0; i < outbox->count; i++) {
        assert_true(w->flight_count < FLIGHT_MAX);
        if (from.role == SL_ROLE_WORKER)
            outbox->items[i].message->incarnation = from.id;
        w->flights[w->flight_count++] = (struct flight){from, outbox->items[i].to, outbox->items[i].message};
    }
    outbox->count = 0;
}

static void coordinate(struct world *w, struct ps_event *event);

static void act(struct world *w)
{
    int count = w->updates.action_count;
    bool snapshot = false;
    for (int i = 0; i < count; i++) {
        const struct ps_action *action = &w->updates.actions[i];
        if (action->kind == PS_ACTION_STEP) {
            w->steps++;
            assert_int_equal(action->record.step, w->steps);
            assert_int_equal(ps_server_version(w->server), w->steps);
        } else if (action->kind == PS_ACTION_VALIDATION) {
            w->validations++;
            assert_int_equal(sl_evaluation_count(action->evaluation, 2), VALIDATION_COUNT);
            w->last_accuracy = sl_evaluation_metric(action->evaluation, 2, SL_METRIC_LOSS);
        } else if (action->kind == PS_ACTION_SNAPSHOT) {
            w->snapshots++;
            snapshot = true;
        } else if (action->kind == PS_ACTION_FINISH) {
            w->finished = true;
            w->finish_status = action->status;
        }
    }
    if (snapshot) {
        struct ps_event written = {.kind = PS_EVENT_SNAPSHOT_WRITTEN, .status = SL_OK, .text = ""};
        coordinate(w, &written);
    }
}

static void coordinate(struct world *w, struct ps_event *event)
{
    struct sl_error err = {0};
    event->now_us = w->now_us;
    assert_int_equal(ps_coordinator_step(w->coordinator, event, &w->updates, &err), SL_OK);
    post(w, (struct sl_address){SL_ROLE_SERVER, 0}, &w->updates.outbox);
    act(w);
}

static void advance(struct world *w, struct node *node, struct wk_event *event)
{
    struct sl_error err = {0};
    event->now_us = w->now_us;
    assert_int_equal(wk_core_step(node->core, event, &node->updates, &err), SL_OK);
    post(w, (struct sl_address){SL_ROLE_WORKER, node->id}, &node->updates.outbox);
    if (node->updates.action.kind == WK_ACTION_COMPUTE) {
        node->job = node->updates.action;
        node->at = node->job.begin;
    }
    if (node->updates.action.kind == WK_ACTION_FINISH)
        node->alive = false;
}

static void join(struct world *w)
{
    struct sl_error err = {0};
    struct node *node = &w->nodes[w->node_count++];
    memset(node, 0, sizeof(*node));
    node->id = ++w->incarnations;
    node->alive = true;
    node->params = sl_alloc_aligned(w->layout->count, sizeof(float));
    struct wk_core_options options = {.layout = w->layout,
            .incarnation = node->id,
            .slots = SLOTS,
            .slot_size = SLOT_SIZE,
            .heartbeat_us = 1000000,
            .timeout_us = INT64_MAX / 2};
    options.hello = (struct sl_hello){.config_hash = 5,
            .layout_hash = w->layout->hash,
            .train_count = TRAIN_COUNT,
            .validation_count = VALIDATION_COUNT,
            .host = "h"};
    assert_int_equal(wk_core_create(&node->core, &options, node->params, &err), SL_OK);
    struct wk_event start = {.kind = WK_EVENT_START};
    advance(w, node, &start);
}

static void crash(struct world *w, struct node *node)
{
    int kept = 0;
    for (int i = 0; i < w->flight_count; i++) {
        struct flight *f = &w->flights[i];
        bool lost = (f->from.role == SL_ROLE_WORKER && f->from.id == node->id) ||
                    (f->to.role == SL_ROLE_WORKER && f->to.id == node->id);
        if (lost && draw(w, 2) == 0)
            sl_message_destroy(f->message);
        else
            w->flights[kept++] = *f; /* some of what it sent arrives all the same */
    }
    w->flight_count = kept;
    node->alive = false;
    struct ps_event gone = {.kind = PS_EVENT_GONE, .from = {SL_ROLE_WORKER, node->id}};
    coordinate(w, &gone);
}

static void to_server(struct world *w, struct flight *f)
{
    struct sl_error err = {0};
    bool for_data = f->message->kind == SL_MESSAGE_PUSH || f->message->kind == SL_MESSAGE_PULL ||
                    f->message->kind == SL_MESSAGE_COMMIT;
    if (for_data) {
        assert_int_equal(ps_server_step(w->server, f->from, f->message, &w->outbox, &err), SL_OK);
        post(w, (struct sl_address){SL_ROLE_SERVER, 0}, &w->outbox);
    } else {
        struct ps_event event = {.kind = PS_EVENT_MESSAGE, .from = f->from, .message = f->message};
        coordinate(w, &event);
    }
}

/* Delivers a random message that is the oldest of its pair. */
static void deliver(struct world *w)
{
    int chosen = (int)draw(w, (uint64_t)w->flight_count);
    struct flight *pick = &w->flights[chosen];
    for (int i = 0; i < chosen; i++) {
        struct flight *f = &w->flights[i];
        if (f->from.role == pick->from.role && f->from.id == pick->from.id && f->to.role == pick->to.role &&
                f->to.id == pick->to.id) {
            chosen = i;
            break;
        }
    }
    struct flight f = w->flights[chosen];
    memmove(&w->flights[chosen], &w->flights[chosen + 1], (size_t)(--w->flight_count - chosen) * sizeof(f));
    if (f.to.role == SL_ROLE_SERVER)
        to_server(w, &f);
    for (int i = 0; f.to.role == SL_ROLE_WORKER && i < w->node_count; i++) {
        if (w->nodes[i].id == f.to.id && w->nodes[i].alive) {
            struct wk_event event = {.kind = WK_EVENT_MESSAGE, .from = f.from, .message = f.message};
            advance(w, &w->nodes[i], &event);
        }
    }
    sl_message_destroy(f.message);
}

/* One more node of the job of a worker, or its validation. */
static void work(struct world *w, struct node *node)
{
    struct wk_action job = node->job;
    struct sl_error err = {0};
    if (job.phase == SL_PHASE_VALIDATE) {
        struct sl_evaluation *e = NULL;
        assert_int_equal(sl_evaluation_create(&e, 3, 3, &err), SL_OK);
        for (uint32_t s = job.begin * SLOT_SIZE; s < job.end * SLOT_SIZE && s < VALIDATION_COUNT; s++)
            for (int b = 0; b < 3; b++)
                assert_int_equal(
                        sl_evaluation_add_logits(e, b, node->params + s + (uint32_t)b, (int)(s % 3), &err),
                        SL_OK);
        size_t ints = sl_evaluation_int_count(3, 3) * sizeof(int64_t),
               doubles = sl_evaluation_double_count(3, 3) * sizeof(double);
        struct sl_buffer *buffer = sl_buffer_create(ints + doubles);
        memcpy(buffer->data, sl_evaluation_ints(e), ints);
        memcpy((char *)buffer->data + ints, sl_evaluation_doubles(e), doubles);
        sl_evaluation_destroy(e);
        node->job.kind = WK_ACTION_NONE;
        struct wk_event event = {.kind = WK_EVENT_VALIDATION_DONE, .evaluation = buffer};
        advance(w, node, &event);
        sl_buffer_release(buffer);
        return;
    }
    struct sl_node place = sl_tree_cover(job.slots, node->at, job.end);
    struct sl_step_stats stats;
    struct sl_buffer *buffer = sl_buffer_create(SL_TAGS * w->layout->count * sizeof(float));
    subtree(w, node->params, &job, place, buffer->data, &stats);
    node->at = sl_tree_end(job.slots, place);
    if (node->at >= job.end)
        node->job.kind = WK_ACTION_NONE;
    struct wk_event event = {.kind = WK_EVENT_NODE_DONE, .node = place, .stats = &stats, .gradients = buffer};
    advance(w, node, &event);
    sl_buffer_release(buffer);
}

/* ---- one run ---- */

static void begin(struct world *w, uint64_t seed, const struct ps_training *training, const float *params,
        const float *m, const float *v)
{
    struct sl_error err = {0};
    memset(w, 0, sizeof(*w));
    make_config(&w->config);
    w->random = sl_random_make(seed, SL_RANDOM_NETWORK, 0, 0);
    w->flights = sl_alloc(FLIGHT_MAX, sizeof(*w->flights));
    assert_int_equal(sl_layout_create(&w->layout, &w->config, 128, &err), SL_OK);
    struct ps_optimiser optimiser = ps_optimiser_from_config(&w->config);
    assert_int_equal(ps_table_create(&w->table, w->layout, &optimiser, NULL, 0, &err), SL_OK);
    assert_int_equal(ps_table_load(w->table, params, m, v, training->step, &err), SL_OK);
    assert_int_equal(ps_server_create(&w->server, &w->config, w->layout, w->table, CLUSTER, &err), SL_OK);
    struct ps_coordinator_options options = {&w->config, w->layout, 5, CLUSTER, *training};
    assert_int_equal(ps_coordinator_create(&w->coordinator, &options, &err), SL_OK);
    w->steps = (int)training->step;
}

static void end(struct world *w)
{
    for (int i = 0; i < w->flight_count; i++)
        sl_message_destroy(w->flights[i].message);
    for (int i = 0; i < w->node_count; i++) {
        wk_core_destroy(w->nodes[i].core);
        sl_outbox_fini(&w->nodes[i].updates.outbox);
        sl_free(w->nodes[i].params);
    }
    ps_coordinator_destroy(w->coordinator);
    ps_server_destroy(w->server);
    ps_table_destroy(w->table);
    sl_layout_destroy(w->layout);
    sl_outbox_fini(&w->updates.outbox);
    sl_outbox_fini(&w->outbox);
    sl_free(w->flights);
}

static int living(const struct world *w)
{
    int count = 0;
    for (int i = 0; i < w->node_count; i++)
        count += w->nodes[i].alive;
    return count;
}

/* Runs until the end, with `workers` from the start; chaos > 0: about one crash and one join in `chaos` events. */
static void run(struct world *w, int workers, uint64_t chaos, int stop_after)
{
    for (int i = 0; i < workers; i++)
        join(w);
    while (!w->finished) {
        assert_true(++w->events < 500000);
        w->now_us += 100;
        int busy = (int)draw(w, (uint64_t)w->node_count);
        struct node *node = &w->nodes[busy];
        if (chaos > 0 && draw(w, chaos) == 0 && node->alive)
            crash(w, node);
        if ((living(w) == 0 || (chaos > 0 && draw(w, chaos) == 0)) && w->node_count < WORKERS_MAX)
            join(w);
        if (stop_after > 0 && w->steps >= stop_after) {
            struct ps_event stop = {.kind = PS_EVENT_STOP, .status = SL_STOPPED, .text = "stop"};
            coordinate(w, &stop);
            stop_after = 0;
        }
        if (node->alive && node->job.kind == WK_ACTION_COMPUTE && draw(w, 3) == 0)
            work(w, node);
        else if (w->flight_count > 0)
            deliver(w);
        if (living(w) == 0 && w->node_count == WORKERS_MAX)
            break;
    }
}

struct state {
    float *params, *m, *v;
    struct ps_training training;
    double last_accuracy;
};

static void keep(struct world *w, struct state *state)
{
    size_t count = w->layout->count;
    state->params = sl_alloc_aligned(count, sizeof(float));
    state->m = sl_alloc_aligned(count, sizeof(float));
    state->v = sl_alloc_aligned(count, sizeof(float));
    ps_table_copy(w->table, state->params, state->m, state->v);
    state->training = *ps_coordinator_training(w->coordinator);
    state->last_accuracy = w->last_accuracy;
}

static void drop(struct state *state)
{
    sl_free(state->params);
    sl_free(state->m);
    sl_free(state->v);
}

static void fresh(struct world *w, uint64_t seed)
{
    struct sl_config config;
    struct sl_layout *layout = NULL;
    struct sl_error err = {0};
    make_config(&config);
    assert_int_equal(sl_layout_create(&layout, &config, 128, &err), SL_OK);
    float *params = sl_alloc_aligned(layout->count, sizeof(float));
    sl_layout_initialise(layout, 3, params);
    struct ps_training training = ps_training_begin();
    begin(w, seed, &training, params, NULL, NULL);
    sl_free(params);
    sl_layout_destroy(layout);
}

static void quiet(struct state *reference)
{
    struct world w;
    fresh(&w, 1);
    run(&w, 1, 0, 0);
    assert_true(w.finished);
    assert_int_equal(w.finish_status, SL_OK);
    assert_int_equal(w.steps, STEPS * 4);
    assert_int_equal(w.validations, 4);
    assert_true(w.snapshots >= 4);
    keep(&w, reference);
    end(&w);
}

static void assert_same(struct world *w, const struct state *reference)
{
    struct state mine;
    keep(w, &mine);
    assert_memory_equal(mine.params, reference->params, w->layout->count * sizeof(float));
    assert_memory_equal(mine.m, reference->m, w->layout->count * sizeof(float));
    assert_memory_equal(mine.v, reference->v, w->layout->count * sizeof(float));
    assert_memory_equal(
            &mine.training.modulation, &reference->training.modulation, sizeof(mine.training.modulation));
    assert_true(mine.last_accuracy == reference->last_accuracy);
    drop(&mine);
}

static void test_any_number_of_workers_gives_the_same_bits(void **unused)
{
    (void)unused;
    struct state reference;
    quiet(&reference);
    for (int workers = 1; workers <= 7; workers++) {
        for (uint64_t seed = 0; seed < 5; seed++) {
            struct world w;
            fresh(&w, 100 * (uint64_t)workers + seed);
            run(&w, workers, 0, 0);
            assert_true(w.finished);
            assert_same(&w, &reference);
            end(&w);
        }
    }
    drop(&reference);
}

static void test_crashes_and_joins_change_nothing(void **unused)
{
    (void)unused;
    struct state reference;
    quiet(&reference);
    int finished = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct world w;
        fresh(&w, 1000 + seed);
        run(&w, 1 + (int)(seed % 4), 1500, 0);
        if (w.finished) { /* else all workers that the test may start are dead */
            assert_same(&w, &reference);
            finished++;
        }
        end(&w);
    }
    assert_true(finished > 30);
    drop(&reference);
}

static void test_stop_and_resume_change_nothing(void **unused)
{
    (void)unused;
    struct state reference, half;
    quiet(&reference);
    for (int stop_after = 1; stop_after < 12; stop_after++) {
        struct world w;
        fresh(&w, 7000 + (uint64_t)stop_after);
        run(&w, 2, 0, stop_after);
        assert_int_equal(w.finish_status, SL_STOPPED);
        keep(&w, &half);
        end(&w);
        begin(&w, 8000, &half.training, half.params, half.m, half.v);
        run(&w, 3, 0, 0);
        assert_int_equal(w.finish_status, SL_OK);
        assert_same(&w, &reference);
        end(&w);
        drop(&half);
    }
    drop(&reference);
}

static void test_a_worker_that_does_not_fit_is_refused(void **unused)
{
    (void)unused;
    struct world w;
    fresh(&w, 5);
    struct sl_message *hello = sl_message_create(SL_MESSAGE_HELLO);
    hello->hello = (struct sl_hello){
            .config_hash = 6, .layout_hash = w.layout->hash, .train_count = TRAIN_COUNT, .host = "stranger"};
    struct ps_event event = {.kind = PS_EVENT_MESSAGE, .from = {SL_ROLE_WORKER, 9}, .message = hello};
    coordinate(&w, &event);
    assert_int_equal(w.flight_count, 1);
    assert_int_equal(w.flights[0].message->kind, SL_MESSAGE_REFUSE);
    assert_non_null(strstr(w.flights[0].message->text, "another config"));
    sl_message_destroy(hello);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_any_number_of_workers_gives_the_same_bits),
            cmocka_unit_test(test_crashes_and_joins_change_nothing),
            cmocka_unit_test(test_stop_and_resume_change_nothing),
            cmocka_unit_test(test_a_worker_that_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
