/* The reduction: any cut of the slots into nodes, any order of arrival, duplicates and takeovers give the bits of the tree. */
#include "common/tree.h"
#include "ps/reduction.h"
#include "tests/unit/ps/fixture.h"

#define SLOTS_MAX 13

static struct sl_error err;
static struct sl_config *config;
static struct sl_layout *layout;
static int block; /* one that has both tags */
static size_t n;  /* its floats */

static int setup(void **state)
{
    (void)state;
    config = fixture_config();
    layout = fixture_layout(config, 64);
    while (!layout->blocks[block].tagged[SL_TAG_UNIMODAL] || !layout->blocks[block].tagged[SL_TAG_FUSED])
        block++;
    n = layout->blocks[block].count;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sl_layout_destroy(layout);
    sl_free(config);
    return 0;
}

/* element i of the gradient of one slot; every 5th slot is without samples when holes is set */
static float value(uint32_t slot, int tag, size_t i)
{
    struct sl_random random = sl_random_make(3, SL_RANDOM_TEST, slot, (uint64_t)tag);
    return sl_random_normal(&random, i);
}

static bool hole(uint32_t slot, bool holes)
{
    return holes && slot % 5 == 1;
}

/* node_sum is the definition: left + right, recursively; false when no slot below has samples. Shapes: sum (n,). */
static bool node_sum(uint32_t slots, struct sl_node node, int tag, bool holes, float *sum)
{
    if (node.level == 0) {
        for (size_t i = 0; i < n; i++)
            sum[i] = value(node.index, tag, i);
        return !hole(node.index, holes);
    }
    struct sl_node left = {node.level - 1, 2 * node.index}, right = {node.level - 1, 2 * node.index + 1};
    bool has_left = node_sum(slots, left, tag, holes, sum);
    if (!sl_tree_node_valid(slots, right))
        return has_left;
    float *other = sl_alloc(n, sizeof(float));
    assert_non_null(other);
    bool has_right = node_sum(slots, right, tag, holes, other);
    if (has_left && has_right)
        sl_vector_add(sum, other, n);
    else if (has_right)
        memcpy(sum, other, n * sizeof(float));
    sl_free(other);
    return has_left || has_right;
}

static void make_frames(uint32_t slots, struct sl_node node, bool holes, struct sl_frame frames[SL_TAGS])
{
    for (int tag = 0; tag < SL_TAGS; tag++) {
        struct sl_buffer *buffer = sl_buffer_create(n * sizeof(float));
        assert_non_null(buffer);
        frames[tag] = (struct sl_frame){buffer, buffer->data, buffer->size};
        if (!node_sum(slots, node, tag, holes, buffer->data)) {
            sl_buffer_release(buffer);
            frames[tag] = (struct sl_frame){0};
        }
    }
}

static enum sl_status push(struct ps_reduction *reduction, uint32_t slots, struct sl_node node, bool holes)
{
    struct sl_frame frames[SL_TAGS];
    make_frames(slots, node, holes, frames);
    enum sl_status s = ps_reduction_push(reduction, (uint32_t)block, node, frames, &err);
    assert_null(frames[0].buffer);
    return s;
}

static void expect_root(struct ps_reduction *reduction, uint32_t slots, bool holes)
{
    assert_true(ps_reduction_whole(reduction, block));
    const float *grads[SL_TAGS];
    ps_reduction_peek(reduction, block, grads);
    float *wanted = sl_alloc(n, sizeof(float));
    for (int tag = 0; tag < SL_TAGS; tag++) {
        bool any = node_sum(slots, sl_tree_root(slots), tag, holes, wanted);
        assert_true(any == (grads[tag] != NULL));
        if (any)
            assert_memory_equal(grads[tag], wanted, n * sizeof(float));
    }
    sl_free(wanted);
}

static struct ps_reduction *make_reduction(uint32_t max_slots)
{
    struct ps_reduction *reduction = NULL;
    assert_int_equal(ps_reduction_create(&reduction, layout, max_slots, &err), SL_OK);
    return reduction;
}

/* Gradients that others hold, or whose memory is another process's, are not written: the sum of two of them goes elsewhere, in the same bits. Bit s of the pattern: slot s's
 * gradients are so. */
static void test_borrowed_gradients(void **state)
{
    (void)state;
    enum { SLOTS = 4 };
    static const uint32_t orders[][SLOTS] = {{0, 1, 2, 3}, {3, 1, 0, 2}, {2, 0, 3, 1}};
    float *wanted = sl_alloc(n, sizeof(float));
    assert_non_null(wanted);
    for (unsigned pattern = 0; pattern < 32;
            pattern++) { /* the last bit: by the mark, else by a second reference */
        for (size_t o = 0; o < sizeof(orders) / sizeof(orders[0]); o++) {
            struct ps_reduction *reduction = make_reduction(SLOTS);
            struct sl_buffer *held[SLOTS][SL_TAGS] = {{NULL}};
            for (int i = 0; i < SLOTS; i++) {
                uint32_t slot = orders[o][i];
                struct sl_frame frames[SL_TAGS];
                make_frames(SLOTS, (struct sl_node){0, slot}, false, frames);
                for (int tag = 0; tag < SL_TAGS && (pattern >> slot & 1) != 0; tag++) {
                    held[slot][tag] = sl_buffer_retain(frames[tag].buffer);
                    held[slot][tag]->read_only = pattern >= 16;
                }
                assert_int_equal(ps_reduction_push(
                                         reduction, (uint32_t)block, (struct sl_node){0, slot}, frames, &err),
                        SL_OK);
            }
            expect_root(reduction, SLOTS, false);
            assert_int_equal(ps_reduction_held(reduction), SL_TAGS); /* all that was added has been let go */
            ps_reduction_destroy(reduction);
            for (uint32_t slot = 0; slot < SLOTS; slot++)
                for (int tag = 0; tag < SL_TAGS; tag++) {
                    if (held[slot][tag] == NULL)
                        continue;
                    (void)node_sum(SLOTS, (struct sl_node){0, slot}, tag, false, wanted);
                    assert_memory_equal(held[slot][tag]->data, wanted, n * sizeof(float));
                    assert_int_equal(held[slot][tag]->references, 1);
                    sl_buffer_release(held[slot][tag]);
                }
        }
    }
    sl_free(wanted);
}

/* random_nodes cuts the slots into runs of random length and each run into nodes, in random order */
static int random_nodes(uint32_t slots, const struct sl_random *random, uint64_t *at, struct sl_node *nodes)
{
    int count = 0;
    for (uint32_t begin = 0; begin < slots;) {
        uint32_t end = begin + 1 + (uint32_t)sl_random_below(random, (*at)++, slots - begin);
        while (begin < end) {
            nodes[count] = sl_tree_cover(slots, begin, end);
            begin = sl_tree_end(slots, nodes[count++]);
        }
    }
    for (int i = count - 1; i > 0; i--) {
        int j = (int)sl_random_below(random, (*at)++, (uint64_t)i + 1);
        struct sl_node swap = nodes[i];
        nodes[i] = nodes[j];
        nodes[j] = swap;
    }
    return count;
}

static void test_any_cut_any_order(void **state)
{
    (void)state;
    struct ps_reduction *reduction = make_reduction(SLOTS_MAX);
    struct sl_random random = sl_random_make(11, SL_RANDOM_TEST, 0, 0);
    uint64_t at = 0;
    for (uint32_t slots = 1; slots <= SLOTS_MAX; slots++) {
        for (int round = 0; round < 40; round++) {
            bool holes = round % 2 == 1;
            struct sl_node nodes[SLOTS_MAX];
            int count = random_nodes(slots, &random, &at, nodes);
            ps_reduction_reset(reduction, slots);
            for (int i = 0; i < count; i++) {
                assert_false(ps_reduction_whole(reduction, block));
                assert_int_equal(push(reduction, slots, nodes[i], holes), SL_OK);
                if (round % 4 >= 2) /* the network delivers it again */
                    assert_int_equal(push(reduction, slots, nodes[i], holes), SL_STALE);
                assert_true(ps_reduction_held(reduction) <= 2 * (i + 1));
            }
            expect_root(reduction, slots, holes);
            assert_true(ps_reduction_held(reduction) <= 2);
            ps_reduction_drop(reduction, block);
            assert_int_equal(ps_reduction_held(reduction), 0);
            assert_true(ps_reduction_whole(reduction, block));
            assert_int_equal(push(reduction, slots, nodes[0], holes), SL_STALE);
        }
    }
    ps_reduction_destroy(reduction);
}

/* Random nodes without a plan, as retries and takeovers make them: only what is covered whole already is stale. */
static void test_takeovers(void **state)
{
    (void)state;
    struct ps_reduction *reduction = make_reduction(SLOTS_MAX);
    struct sl_random random = sl_random_make(12, SL_RANDOM_TEST, 0, 0);
    uint64_t at = 0;
    int stale = 0, replaced = 0;
    for (int round = 0; round < 300; round++) {
        uint32_t slots = 1 + (uint32_t)sl_random_below(&random, at++, SLOTS_MAX);
        bool covered[SLOTS_MAX] = {false};
        ps_reduction_reset(reduction, slots);
        for (int pushes = 0; !ps_reduction_whole(reduction, block); pushes++) {
            assert_true(pushes < 1000);
            struct sl_node node = {(uint32_t)sl_random_below(&random, at++, sl_tree_levels(slots) + 1), 0};
            node.index = (uint32_t)sl_random_below(&random, at++, ((slots - 1) >> node.level) + 1);
            bool new = false, old = false;
            for (uint32_t slot = sl_tree_begin(node); slot < sl_tree_end(slots, node); slot++) {
                new |= !covered[slot];
                old |= covered[slot];
                covered[slot] = true;
            }
            assert_int_equal(push(reduction, slots, node, false), new ? SL_OK : SL_STALE);
            stale += !new;
            replaced += new &&old;
        }
        expect_root(reduction, slots, false);
    }
    assert_true(stale > 100 && replaced > 100);
    ps_reduction_destroy(reduction);
}

static void test_shared_buffers_are_left_alone(void **state)
{
    (void)state;
    struct ps_reduction *reduction = make_reduction(4);
    struct sl_buffer *held[4][SL_TAGS];
    char *unaligned[2];
    for (uint32_t slot = 0; slot < 4; slot++) {
        struct sl_frame frames[SL_TAGS];
        make_frames(4, (struct sl_node){0, slot}, false, frames);
        for (int tag = 0; tag < SL_TAGS; tag++)
            held[slot][tag] = sl_buffer_retain(frames[tag].buffer);
        if (slot == 3) {
            /* as a message's bytes may lie: not on a float's boundary */
            for (int tag = 0; tag < SL_TAGS; tag++) {
                unaligned[tag] = sl_alloc(n * sizeof(float) + 1, 1);
                memcpy(unaligned[tag] + 1, frames[tag].data, n * sizeof(float));
                sl_buffer_release(frames[tag].buffer);
                struct sl_buffer *adopted =
                        sl_buffer_adopt(unaligned[tag] + 1, n * sizeof(float), sl_free, unaligned[tag]);
                assert_non_null(adopted);
                frames[tag] = (struct sl_frame){adopted, adopted->data, adopted->size};
            }
        }
        assert_int_equal(
                ps_reduction_push(reduction, (uint32_t)block, (struct sl_node){0, slot}, frames, &err),
                SL_OK);
    }
    expect_root(reduction, 4, false);
    for (uint32_t slot = 0; slot < 4; slot++) {
        for (int tag = 0; tag < SL_TAGS; tag++) {
            const float *data = held[slot][tag]->data;
            for (size_t i = 0; i < n; i++)
                assert_true(data[i] == value(slot, tag, i));
            sl_buffer_release(held[slot][tag]);
        }
    }
    ps_reduction_destroy(reduction);
}

static void test_refuses(void **state)
{
    (void)state;
    struct ps_reduction *reduction = make_reduction(5);
    const struct {
        uint32_t block;
        struct sl_node node;
        size_t size;
    } bad[] = {{(uint32_t)layout->block_count, {0, 0}, n * 4}, {UINT32_MAX, {0, 0}, n * 4},
            {(uint32_t)block, {0, 5}, n * 4}, {(uint32_t)block, {4, 0}, n * 4},
            {(uint32_t)block, {UINT32_MAX, 0}, n * 4}, {(uint32_t)block, {32, 1}, n * 4},
            {(uint32_t)block, {3, UINT32_MAX}, n * 4}, {(uint32_t)block, {0, 0}, n * 4 - 4},
            {(uint32_t)block, {0, 0}, 0}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct sl_buffer *buffer = sl_buffer_create(n * 4);
        struct sl_frame frames[SL_TAGS] = {{buffer, buffer->data, bad[i].size}, {0}};
        assert_int_equal(ps_reduction_push(reduction, bad[i].block, bad[i].node, frames, &err), SL_BAD_DATA);
    }
    /* a tag that the block does not have: heads have no fused gradient */
    struct sl_buffer *buffer = sl_buffer_create(layout->blocks[0].count * 4);
    struct sl_frame frames[SL_TAGS] = {{0}, {buffer, buffer->data, buffer->size}};
    assert_int_equal(layout->blocks[0].part, SL_PART_HEAD);
    assert_int_equal(ps_reduction_push(reduction, 0, (struct sl_node){0, 0}, frames, &err), SL_BAD_DATA);
    assert_int_equal(ps_reduction_held(reduction), 0);
    ps_reduction_destroy(reduction);
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1; k < 60; k++) {
        struct ps_reduction *reduction = NULL;
        struct sl_frame frames[4][SL_TAGS];
        struct sl_buffer *extra[4][SL_TAGS];
        for (uint32_t slot = 0; slot < 4; slot++) {
            make_frames(4, (struct sl_node){0, slot}, false, frames[slot]);
            for (int tag = 0; tag < SL_TAGS; tag++)
                extra[slot][tag] = sl_buffer_retain(frames[slot][tag].buffer);
        }
        sl_memory_fail_after(k);
        enum sl_status s = ps_reduction_create(&reduction, layout, 4, &err);
        for (uint32_t slot = 0; slot < 4; slot++) {
            if (s == SL_OK)
                s = ps_reduction_push(
                        reduction, (uint32_t)block, (struct sl_node){0, slot}, frames[slot], &err);
            else
                for (int tag = 0; tag < SL_TAGS; tag++)
                    sl_buffer_release(frames[slot][tag].buffer);
        }
        sl_memory_fail_after(0);
        assert_true(s == SL_OK || s == SL_NO_MEMORY);
        if (s == SL_OK)
            expect_root(reduction, 4, false);
        ps_reduction_destroy(reduction);
        for (uint32_t slot = 0; slot < 4; slot++)
            for (int tag = 0; tag < SL_TAGS; tag++)
                sl_buffer_release(extra[slot][tag]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_borrowed_gradients),
            cmocka_unit_test(test_any_cut_any_order),
            cmocka_unit_test(test_takeovers),
            cmocka_unit_test(test_shared_buffers_are_left_alone),
            cmocka_unit_test(test_refuses),
            cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
