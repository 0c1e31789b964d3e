/* A step while it is open: units, statistics along the tree in any order of arrival, memory that is used again. */
#include "ps/open_step.h"

#include "tests/unit/ps/fixture.h"

static struct sl_error err;

static void begin(struct ps_open_step *step, enum sl_phase phase, uint32_t units)
{
    assert_int_equal(ps_open_step_begin(step, phase, 3, 2, units, 16, 5, 2, 1000, &err), SL_OK);
}

/* Statistics whose sums show the order of addition: doubles are not associative. */
static struct sl_step_stats stats_of(uint32_t slot)
{
    return (struct sl_step_stats){.count = 1 << slot, .weight_sum = slot % 2 == 0 ? 1e16 : 1.0 + slot};
}

static struct sl_step_stats sum_of(uint32_t slots, struct sl_node node)
{
    if (node.level == 0)
        return stats_of(node.index);
    struct sl_node left = {node.level - 1, 2 * node.index}, right = {node.level - 1, 2 * node.index + 1};
    struct sl_step_stats sum = sum_of(slots, left), other;
    if (!sl_tree_node_valid(slots, right))
        return sum;
    other = sum_of(slots, right);
    sl_step_stats_add(&sum, &other);
    return sum;
}

static void test_any_order_gives_the_same_sums(void **state)
{
    (void)state;
    struct ps_open_step step = {0};
    for (uint32_t slots = 1; slots <= 16; slots++) {
        struct sl_step_stats expected = sum_of(slots, sl_tree_root(slots));
        for (uint32_t stride = 1; stride <= slots; stride++) {
            begin(&step, SL_PHASE_TRAIN, slots);
            for (uint32_t first = 0; first < stride; first++)
                for (uint32_t slot = first; slot < slots; slot += stride) {
                    struct sl_step_stats one = stats_of(slot);
                    ps_open_step_join(&step, (struct sl_node){0, slot}, &one);
                }
            assert_memory_equal(ps_open_step_total(&step), &expected, sizeof(expected));
        }
    }
    ps_open_step_fini(&step);
}

static void test_a_wider_node_replaces_narrower_ones(void **state)
{
    (void)state;
    struct ps_open_step step = {0};
    begin(&step, SL_PHASE_TRAIN, 5);
    struct sl_step_stats one = stats_of(1), wide = sum_of(5, (struct sl_node){2, 0}), last = stats_of(4),
                         expected = sum_of(5, sl_tree_root(5));
    ps_open_step_join(&step, (struct sl_node){0, 1}, &one);
    ps_open_step_join(&step, (struct sl_node){0, 4}, &last);
    ps_open_step_join(&step, (struct sl_node){2, 0}, &wide);
    assert_memory_equal(ps_open_step_total(&step), &expected, sizeof(expected));
    begin(&step, SL_PHASE_TRAIN, 3); /* nothing of the step before is left */
    ps_open_step_join(&step, (struct sl_node){0, 1}, &one);
    assert_int_equal(step.node_present[1], 0);
    ps_open_step_fini(&step);
}

static void test_free_stretches(void **state)
{
    (void)state;
    struct ps_open_step step = {0};
    uint32_t from = 9, to = 9;
    begin(&step, SL_PHASE_VALIDATE, 100); /* more units than a step has slots */
    assert_true(ps_open_step_free_stretch(&step, 7, NULL, &from, &to));
    assert_true(from == 0 && to == 7);
    step.owner[0] = PS_UNIT_DONE;
    step.owner[1] = 4;
    step.owner[4] = PS_UNIT_DONE;
    assert_true(ps_open_step_free_stretch(&step, 7, NULL, &from, &to));
    assert_true(from == 2 && to == 4);
    assert_true(ps_open_step_covers(&step, 0, 2));
    assert_false(ps_open_step_covers(&step, 0, 1));
    for (uint32_t u = 0; u < 100; u++)
        step.owner[u] = PS_UNIT_DONE;
    assert_false(ps_open_step_free_stretch(&step, 7, NULL, &from, &to));
    begin(&step, SL_PHASE_TRAIN, 6);
    static const int shards[6] = {0, 1, 1, 0, 1, -1};
    static const unsigned char second[2] = {0, 1}, none[2] = {0, 0};
    for (int u = 0; u < 6; u++)
        step.shard[u] = shards[u];
    assert_true(ps_open_step_free_stretch(&step, 7, second, &from, &to));
    assert_true(from == 1 && to == 3);
    assert_true(ps_open_step_free_stretch(&step, 7, none, &from, &to));
    assert_true(from == 5 && to == 6); /* the one that needs no shard in particular */
    ps_open_step_fini(&step);
}

/* Memory that runs out while a step is opened leaves nothing that is freed twice. */
static void test_memory_runs_out(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct ps_open_step step = {0};
        sl_memory_fail_after(n);
        enum sl_status first = ps_open_step_begin(&step, SL_PHASE_TRAIN, 0, 0, 4, 16, 5, 2, 0, &err),
                       second = ps_open_step_begin(&step, SL_PHASE_TRAIN, 0, 0, 16, 16, 5, 2, 0, &err);
        sl_memory_fail_after(0);
        assert_int_equal(ps_open_step_begin(&step, SL_PHASE_TRAIN, 0, 0, 16, 16, 5, 2, 0, &err), SL_OK);
        ps_open_step_fini(&step);
        if (first == SL_OK && second == SL_OK) {
            assert_true(n > 5);
            return;
        }
        assert_int_equal(second, SL_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_any_order_gives_the_same_sums),
            cmocka_unit_test(test_a_wider_node_replaces_narrower_ones),
            cmocka_unit_test(test_free_stretches),
            cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
