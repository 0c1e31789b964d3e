/* The compute threads: the same bits for any number of them, whichever nodes a run is cut into; failures are told once; it ends at any moment. The dataset is imported from
 * arrays that are made here: 20 samples for training (a step of 7 slots, then one of 3), 5 for validation. */
#include "common/clock.h"
#include "common/coefficient.h"
#include "common/evaluation.h"
#include "tests/unit/worker/executor_fixture.h"
#include "worker/gradient_pool.h"

#include <fcntl.h>
#include <unistd.h>

#define FOLDER "fixture-executor"
#define ROWS 25
#define TRAIN 20
#define THREADS_MAX 4

static struct sl_config *config;
static struct sl_layout *layout;
static struct wk_model *model;
static struct wk_dataset *train, *validation;
static float *params;

/* ---- the data ---- */

static void open_data(void)
{
    assert_ok(wk_dataset_open(&train, FOLDER "/data/train", config, &err));
    assert_ok(wk_dataset_open(&validation, FOLDER "/data/validation", config, &err));
}

static void close_data(void)
{
    wk_dataset_close(train);
    wk_dataset_close(validation);
}

static int set_up(void **state)
{
    (void)state;
    config = fixture_config();
    fixture_import(FOLDER, config, ROWS, TRAIN);
    open_data();
    layout = fixture_layout(config);
    assert_ok(wk_model_create(&model, config, layout, &err));
    params = sl_alloc_aligned(layout->count, sizeof(float));
    sl_layout_initialise(layout, 1, params);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sl_free(params);
    wk_model_destroy(model);
    sl_layout_destroy(layout);
    close_data();
    assert_ok(sl_file_remove_tree(FOLDER, &err));
    sl_free(config);
    return 0;
}

/* ---- runs ---- */

static struct wk_executor_options fixture_options(int threads, struct sl_plan_options *plan)
{
    *plan = (struct sl_plan_options){.count = wk_dataset_count(train),
            .slots = config->batch.slots,
            .slot_size = config->batch.slot_size,
            .seed = config->seed};
    return (struct wk_executor_options){.config = config,
            .layout = layout,
            .model = model,
            .train = train,
            .validation = validation,
            .plan = plan,
            .threads = threads};
}

static struct wk_executor *start(int threads)
{
    struct wk_executor *executor = NULL;
    struct sl_plan_options plan;
    struct wk_executor_options options = fixture_options(threads, &plan);
    assert_ok(wk_executor_create(&executor, &options, &err));
    return executor;
}

static void take_idle(struct wk_executor *executor)
{
    struct wk_result result = fixture_take(executor);
    assert_int_equal(result.kind, WK_RESULT_IDLE);
    assert_int_equal(wk_executor_take(executor, &result), SL_AGAIN);
}

static struct wk_action slots(int64_t step, uint32_t begin, uint32_t end)
{
    return (struct wk_action){.kind = WK_ACTION_COMPUTE,
            .phase = SL_PHASE_TRAIN,
            .step = step,
            .slots = step % 2 == 0 ? 7 : 3,
            .begin = begin,
            .end = end};
}

/* The nodes of a run, by index of their first slot; each buffer is the caller's. */
static int run(struct wk_executor *executor, struct wk_action action, struct wk_result results[FIXTURE_SLOTS])
{
    int count = 0;
    uint32_t done = 0;
    wk_executor_submit(executor, &action, params);
    memset(results, 0, FIXTURE_SLOTS * sizeof(*results));
    while (done < action.end - action.begin) {
        struct wk_result result = fixture_take(executor);
        if (result.status != SL_OK)
            fail_msg("%s", result.error.text);
        assert_int_equal(result.kind, WK_RESULT_NODE);
        assert_int_equal(result.run, action.run);
        uint32_t begin = sl_tree_begin(result.node);
        assert_true(begin < FIXTURE_SLOTS && results[begin].buffer == NULL);
        results[begin] = result;
        done += sl_tree_end(action.slots, result.node) - begin;
        count++;
    }
    assert_int_equal(done, action.end - action.begin);
    take_idle(executor);
    return count;
}

static void drop(struct wk_result results[FIXTURE_SLOTS])
{
    for (int i = 0; i < FIXTURE_SLOTS; i++)
        sl_buffer_release(results[i].buffer);
}

static void assert_same_sums(const float *got, const float *want)
{
    assert_memory_equal(got, want, layout->extractor_end * sizeof(float));
    size_t fused = layout->count + layout->head_end;
    assert_memory_equal(got + fused, want + fused, (layout->count - layout->head_end) * sizeof(float));
}

static void assert_same_stats(const struct sl_step_stats *got, const struct sl_step_stats *want)
{
    assert_int_equal(got->count, want->count);
    assert_true(got->weight_sum == want->weight_sum);
    assert_memory_equal(got->loss, want->loss, sizeof(got->loss));
    assert_memory_equal(got->score, want->score, sizeof(got->score));
    assert_memory_equal(got->correct, want->correct, sizeof(got->correct));
}

/* ---- blocks that leave before their node ---- */

#define BLOCKS_MAX 64
static const unsigned char nothing_here[BLOCKS_MAX];

/* What came of one node before it was whole. */
struct early {
    int order[BLOCKS_MAX], count;
    float *values; /* (SL_TAGS * layout->count,) as they were when they came */
};

static void note_early(struct early *early, const struct wk_result *result)
{
    const int *blocks = result->blocks->data;
    const float *gradients = result->buffer->data;
    assert_true(result->block_count > 0);
    for (int i = 0; i < result->block_count; i++) {
        const struct sl_block *block = &layout->blocks[blocks[i]];
        for (int k = 0; k < early->count; k++)
            assert_int_not_equal(early->order[k], blocks[i]);
        early->order[early->count++] = blocks[i];
        for (int tag = 0; tag < SL_TAGS; tag++) {
            size_t at = sl_layout_gradient_at(layout, tag, block->offset);
            if (block->tagged[tag])
                memcpy(early->values + at, gradients + at, block->count * sizeof(float));
        }
    }
}

/* A run whose blocks leave one by one: those of each node, by its first slot, are the node's own when it is whole. Returns how many came before their node. */
static int run_early(struct wk_executor *executor, struct wk_action action, struct early early[FIXTURE_SLOTS],
        struct wk_result results[FIXTURE_SLOTS])
{
    int before = 0;
    wk_executor_submit(executor, &action, params);
    memset(results, 0, FIXTURE_SLOTS * sizeof(*results));
    for (;;) {
        struct wk_result result = fixture_take(executor);
        if (result.status != SL_OK)
            fail_msg("%s", result.error.text);
        if (result.kind == WK_RESULT_IDLE)
            return before;
        struct early *of = &early[sl_tree_begin(result.node)];
        if (result.kind == WK_RESULT_BLOCKS) {
            assert_null(results[sl_tree_begin(result.node)].buffer);
            note_early(of, &result);
            before += result.block_count;
            wk_result_fini(&result);
            continue;
        }
        assert_int_equal(result.kind, WK_RESULT_NODE);
        const float *whole = result.buffer->data;
        for (int i = 0; i < of->count; i++) {
            const struct sl_block *block = &layout->blocks[of->order[i]];
            for (int tag = 0; tag < SL_TAGS; tag++) {
                size_t at = sl_layout_gradient_at(layout, tag, block->offset);
                if (block->tagged[tag])
                    assert_memory_equal(of->values + at, whole + at, block->count * sizeof(float));
            }
        }
        results[sl_tree_begin(result.node)] = result;
    }
}

static void begin_early(struct early early[FIXTURE_SLOTS])
{
    for (int i = 0; i < FIXTURE_SLOTS; i++) {
        early[i] = (struct early){.values = sl_alloc(SL_TAGS * layout->count, sizeof(float))};
        assert_non_null(early[i].values);
    }
}

static void end_early(struct early early[FIXTURE_SLOTS])
{
    for (int i = 0; i < FIXTURE_SLOTS; i++)
        sl_free(early[i].values);
}

static struct wk_executor *start_giving(int threads, size_t give_floats)
{
    struct wk_executor *executor = NULL;
    struct sl_plan_options plan;
    struct wk_executor_options options = fixture_options(threads, &plan);
    options.give_floats = give_floats;
    assert_ok(wk_executor_create(&executor, &options, &err));
    return executor;
}

/* ---- tests ---- */

/* The last layers' blocks come first, each once, and as they are in the end; and nothing comes twice or early of audits and of slots that are skipped. */
static void test_blocks_leave_before_their_node(void **state)
{
    (void)state;
    assert_true(layout->block_count <= BLOCKS_MAX);
    for (int threads = 1; threads <= THREADS_MAX; threads++) {
        for (int round = 0; round < 4; round++) {
            struct wk_result want[FIXTURE_SLOTS], got[FIXTURE_SLOTS];
            struct early early[FIXTURE_SLOTS];
            begin_early(early);
            config->cluster.threads_per_slot = round % 3;
            config->modulation.statistics = round == 3 ? SL_STATISTICS_SLOT : SL_STATISTICS_STEP;
            struct wk_executor *plain = start(1), *giving = start_giving(threads, 1);
            config->cluster.threads_per_slot = 0;
            (void)run(plain, slots(0, 1, 6), want);
            int before = run_early(giving, slots(0, 1, 6), early, got);
            assert_int_equal(before, 3 * layout->block_count);
            for (int i = 0; i < FIXTURE_SLOTS; i++) {
                assert_int_equal(want[i].buffer == NULL, got[i].buffer == NULL);
                if (want[i].buffer == NULL)
                    continue;
                assert_same_sums(got[i].buffer->data, want[i].buffer->data);
                assert_same_stats(&got[i].stats, &want[i].stats);
            }
            for (int k = 0; threads == 1 && k < early[1].count; k++) {
                const struct sl_block *block = &layout->blocks[early[1].order[k]];
                assert_int_equal(block->part == SL_PART_HEAD, k < config->modality_count);
                assert_int_equal(block->offset == layout->head_end, k + 1 == early[1].count);
            }
            drop(got);
            for (int phase = 0; phase < 2; phase++) {
                struct wk_action action = slots(0, 1, 6);
                action.phase = phase == 0 ? SL_PHASE_AUDIT : SL_PHASE_SKIP;
                for (int i = 0; i < FIXTURE_SLOTS; i++)
                    early[i].count = 0;
                assert_int_equal(run_early(giving, action, early, got), 0);
                drop(got);
            }
            drop(want);
            end_early(early);
            config->modulation.statistics = SL_STATISTICS_STEP;
            wk_executor_destroy(plain);
            wk_executor_destroy(giving);
        }
    }
}

/* Cancelled in the middle of backward passes: IDLE comes once, nothing after it, and the next run has the bits as ever. */
static void test_cancelled_while_blocks_leave(void **state)
{
    (void)state;
    struct wk_result want[FIXTURE_SLOTS], got[FIXTURE_SLOTS];
    struct wk_executor *plain = start(1);
    (void)run(plain, slots(0, 0, 7), want);
    for (int threads = 1; threads <= THREADS_MAX; threads++) {
        struct wk_executor *executor = start_giving(threads, 1);
        for (int round = 0; round < 10; round++) {
            struct early early[FIXTURE_SLOTS];
            struct wk_action action = slots(0, 0, 7);
            wk_executor_submit(executor, &action, params);
            struct wk_result result;
            for (int i = 0; i < round % 4; i++) {
                result = fixture_take(executor);
                bool idle = result.kind == WK_RESULT_IDLE;
                wk_result_fini(&result);
                if (idle)
                    fail_msg("a run ended after %d results", i);
            }
            wk_executor_cancel(executor);
            do {
                result = fixture_take(executor);
                wk_result_fini(&result);
            } while (result.kind != WK_RESULT_IDLE);
            assert_int_equal(wk_executor_take(executor, &result), SL_AGAIN);
            begin_early(early);
            (void)run_early(executor, slots(0, 0, 7), early, got);
            assert_same_sums(got[0].buffer->data, want[0].buffer->data);
            drop(got);
            end_early(early);
        }
        wk_executor_destroy(executor);
    }
    drop(want);
    wk_executor_destroy(plain);
}

static void test_any_number_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    for (int64_t step = 0; step < 2; step++) {
        struct wk_result want[FIXTURE_SLOTS], got[FIXTURE_SLOTS];
        struct wk_executor *one = start(1);
        assert_int_equal(run(one, slots(step, 0, step == 0 ? 7 : 3), want), 1);
        assert_int_equal(want[0].stats.count, step == 0 ? 14 : 6);
        for (int threads = 2; threads <= THREADS_MAX; threads++) {
            for (int round = 0; round < 6; round++) {
                config->cluster.threads_per_slot =
                        round % 3; /* as it is by default, apart, two at each slot */
                struct wk_executor *many = start(threads);
                config->cluster.threads_per_slot = 0;
                assert_int_equal(run(many, slots(step, 0, step == 0 ? 7 : 3), got), 1);
                assert_same_sums(got[0].buffer->data, want[0].buffer->data);
                assert_same_stats(&got[0].stats, &want[0].stats);
                drop(got);
                wk_executor_destroy(many);
            }
        }
        drop(want);
        wk_executor_destroy(one);
    }
}

/* [1, 6) is cut into nodes 0.1, 1.1 and 1.2: each as that node of any other run. */
static void test_a_run_gives_its_aligned_nodes(void **state)
{
    (void)state;
    struct wk_executor *executor = start(3);
    struct wk_result part[FIXTURE_SLOTS], single[FIXTURE_SLOTS];
    assert_int_equal(run(executor, slots(0, 1, 6), part), 3);
    assert_true(sl_tree_equal(part[1].node, (struct sl_node){0, 1}));
    assert_true(sl_tree_equal(part[2].node, (struct sl_node){1, 1}));
    assert_true(sl_tree_equal(part[4].node, (struct sl_node){1, 2}));
    for (uint32_t begin = 2; begin <= 4; begin += 2) {
        (void)run(executor, slots(0, begin, begin + 2), single);
        assert_same_sums(part[begin].buffer->data, single[begin].buffer->data);
        assert_same_stats(&part[begin].stats, &single[begin].stats);
        drop(single);
    }
    /* and a node is the sum of its halves */
    struct wk_result half[FIXTURE_SLOTS];
    (void)run(executor, slots(0, 2, 3), single);
    (void)run(executor, slots(0, 3, 4), half);
    for (int b = 0; b < layout->block_count; b++)
        wk_gradient_add_block(layout, b, single[2].buffer->data, half[3].buffer->data);
    assert_same_sums(single[2].buffer->data, part[2].buffer->data);
    drop(half);
    drop(single);
    drop(part);
    wk_executor_destroy(executor);
}

/* statistics slot: each slot's unimodal gradients of extractors come scaled by what its own scores say, with any number of threads; all else as ever. */
static void test_slots_modulated_by_their_own_scores(void **state)
{
    (void)state;
    struct wk_result plain[FIXTURE_SLOTS], modulated[FIXTURE_SLOTS], both[FIXTURE_SLOTS],
            again[FIXTURE_SLOTS];
    struct wk_executor *one = start(1), *many = start(3);
    struct sl_modulation_config before = config->modulation;
    double smallest = 1.0;
    config->modulation.alpha = 5.0;
    for (uint32_t s = 0; s < 7; s++) {
        config->modulation.statistics = SL_STATISTICS_STEP;
        (void)run(one, slots(0, s, s + 1), plain);
        config->modulation.statistics = SL_STATISTICS_SLOT;
        (void)run(one, slots(0, s, s + 1), modulated);
        const float *from = plain[s].buffer->data, *got = modulated[s].buffer->data;
        assert_same_stats(&modulated[s].stats, &plain[s].stats);
        for (int b = 0; b < layout->block_count; b++) {
            const struct sl_block *block = &layout->blocks[b];
            double k = block->part == SL_PART_EXTRACTOR
                               ? sl_coefficient_of_scores(&config->modulation, plain[s].stats.score,
                                         config->modality_count, block->modality)
                               : 1.0;
            smallest = k < smallest ? k : smallest;
            for (size_t i = block->offset; block->tagged[SL_TAG_UNIMODAL] && i < block->offset + block->count;
                    i++)
                assert_true(got[i] == (float)k * from[i]);
            if (block->part == SL_PART_EXTRACTOR)
                assert_true(modulated[s].stats.coefficient[block->modality] == k * plain[s].stats.count);
        }
        size_t fused = layout->count + layout->head_end;
        assert_memory_equal(got + fused, from + fused, (layout->count - layout->head_end) * sizeof(float));
        drop(plain);
        drop(modulated);
    }
    assert_true(smallest < 0.99); /* something was held back */
    (void)run(one, slots(0, 0, 7), both);
    (void)run(many, slots(0, 0, 7), again);
    assert_same_sums(again[0].buffer->data, both[0].buffer->data);
    assert_memory_equal(
            again[0].stats.coefficient, both[0].stats.coefficient, sizeof(both[0].stats.coefficient));
    drop(both);
    drop(again);
    config->modulation = before;
    wk_executor_destroy(one);
    wk_executor_destroy(many);
}

static struct wk_result validate(struct wk_executor *executor, uint32_t begin, uint32_t end)
{
    struct wk_action action = {
            .kind = WK_ACTION_COMPUTE, .phase = SL_PHASE_VALIDATE, .begin = begin, .end = end};
    wk_executor_submit(executor, &action, params);
    struct wk_result result = fixture_take(executor);
    if (result.status != SL_OK)
        fail_msg("%s", result.error.text);
    assert_int_equal(result.kind, WK_RESULT_EVALUATION);
    take_idle(executor);
    return result;
}

static void test_validation(void **state)
{
    (void)state;
    struct wk_executor *one = start(1), *many = start(THREADS_MAX);
    struct wk_result want = validate(one, 0, 3), got = validate(many, 0, 3), part = validate(many, 2, 3);
    assert_int_equal(got.buffer->size, want.buffer->size);
    assert_memory_equal(got.buffer->data, want.buffer->data, want.buffer->size);
    struct sl_evaluation *e = NULL;
    size_t ints = sl_evaluation_int_count(3, 3), doubles = sl_evaluation_double_count(3, 3);
    assert_ok(sl_evaluation_create(&e, 3, 3, &err));
    const int64_t *values = want.buffer->data;
    assert_ok(sl_evaluation_load(e, values, ints, (const double *)(values + ints), doubles, &err));
    assert_int_equal(sl_evaluation_count(e, 2), ROWS - TRAIN);
    values = part.buffer->data;
    assert_ok(sl_evaluation_load(e, values, ints, (const double *)(values + ints), doubles, &err));
    assert_int_equal(sl_evaluation_count(e, 0), 1);
    sl_evaluation_destroy(e);
    sl_buffer_release(want.buffer);
    sl_buffer_release(got.buffer);
    sl_buffer_release(part.buffer);
    wk_executor_destroy(one);
    wk_executor_destroy(many);
}

static void test_class_weights_are_balanced(void **state)
{
    (void)state;
    struct wk_result results[FIXTURE_SLOTS];
    config->loss.class_weights = SL_WEIGHTS_BALANCED;
    struct wk_executor *executor = start(2);
    double sum = 0.0;
    (void)run(executor, slots(0, 0, 7), results);
    sum += results[0].stats.weight_sum;
    drop(results);
    (void)run(executor, slots(1, 0, 3), results);
    sum += results[0].stats.weight_sum;
    drop(results);
    assert_true(sum > TRAIN - 1e-4 && sum < TRAIN + 1e-4); /* their mean over the training set is 1 */
    wk_executor_destroy(executor);
    config->loss.class_weights = SL_WEIGHTS_NONE;
}

/* ---- cancelling ---- */

/* Everything that comes until IDLE is of that run, and IDLE comes once. Returns the nodes. */
static int drain(struct wk_executor *executor, uint64_t run)
{
    for (int nodes = 0;; nodes++) {
        struct wk_result result = fixture_take(executor);
        assert_int_equal(result.status, SL_OK);
        assert_int_equal(result.run, run);
        if (result.kind == WK_RESULT_IDLE) {
            assert_int_equal(wk_executor_take(executor, &result), SL_AGAIN);
            return nodes;
        }
        assert_int_equal(result.kind, WK_RESULT_NODE);
        sl_buffer_release(result.buffer);
    }
}

/* Cancelled at many moments, the executor is idle once and then computes the same bits as ever: no sum of the cancelled run is left over. */
static void test_cancelled_at_any_moment(void **state)
{
    (void)state;
    struct wk_result want[FIXTURE_SLOTS], got[FIXTURE_SLOTS];
    for (int threads = 1; threads <= THREADS_MAX; threads += 3) {
        struct wk_executor *executor = start(threads);
        (void)run(executor, slots(0, 0, 7), want);
        int cut_short = 0;
        for (uint64_t round = 0; round < 40; round++) {
            struct wk_action action = slots(0, 0, 7);
            action.run = round + 100;
            action.arriving = round % 8 == 0; /* so that it is not through before it is cancelled */
            action.here = nothing_here;
            wk_executor_submit(executor, &action, params);
            uint64_t busy_us = wk_executor_busy_us(executor);
            while (round % 4 > 0 && wk_executor_busy_us(executor) < busy_us + round * 20) {
                struct pollfd ready = {.fd = wk_executor_fd(executor), .events = POLLIN};
                if (poll(&ready, 1, 0) > 0)
                    break; /* it was quicker */
            }
            wk_executor_cancel(executor);
            wk_executor_cancel(executor);
            cut_short += drain(executor, action.run) == 0;
            wk_executor_cancel(executor); /* of nothing */
            (void)run(executor, slots(0, 0, 7), got);
            assert_same_sums(got[0].buffer->data, want[0].buffer->data);
            assert_same_stats(&got[0].stats, &want[0].stats);
            drop(got);
        }
        assert_true(cut_short >= 5); /* how much more often is the scheduler's affair */
        drop(want);
        wk_executor_destroy(executor);
    }
}

static void test_a_cancelled_validation(void **state)
{
    (void)state;
    struct wk_executor *executor = start(2);
    struct wk_result want = validate(executor, 0, 3);
    for (int round = 0; round < 20; round++) {
        struct wk_action action = {
                .kind = WK_ACTION_COMPUTE, .phase = SL_PHASE_VALIDATE, .begin = 0, .end = 3};
        wk_executor_submit(executor, &action, params);
        wk_executor_cancel(executor);
        struct wk_result result = fixture_take(executor);
        if (result.kind == WK_RESULT_EVALUATION) { /* whole before it was cancelled */
            sl_buffer_release(result.buffer);
            take_idle(executor);
        } else {
            assert_int_equal(result.kind, WK_RESULT_IDLE);
        }
        struct wk_result got = validate(executor, 0, 3);
        assert_memory_equal(got.buffer->data, want.buffer->data, want.buffer->size);
        sl_buffer_release(got.buffer);
    }
    sl_buffer_release(want.buffer);
    wk_executor_destroy(executor);
}

/* ---- parameters that come while it waits for them ---- */

/* Nothing but NaN, until blocks are copied into it. */
static float *missing_params(void)
{
    float *coming = sl_alloc_aligned(layout->count, sizeof(float));
    assert_non_null(coming);
    for (size_t i = 0; i < layout->count; i++)
        coming[i] = 0.0F / 0.0F;
    return coming;
}

static void arrive(struct wk_executor *executor, float *coming, int b)
{
    const struct sl_block *block = &layout->blocks[b];
    memcpy(coming + block->offset, params + block->offset, block->count * sizeof(float));
    wk_executor_arrived(executor, b);
}

/* In whatever order they come: the bits are those of parameters that were there from the start, for training and validation. */
static void test_parameters_that_arrive(void **state)
{
    (void)state;
    struct wk_executor *plain = start(1);
    struct wk_result want[FIXTURE_SLOTS], validated = validate(plain, 0, 3);
    (void)run(plain, slots(0, 0, 7), want);
    for (int threads = 1; threads <= THREADS_MAX; threads++) {
        struct wk_executor *executor = start(threads);
        for (int round = 0; round < 8; round++) {
            float *coming = missing_params();
            struct wk_action action = slots(0, 0, 7);
            if (round % 2 == 1)
                action = (struct wk_action){.phase = SL_PHASE_VALIDATE, .begin = 0, .end = 3};
            action.arriving = true;
            action.here = nothing_here;
            wk_executor_submit(executor, &action, coming);
            for (int i = 0; i < layout->block_count; i++) /* forwards, backwards, in strides that meet all */
                arrive(executor, coming,
                        round < 4 ? (round < 2 ? i : layout->block_count - 1 - i)
                                  : (i + round) % layout->block_count);
            struct wk_result got = fixture_take(executor);
            assert_int_equal(got.status, SL_OK);
            if (round % 2 == 1)
                assert_memory_equal(got.buffer->data, validated.buffer->data, validated.buffer->size);
            else
                assert_same_sums(got.buffer->data, want[0].buffer->data);
            wk_result_fini(&got);
            take_idle(executor);
            sl_free(coming);
        }
        wk_executor_destroy(executor);
    }
    wk_result_fini(&validated);
    drop(want);
    wk_executor_destroy(plain);
}

/* Whoever waits is woken by a cancel, and by the end; nothing comes of what it computed. No result of any phase comes before all parameters. */
static void test_cancelled_while_parameters_are_missing(void **state)
{
    (void)state;
    struct wk_result want[FIXTURE_SLOTS], got[FIXTURE_SLOTS], result;
    static const enum sl_phase phases[] = {SL_PHASE_TRAIN, SL_PHASE_VALIDATE, SL_PHASE_SKIP, SL_PHASE_AUDIT};
    struct wk_executor *plain = start(1);
    (void)run(plain, slots(0, 0, 7), want);
    for (int threads = 1; threads <= THREADS_MAX; threads += 3) {
        struct wk_executor *executor = start(threads);
        for (int round = 0; round < 24; round++) {
            float *coming = missing_params();
            struct wk_action action = slots(0, 0, 7);
            action.phase = phases[round % 4];
            action.end = action.phase == SL_PHASE_VALIDATE ? 3 : 7;
            action.arriving = true;
            action.here = nothing_here;
            wk_executor_submit(executor, &action, coming);
            int missing = 1 + round % layout->block_count;
            for (int b = 0; b < layout->block_count - missing; b++)
                arrive(executor, coming, b);
            assert_int_equal(wk_executor_take(executor, &result), SL_AGAIN);
            wk_executor_cancel(executor);
            take_idle(executor);
            sl_free(coming);
        }
        (void)run(executor, slots(0, 0, 7), got);
        assert_same_sums(got[0].buffer->data, want[0].buffer->data);
        drop(got);
        struct wk_action action = slots(0, 0, 7);
        action.arriving = true;
        action.here = nothing_here;
        wk_executor_submit(executor, &action, params);
        wk_executor_destroy(executor); /* while they wait */
    }
    drop(want);
    wk_executor_destroy(plain);
}

/* Waiting is neither computing nor busy. */
static void test_waiting_for_parameters_is_told(void **state)
{
    (void)state;
    struct wk_executor *executor = start(1);
    struct wk_action action = slots(0, 0, 1);
    action.arriving = true;
    action.here = nothing_here;
    int64_t start_us = sl_clock_monotonic_us();
    wk_executor_submit(executor, &action, params);
    struct pollfd nothing = {.fd = wk_executor_fd(executor), .events = POLLIN};
    assert_int_equal(poll(&nothing, 1, 100), 0); /* it waits, whatever time it is given */
    for (int b = 0; b < layout->block_count; b++)
        wk_executor_arrived(executor, b);
    struct wk_result result = fixture_take(executor);
    uint64_t all_us = (uint64_t)(sl_clock_monotonic_us() - start_us),
             waited_us = result.spent.us[SL_SPENT_PULL];
    assert_true(waited_us >= 50000);
    assert_true(result.spent.us[SL_SPENT_FORWARD] + waited_us <= all_us); /* no time counts twice */
    assert_true(result.compute_us + waited_us <= all_us);
    wk_result_fini(&result);
    take_idle(executor);
    wk_executor_destroy(executor);
}

/* ---- audits, hashes, slots that nobody can read ---- */

static void test_hashes_tell_sums_apart(void **state)
{
    (void)state;
    struct wk_executor *one = start(1), *many = start(THREADS_MAX);
    struct wk_result first[FIXTURE_SLOTS], second[FIXTURE_SLOTS], other[FIXTURE_SLOTS];
    struct wk_action action = slots(0, 0, 4);
    (void)run(one, action, first);
    assert_int_equal(first[0].hash, 0); /* not asked for */
    drop(first);
    action.hash = true;
    (void)run(one, action, first);
    action.phase = SL_PHASE_AUDIT;
    (void)run(many, action, second);
    assert_true(first[0].hash != 0);
    assert_true(first[0].hash == second[0].hash);
    assert_same_sums(first[0].buffer->data, second[0].buffer->data);
    float kept = params[0];
    params[0] += 1e-3F;
    (void)run(many, action, other);
    assert_true(first[0].hash != other[0].hash);
    params[0] = kept;
    drop(first);
    drop(second);
    drop(other);
    wk_executor_destroy(one);
    wk_executor_destroy(many);
}

/* Sums of frozen blocks are not made, whatever lies there is not hashed, and all others are as ever. */
static void test_frozen_blocks_are_left_out(void **state)
{
    (void)state;
    struct wk_executor *executor = start(THREADS_MAX);
    struct wk_result first[FIXTURE_SLOTS], again[FIXTURE_SLOTS], other[FIXTURE_SLOTS];
    struct wk_action action = slots(0, 0, 4);
    int frozen = 0;
    while (layout->blocks[frozen].part != SL_PART_EXTRACTOR)
        frozen++;
    action.hash = true;
    (void)run(executor, action, other);
    layout->blocks[frozen].frozen = true;
    layout->trained_block_count--;
    (void)run(executor, action, first);
    (void)run(executor, action, again);
    assert_true(first[0].hash != 0 && first[0].hash == again[0].hash);
    assert_true(first[0].hash != other[0].hash);
    for (int b = 0; b < layout->block_count; b++)
        for (int tag = 0; tag < SL_TAGS; tag++) {
            const struct sl_block *block = &layout->blocks[b];
            size_t at = sl_layout_gradient_at(layout, tag, block->offset);
            if (block->tagged[tag] && b != frozen)
                assert_memory_equal((const float *)first[0].buffer->data + at,
                        (const float *)other[0].buffer->data + at, block->count * sizeof(float));
        }
    layout->blocks[frozen].frozen = false;
    layout->trained_block_count++;
    drop(first);
    drop(again);
    drop(other);
    wk_executor_destroy(executor);
}

static void test_skipped_slots_are_zeros(void **state)
{
    (void)state;
    struct wk_executor *executor = start(2);
    struct wk_result results[FIXTURE_SLOTS];
    struct wk_action action = slots(0, 1, 6);
    (void)run(executor, slots(0, 0, 7), results); /* so that the pool has used buffers */
    drop(results);
    action.phase = SL_PHASE_SKIP;
    assert_int_equal(run(executor, action, results), 3);
    float *zeros = sl_alloc_aligned(SL_TAGS * layout->count, sizeof(float));
    for (int i = 0; i < FIXTURE_SLOTS; i++) {
        if (results[i].buffer == NULL)
            continue;
        assert_same_sums(results[i].buffer->data, zeros);
        assert_same_stats(&results[i].stats, &(struct sl_step_stats){0});
    }
    sl_free(zeros);
    drop(results);
    wk_executor_destroy(executor);
}

/* A server in the same process may be slower than the worker that leaves. */
static void test_gradients_outlive_the_executor(void **state)
{
    (void)state;
    struct wk_executor *executor = start(2);
    struct wk_result results[FIXTURE_SLOTS];
    (void)run(executor, slots(0, 0, 7), results);
    wk_executor_destroy(executor);
    drop(results);
}

/* Parameters that are not finite make a validation that cannot be counted. */
static void test_a_failure_is_told_once(void **state)
{
    (void)state;
    struct wk_executor *executor = start(2);
    struct wk_action action = {.kind = WK_ACTION_COMPUTE, .phase = SL_PHASE_VALIDATE, .begin = 0, .end = 3};
    float kept = params[0];
    params[0] = 0.0F / 0.0F;
    wk_executor_submit(executor, &action, params);
    struct wk_result result = fixture_take(executor);
    assert_int_equal(result.status, SL_DIVERGED);
    assert_non_null(strstr(result.error.text, "not finite"));
    assert_null(result.buffer);
    assert_int_equal(wk_executor_take(executor, &result), SL_AGAIN);
    wk_executor_destroy(executor);
    params[0] = kept;
}

/* Flips bytes of every record of the training set's shard, beyond its first page. */
static void spoil(const char *path)
{
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    char *bytes = NULL;
    size_t size = 0;
    assert_ok(sl_file_read(&bytes, &size, path, 1 << 24, &err));
    for (size_t i = 0; i + 4 < size; i++)
        if (memcmp(bytes + i, "r1", 2) == 0 || memcmp(bytes + i, "label", 5) == 0)
            assert_int_equal(pwrite(fd, "\x7f", 1, (off_t)i), 1);
    sl_free(bytes);
    (void)close(fd);
}

static void test_a_damaged_record_fails_the_run(void **state)
{
    (void)state;
    struct wk_executor *executor = start(THREADS_MAX);
    struct wk_action action = slots(0, 0, 7);
    spoil(FOLDER "/data/train/shard-00000/data.mdb");
    wk_executor_submit(executor, &action, params);
    struct wk_result result = fixture_take(executor);
    assert_int_equal(result.status, SL_BAD_DATA);
    assert_non_null(strstr(result.error.text, "shard-00000"));
    wk_executor_destroy(executor);
    close_data();
    fixture_import(FOLDER, config, ROWS, TRAIN);
    open_data();
}

/* However little memory is left, the loop hears of a run: whole, or failed. */
static void test_no_memory_is_told(void **state)
{
    (void)state;
    int failed = 0, whole = 0;
    for (uint64_t n = 1; whole == 0; n += 3) {
        assert_true(n < 2000);
        struct wk_executor *executor = start(2);
        struct wk_action action = slots(0, 0, 2);
        sl_memory_fail_after(n);
        wk_executor_submit(executor, &action, params);
        struct wk_result result = fixture_take(executor);
        sl_memory_fail_after(0);
        if (result.status == SL_OK)
            whole++;
        else
            failed++;
        assert_true(result.status == SL_OK || result.status == SL_NO_MEMORY);
        sl_buffer_release(result.buffer);
        wk_executor_destroy(executor);
    }
    assert_true(failed > 7);
}

static void test_destroyed_while_it_computes(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct wk_executor *executor = start(1 + round % THREADS_MAX);
        struct wk_action action = slots(0, 0, 7);
        wk_executor_submit(executor, &action, params);
        if (round % 5 == 0)
            sl_buffer_release(fixture_take(executor).buffer);
        wk_executor_destroy(executor);
    }
    wk_executor_destroy(start(2)); /* before it ever did */
    wk_executor_destroy(NULL);
}

static void test_create_without_memory(void **state)
{
    (void)state;
    struct sl_plan_options plan;
    struct wk_executor_options options = fixture_options(2, &plan);
    struct wk_executor *executor = NULL;
    uint64_t n = 1;
    for (;; n++) {
        sl_memory_fail_after(n);
        enum sl_status status = wk_executor_create(&executor, &options, &err);
        sl_memory_fail_after(0);
        if (status == SL_OK)
            break;
        assert_int_equal(status, SL_NO_MEMORY);
        assert_null(executor);
    }
    assert_true(n > 10);
    wk_executor_destroy(executor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_any_number_of_threads_gives_the_same_bits),
            cmocka_unit_test(test_a_run_gives_its_aligned_nodes),
            cmocka_unit_test(test_blocks_leave_before_their_node),
            cmocka_unit_test(test_cancelled_while_blocks_leave),
            cmocka_unit_test(test_slots_modulated_by_their_own_scores),
            cmocka_unit_test(test_validation),
            cmocka_unit_test(test_class_weights_are_balanced),
            cmocka_unit_test(test_cancelled_at_any_moment),
            cmocka_unit_test(test_a_cancelled_validation),
            cmocka_unit_test(test_parameters_that_arrive),
            cmocka_unit_test(test_cancelled_while_parameters_are_missing),
            cmocka_unit_test(test_waiting_for_parameters_is_told),
            cmocka_unit_test(test_hashes_tell_sums_apart),
            cmocka_unit_test(test_frozen_blocks_are_left_out),
            cmocka_unit_test(test_skipped_slots_are_zeros),
            cmocka_unit_test(test_gradients_outlive_the_executor),
            cmocka_unit_test(test_a_failure_is_told_once),
            cmocka_unit_test(test_a_damaged_record_fails_the_run),
            cmocka_unit_test(test_no_memory_is_told),
            cmocka_unit_test(test_destroyed_while_it_computes),
            cmocka_unit_test(test_create_without_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
