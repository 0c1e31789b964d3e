/* The reduction tree: shape, covers, and that any cut of the slots gives the same bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/random.h"
#include "common/tree.h"

#include <string.h>

static void test_shape(void **state)
{
    (void)state;
    assert_int_equal(sl_tree_levels(1), 0);
    assert_int_equal(sl_tree_levels(2), 1);
    assert_int_equal(sl_tree_levels(3), 2);
    assert_int_equal(sl_tree_levels(4), 2);
    assert_int_equal(sl_tree_levels(4096), 12);
    assert_int_equal(sl_tree_levels(4097), 13);
    struct sl_node root = sl_tree_root(5);
    assert_int_equal(root.level, 3);
    assert_int_equal(sl_tree_begin(root), 0);
    assert_int_equal(sl_tree_end(5, root), 5);
    assert_true(sl_tree_node_valid(5, (struct sl_node){2, 1}));
    assert_int_equal(sl_tree_end(5, (struct sl_node){2, 1}), 5);
    assert_false(sl_tree_node_valid(5, (struct sl_node){1, 3}));
    assert_false(sl_tree_node_valid(5, (struct sl_node){4, 0}));
    assert_false(sl_tree_node_valid(5, (struct sl_node){0, UINT32_MAX}));
    assert_false(sl_tree_node_valid(5, (struct sl_node){3, UINT32_MAX}));
}

static void test_family(void **state)
{
    (void)state;
    for (uint32_t index = 0; index < 16; index++) {
        struct sl_node node = {1, index}, sibling = sl_tree_sibling(node);
        assert_true(sl_tree_equal(sl_tree_parent(node), sl_tree_parent(sibling)));
        assert_false(sl_tree_equal(node, sibling));
        assert_true(sl_tree_equal(sl_tree_sibling(sibling), node));
        assert_int_equal(sl_tree_begin(sl_tree_parent(node)),
                index % 2 == 0 ? sl_tree_begin(node) : sl_tree_begin(sibling));
    }
}

/* every run of slots of every tree up to 33: covers follow each other without gap, and none could be wider */
static void test_cover(void **state)
{
    (void)state;
    for (uint32_t slots = 1; slots <= 33; slots++) {
        for (uint32_t begin = 0; begin < slots; begin++) {
            for (uint32_t end = begin + 1; end <= slots; end++) {
                uint32_t at = begin;
                while (at < end) {
                    struct sl_node node = sl_tree_cover(slots, at, end), parent = sl_tree_parent(node);
                    assert_true(sl_tree_node_valid(slots, node));
                    assert_int_equal(sl_tree_begin(node), at);
                    assert_true(sl_tree_end(slots, node) <= end);
                    bool wider = sl_tree_node_valid(slots, parent) && sl_tree_begin(parent) == at &&
                                 sl_tree_end(slots, parent) <= end;
                    assert_false(wider);
                    at = sl_tree_end(slots, node);
                }
            }
        }
        assert_true(sl_tree_equal(sl_tree_cover(slots, 0, slots), sl_tree_root(slots)));
    }
}

#define LENGTH 24

/* the sum of a node from slots' own vectors, by the definition */
static void sum_node(float *sum, float (*leaves)[LENGTH], uint32_t slots, struct sl_node node)
{
    if (node.level == 0) {
        memcpy(sum, leaves[node.index], sizeof(float) * LENGTH);
        return;
    }
    struct sl_node left = {node.level - 1, node.index * 2}, right = {node.level - 1, node.index * 2 + 1};
    sum_node(sum, leaves, slots, left);
    if (!sl_tree_node_valid(slots, right))
        return;
    float other[LENGTH];
    sum_node(other, leaves, slots, right);
    sl_vector_add(sum, other, LENGTH);
}

/* joins the sums of a partition [0, cuts…, slots) upwards: a node whose sibling covers no slot rises alone */
static void sum_parts(
        float *sum, float (*leaves)[LENGTH], uint32_t slots, struct sl_node node, const bool *is_part_begin)
{
    uint32_t begin = sl_tree_begin(node), end = sl_tree_end(slots, node);
    bool whole = true;
    for (uint32_t s = begin + 1; s < end; s++)
        whole = whole && !is_part_begin[s];
    if (whole || node.level == 0) {
        sum_node(sum, leaves, slots, node);
        return;
    }
    struct sl_node left = {node.level - 1, node.index * 2}, right = {node.level - 1, node.index * 2 + 1};
    sum_parts(sum, leaves, slots, left, is_part_begin);
    if (!sl_tree_node_valid(slots, right))
        return;
    float other[LENGTH];
    sum_parts(other, leaves, slots, right, is_part_begin);
    sl_vector_add(sum, other, LENGTH);
}

static void test_any_cut_gives_the_same_bits(void **state)
{
    (void)state;
    struct sl_random random = sl_random_make(4, SL_RANDOM_TEST, 0, 0);
    for (uint32_t slots = 1; slots <= 19; slots++) {
        float leaves[19][LENGTH], whole[LENGTH];
        for (uint32_t s = 0; s < slots; s++)
            for (uint32_t i = 0; i < LENGTH; i++)
                leaves[s][i] = sl_random_normal(&random, (uint64_t)slots * 1000 + s * LENGTH + i);
        sum_node(whole, leaves, slots, sl_tree_root(slots));
        for (uint64_t round = 0; round < 20; round++) {
            bool begins[20] = {true};
            for (uint32_t s = 1; s < slots; s++)
                begins[s] = sl_random_below(&random, 1000000 + round * 32 + s, 3) == 0;
            float parts[LENGTH];
            sum_parts(parts, leaves, slots, sl_tree_root(slots), begins);
            assert_memory_equal(parts, whole, sizeof(whole));
        }
    }
}

static void test_places_are_distinct_and_fit(void **unused)
{
    (void)unused;
    for (uint32_t slots = 1; slots <= 33; slots++) {
        unsigned char taken[256] = {0};
        assert_true(sl_tree_places(slots) <= sizeof(taken));
        assert_int_equal(sl_tree_place(slots, sl_tree_root(slots)), 1);
        for (uint32_t level = 0; level <= sl_tree_levels(slots); level++) {
            for (uint32_t index = 0; sl_tree_node_valid(slots, (struct sl_node){level, index}); index++) {
                uint32_t place = sl_tree_place(slots, (struct sl_node){level, index});
                assert_true(place < sl_tree_places(slots));
                assert_false(taken[place]);
                taken[place] = 1;
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_shape),
            cmocka_unit_test(test_family),
            cmocka_unit_test(test_cover),
            cmocka_unit_test(test_any_cut_gives_the_same_bits),
            cmocka_unit_test(test_places_are_distinct_and_fit),
    };
    return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
