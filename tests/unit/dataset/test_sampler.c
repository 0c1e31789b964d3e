/* The sampler: every sample once per epoch, a pure function of its arguments, nothing depends on the order of asking. */
#include "tests/unit/dataset/fixture.h"
#include "worker/dataset/sampler.h"

static enum sl_status try_make(
        struct wk_sampler **ret_sampler, uint64_t count, int slots, int size, uint64_t seed, bool shuffle)
{
    struct sl_plan_options options = {.count = count, .slots = slots, .slot_size = size, .seed = seed};
    return wk_sampler_create(ret_sampler, &options, shuffle, &fixture_error);
}

static struct wk_sampler *make(uint64_t count, int slots, int size, uint64_t seed, bool shuffle)
{
    struct wk_sampler *sampler = NULL;
    assert_ok(try_make(&sampler, count, slots, size, seed, shuffle));
    return sampler;
}

/* All samples of an epoch in the order of steps and slots. */
static uint64_t *take_epoch(struct wk_sampler *sampler, uint64_t count, int slots, int size, int64_t epoch)
{
    uint64_t *order = sl_alloc(count + (uint64_t)size, sizeof(*order)), used = 0;
    int64_t steps = wk_sampler_steps_per_epoch(sampler);
    for (int64_t step = epoch * steps; step < (epoch + 1) * steps; step++) {
        for (int slot = 0; slot < slots; slot++) {
            int got = -1;
            wk_sampler_slot(sampler, step, slot, order + used, &got);
            assert_in_range(got, 0, size);
            used += (uint64_t)got;
            assert_true(used <= count);
        }
    }
    assert_int_equal(used, count);
    return order;
}

static void test_every_sample_once_per_epoch(void **state)
{
    (void)state;
    static const struct {
        uint64_t count;
        int slots, size;
    } cases[] = {{1, 1, 1}, {1, 8, 4}, {31, 8, 4}, {32, 8, 4}, {33, 8, 4}, {1000, 7, 3}, {1000, 1, 1000},
            {257, 16, 1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t count = cases[i].count;
        struct wk_sampler *sampler = make(count, cases[i].slots, cases[i].size, 5, true);
        uint64_t batch = (uint64_t)cases[i].slots * (uint64_t)cases[i].size;
        assert_int_equal(wk_sampler_steps_per_epoch(sampler), (count + batch - 1) / batch);
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            uint64_t *order = take_epoch(sampler, count, cases[i].slots, cases[i].size, epoch);
            uint8_t *seen = sl_alloc(count, 1);
            for (uint64_t k = 0; k < count; k++) {
                assert_true(order[k] < count && seen[order[k]] == 0);
                seen[order[k]] = 1;
            }
            sl_free(seen);
            sl_free(order);
        }
        wk_sampler_destroy(sampler);
    }
}

static void test_slots_do_not_depend_on_who_asks(void **state)
{
    (void)state;
    struct wk_sampler *whole = make(100, 4, 3, 9, true), *jumping = make(100, 4, 3, 9, true);
    for (int64_t step = 0; step < 30; step++) {
        int64_t asked = (step * 17) % 30; /* other epochs in between */
        for (int slot = 3; slot >= 0; slot--) {
            uint64_t a[3] = {0}, b[3] = {0}, ignored[3];
            int count_a = 0, count_b = 0, count = 0;
            wk_sampler_slot(whole, asked, slot, a, &count_a);
            wk_sampler_slot(jumping, (asked + 13) % 30, 0, ignored, &count);
            wk_sampler_slot(jumping, asked, slot, b, &count_b);
            assert_int_equal(count_a, count_b);
            assert_memory_equal(a, b, sizeof(a));
        }
    }
    wk_sampler_destroy(whole);
    wk_sampler_destroy(jumping);
}

static void test_seed_and_epoch_change_the_order(void **state)
{
    (void)state;
    struct wk_sampler *one = make(50, 2, 5, 1, true), *two = make(50, 2, 5, 2, true);
    uint64_t *first = take_epoch(one, 50, 2, 5, 0), *second = take_epoch(one, 50, 2, 5, 1),
             *other = take_epoch(two, 50, 2, 5, 0);
    assert_memory_not_equal(first, second, 50 * sizeof(uint64_t));
    assert_memory_not_equal(first, other, 50 * sizeof(uint64_t));
    /* these very numbers are part of what a resumed run relies on */
    struct wk_sampler *fixed = make(8, 1, 8, 1, true);
    static const uint64_t expected[2][8] = {{6, 5, 3, 2, 0, 1, 4, 7}, {5, 3, 0, 2, 1, 6, 4, 7}};
    for (int epoch = 0; epoch < 2; epoch++) {
        uint64_t indices[8];
        int count = 0;
        wk_sampler_slot(fixed, epoch, 0, indices, &count);
        assert_memory_equal(indices, expected[epoch], sizeof(indices));
    }
    assert_int_equal(wk_sampler_epoch(one, 4), 0);
    assert_int_equal(wk_sampler_epoch(one, 5), 1);
    sl_free(first);
    sl_free(second);
    sl_free(other);
    wk_sampler_destroy(one);
    wk_sampler_destroy(two);
    wk_sampler_destroy(fixed);
}

static void test_without_shuffling_the_order_is_kept(void **state)
{
    (void)state;
    struct wk_sampler *sampler = make(10, 2, 3, 7, false);
    uint64_t *order = take_epoch(sampler, 10, 2, 3, 4);
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(order[i], i);
    sl_free(order);
    wk_sampler_destroy(sampler);
}

/* Each of the 24 orders of four samples about equally often. */
static void test_orders_are_about_equally_likely(void **state)
{
    (void)state;
    int counts[256] = {0}, orders = 0;
    struct wk_sampler *sampler = make(4, 1, 4, 3, true);
    for (int64_t epoch = 0; epoch < 2400; epoch++) {
        uint64_t indices[4];
        int count = 0;
        wk_sampler_slot(sampler, epoch, 0, indices, &count);
        counts[indices[0] * 64 + indices[1] * 16 + indices[2] * 4 + indices[3]]++;
    }
    for (int i = 0; i < 256; i++) {
        orders += counts[i] > 0;
        assert_true(counts[i] == 0 || (counts[i] > 60 && counts[i] < 145));
    }
    assert_int_equal(orders, 24);
    wk_sampler_destroy(sampler);
}

/* With local shards every slot lies in one shard, every sample still comes once per epoch, short shards make short slots. */
static void test_local_shards(void **state)
{
    (void)state;
    const uint64_t shards[] = {10, 0, 7, 1, 16};
    const uint64_t begins[] = {0, 10, 10, 17, 18, 34};
    struct sl_plan_options options = {
            .count = 34, .slots = 3, .slot_size = 4, .seed = 5, .shards = shards, .shard_count = 5};
    struct wk_sampler *sampler = NULL;
    struct sl_plan *plan = NULL;
    assert_ok(wk_sampler_create(&sampler, &options, true, &fixture_error));
    assert_ok(sl_plan_create(&plan, &options, &fixture_error));
    assert_int_equal(sl_plan_epoch_slots(plan), 3 + 2 + 1 + 4);
    assert_int_equal(wk_sampler_steps_per_epoch(sampler), 4);
    bool orders_differ = false;
    int seen[34] = {0};
    for (int64_t step = 0; step < 8; step++) {
        assert_int_equal(sl_plan_slots(plan, step), step % 4 == 3 ? 1 : 3);
        if (step % 4 == 0)
            memset(seen, 0, sizeof(seen));
        for (int slot = 0; slot < 3; slot++) {
            uint64_t indices[4];
            int count = 0;
            wk_sampler_slot(sampler, step, slot, indices, &count);
            assert_int_equal(count, slot < (int)sl_plan_slots(plan, step)
                                            ? sl_plan_samples(plan, step, (uint32_t)slot, (uint32_t)slot + 1)
                                            : 0);
            for (int i = 0; i < count; i++) {
                int shard = sl_plan_shard(plan, step, (uint32_t)slot);
                assert_in_range(indices[i], begins[shard], begins[shard + 1] - 1);
                seen[indices[i]]++;
                orders_differ |= step > 0 && indices[i] != begins[shard] + (uint64_t)i;
            }
        }
        for (int i = 0; step % 4 == 3 && i < 34; i++)
            assert_int_equal(seen[i], 1);
    }
    assert_true(orders_differ);
    sl_plan_destroy(plan);
    wk_sampler_destroy(sampler);
    const uint64_t wrong[] = {30, 3};
    options.shards = wrong;
    options.shard_count = 2;
    assert_error(wk_sampler_create(&sampler, &options, true, &fixture_error), SL_BAD_DATA, "33 samples");
}

static void test_errors(void **state)
{
    (void)state;
    struct wk_sampler *sampler = NULL;
    assert_error(try_make(&sampler, 0, 1, 1, 1, true), SL_BAD_DATA, "0 samples");
    assert_error(try_make(&sampler, 1ULL << 32, 1, 1, 1, true), SL_BAD_DATA, "samples");
    assert_error(try_make(&sampler, 1, 0, 1, 1, true), SL_USAGE, "0 slots");
    sl_memory_fail_after(2);
    assert_error(try_make(&sampler, 10, 1, 1, 1, true), SL_NO_MEMORY, "out of memory");
    sl_memory_fail_after(0);
    assert_null(sampler);
    wk_sampler_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_every_sample_once_per_epoch),
            cmocka_unit_test(test_slots_do_not_depend_on_who_asks),
            cmocka_unit_test(test_seed_and_epoch_change_the_order),
            cmocka_unit_test(test_without_shuffling_the_order_is_kept),
            cmocka_unit_test(test_orders_are_about_equally_likely),
            cmocka_unit_test(test_local_shards),
            cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
