/* The compute threads with modulation.exchange early: scores first; the backward pass from kept activations, or from a forward pass that is done again, gives the same bits; near the tags' modulated
 * sum. The data is made here: 20 samples for training (a step of 7 slots, then one of 3). */
#include "tests/unit/worker/executor_fixture.h"
#include "worker/gradient_pool.h"

#include <math.h>

#define FOLDER "fixture-executor-early"
#define ROWS 20

static const double coefficients[] = {0.4, 1.0};

/* A config, and what is made of it. */
struct side {
    struct sl_config *config;
    struct sl_layout *layout;
    struct wk_model *model;
    struct wk_dataset *train;
    float *params;
};

static int set_up(void **state)
{
    (void)state;
    struct sl_config *config = fixture_config();
    fixture_import(FOLDER, config, ROWS, ROWS);
    sl_free(config);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_ok(sl_file_remove_tree(FOLDER, &err));
    return 0;
}

static struct side open_side(enum sl_exchange exchange, int activations_mb)
{
    struct side s = {.config = fixture_config()};
    s.config->modulation.exchange = exchange;
    s.config->cluster.activations_mb = activations_mb;
    s.layout = fixture_layout(s.config);
    assert_ok(wk_dataset_open(&s.train, FOLDER "/data/train", s.config, &err));
    assert_ok(wk_model_create(&s.model, s.config, s.layout, &err));
    s.params = sl_alloc_aligned(s.layout->count, sizeof(float));
    assert_non_null(s.params);
    sl_layout_initialise(s.layout, 1, s.params);
    return s;
}

static void close_side(struct side *s)
{
    sl_free(s->params);
    wk_model_destroy(s->model);
    sl_layout_destroy(s->layout);
    wk_dataset_close(s->train);
    sl_free(s->config);
}

static struct wk_executor *start(const struct side *s, int threads)
{
    struct wk_executor *executor = NULL;
    struct sl_plan_options plan = {.count = wk_dataset_count(s->train),
            .slots = s->config->batch.slots,
            .slot_size = s->config->batch.slot_size,
            .seed = s->config->seed};
    struct wk_executor_options options = {.config = s->config,
            .layout = s->layout,
            .model = s->model,
            .train = s->train,
            .plan = &plan,
            .threads = threads};
    assert_ok(wk_executor_create(&executor, &options, &err));
    return executor;
}

static struct wk_result take(struct wk_executor *executor)
{
    struct wk_result result = fixture_take(executor);
    if (result.kind == WK_RESULT_FAILED)
        fail_msg("%s", result.error.text);
    return result;
}

/* The one node of slots [0, 7) of step 0; its buffer is the caller's. */
static struct wk_result run(
        const struct side *s, struct wk_executor *executor, enum sl_phase phase, uint64_t parameters)
{
    struct wk_action action = {.kind = WK_ACTION_COMPUTE,
            .phase = phase,
            .slots = 7,
            .end = 7,
            .hash = phase == SL_PHASE_AUDIT,
            .parameters = parameters,
            .coefficient = {coefficients[0], coefficients[1]}};
    wk_executor_submit(executor, &action, s->params);
    struct wk_result node = take(executor), idle = take(executor);
    assert_int_equal(node.kind, WK_RESULT_NODE);
    assert_int_equal(idle.kind, WK_RESULT_IDLE);
    return node;
}

static void assert_same(const struct side *s, const struct wk_result *got, const struct wk_result *want)
{
    assert_memory_equal(got->buffer->data, want->buffer->data, s->layout->count * sizeof(float));
    assert_int_equal(got->stats.count, want->stats.count);
    assert_memory_equal(got->stats.loss, want->stats.loss, sizeof(got->stats.loss));
    assert_memory_equal(got->stats.score, want->stats.score, sizeof(got->stats.score));
}

/* Scoring leaves activations or, without room for them, does not: the backward pass gives the same bits, on any number of threads. */
static void test_kept_or_computed_again(void **state)
{
    (void)state;
    for (int megabytes = 0; megabytes <= 64; megabytes += 64) {
        struct side s = open_side(SL_EXCHANGE_EARLY, megabytes);
        struct wk_executor *one = start(&s, 1);
        struct wk_result want = run(&s, one, SL_PHASE_TRAIN, 1); /* nothing was scored */
        for (int threads = 1; threads <= 4; threads++) {
            struct wk_executor *many = start(&s, threads);
            for (int round = 0; round < 5; round++) {
                struct wk_result scores = run(&s, many, SL_PHASE_SCORE, 1);
                assert_null(scores.buffer);
                assert_memory_equal(scores.stats.score, want.stats.score, sizeof(want.stats.score));
                assert_memory_equal(scores.stats.loss, want.stats.loss, sizeof(want.stats.loss));
                struct wk_result got = run(&s, many, SL_PHASE_TRAIN, 1);
                assert_same(&s, &got, &want);
                sl_buffer_release(got.buffer);
            }
            wk_executor_destroy(many);
        }
        sl_buffer_release(want.buffer);
        wk_executor_destroy(one);
        close_side(&s);
    }
}

/* What was scored on other parameters is not gone on from. */
static void test_activations_of_other_parameters_are_not_used(void **state)
{
    (void)state;
    struct side s = open_side(SL_EXCHANGE_EARLY, 64);
    struct wk_executor *executor = start(&s, 2);
    (void)run(&s, executor, SL_PHASE_SCORE, 1);
    for (size_t i = 0; i < s.layout->count; i++)
        s.params[i] *= 1.25F;
    struct wk_result got = run(&s, executor, SL_PHASE_TRAIN, 2);
    struct wk_executor *fresh = start(&s, 1);
    struct wk_result want = run(&s, fresh, SL_PHASE_TRAIN, 2);
    assert_same(&s, &got, &want);
    sl_buffer_release(got.buffer);
    sl_buffer_release(want.buffer);
    wk_executor_destroy(fresh);
    wk_executor_destroy(executor);
    close_side(&s);
}

/* k * unimodal + fused on extractors, heads and fusion as they are. */
static void test_near_the_modulated_tags(void **state)
{
    (void)state;
    struct side early = open_side(SL_EXCHANGE_EARLY, 64), tagged = open_side(SL_EXCHANGE_TAGGED, 0);
    struct wk_executor *one = start(&early, 2), *two = start(&tagged, 2);
    struct wk_result got = run(&early, one, SL_PHASE_TRAIN, 1), tags = run(&tagged, two, SL_PHASE_TRAIN, 1);
    const float *g = got.buffer->data, *unimodal = tags.buffer->data,
                *fused = unimodal + tagged.layout->count;
    double difference = 0.0, norm = 0.0;
    for (int b = 0; b < early.layout->block_count; b++) {
        const struct sl_block *block = &tagged.layout->blocks[b];
        double k = block->part == SL_PART_EXTRACTOR ? coefficients[block->modality] : 1.0;
        for (size_t i = block->offset; i < block->offset + block->count; i++) {
            double want = (block->tagged[SL_TAG_UNIMODAL] ? k * (double)unimodal[i] : 0.0) +
                          (block->tagged[SL_TAG_FUSED] ? (double)fused[i] : 0.0);
            difference += (g[i] - want) * (g[i] - want);
            norm += want * want;
        }
    }
    if (!(sqrt(difference) <= 1e-6 * sqrt(norm)) || !(norm > 0.0))
        fail_msg("the norm of the difference is %.3g, of the gradient %.3g", sqrt(difference), sqrt(norm));
    sl_buffer_release(got.buffer);
    sl_buffer_release(tags.buffer);
    wk_executor_destroy(one);
    wk_executor_destroy(two);
    close_side(&early);
    close_side(&tagged);
}

static void test_an_audit_has_the_hash_of_training(void **state)
{
    (void)state;
    struct side s = open_side(SL_EXCHANGE_EARLY, 64);
    struct wk_executor *one = start(&s, 1), *two = start(&s, 2);
    (void)run(&s, one, SL_PHASE_SCORE, 1);
    struct wk_result first = run(&s, one, SL_PHASE_AUDIT, 1), second = run(&s, two, SL_PHASE_AUDIT, 1);
    assert_true(first.hash == second.hash && first.hash != 0);
    sl_buffer_release(first.buffer);
    sl_buffer_release(second.buffer);
    wk_executor_destroy(one);
    wk_executor_destroy(two);
    close_side(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_kept_or_computed_again),
            cmocka_unit_test(test_activations_of_other_parameters_are_not_used),
            cmocka_unit_test(test_near_the_modulated_tags),
            cmocka_unit_test(test_an_audit_has_the_hash_of_training),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
