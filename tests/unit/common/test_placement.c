/* Blocks over servers: all of them, evenly, the same for everybody who asks. */
#include "common/placement.h"

#include "common/memory.h"
#include "common/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* A layout as far as placement looks at it. */
static struct sl_layout layout_of(struct sl_block *blocks, int count)
{
    return (struct sl_layout){.blocks = blocks, .block_count = count};
}

static void test_evenly_by_bytes(void **state)
{
    (void)state;
    struct sl_block blocks[200] = {{0}};
    size_t most = 0;
    for (int b = 0; b < 200; b++) {
        blocks[b].count = (size_t)(1 + b * 37 % 91) * 16;
        most = blocks[b].count > most ? blocks[b].count : most;
    }
    struct sl_layout layout = layout_of(blocks, 200);
    for (int servers = 1; servers <= 200; servers++) {
        int owners[200], again[200];
        size_t loads[200] = {0}, heaviest = 0, lightest = SIZE_MAX;
        sl_placement_make(&layout, servers, owners);
        sl_placement_make(&layout, servers, again);
        assert_memory_equal(owners, again, sizeof(owners));
        for (int b = 0; b < 200; b++) {
            assert_in_range(owners[b], 0, servers - 1);
            loads[owners[b]] += blocks[b].count;
        }
        for (int s = 0; s < servers; s++) {
            heaviest = loads[s] > heaviest ? loads[s] : heaviest;
            lightest = loads[s] < lightest ? loads[s] : lightest;
        }
        assert_true(lightest > 0); /* nobody is there for nothing */
        assert_true(heaviest - lightest <= most);
    }
}

static void test_equal_blocks_go_round(void **state)
{
    (void)state;
    struct sl_block blocks[7] = {{0}};
    static const int expected[7] = {0, 1, 2, 0, 1, 2, 0};
    int owners[7];
    for (int b = 0; b < 7; b++)
        blocks[b].count = 64;
    struct sl_layout layout = layout_of(blocks, 7);
    sl_placement_make(&layout, 3, owners);
    assert_memory_equal(owners, expected, sizeof(expected));
}

static void test_more_servers_than_blocks_leave_some_empty(void **state)
{
    (void)state;
    struct sl_block blocks[2] = {{.count = 5}, {.count = 9}};
    int owners[2];
    struct sl_layout layout = layout_of(blocks, 2);
    sl_placement_make(&layout, SL_SERVERS_MAX, owners);
    assert_true(owners[0] == 0 && owners[1] == 1);
}

/* What is pushed is spread as evenly as what is pulled, wherever the frozen blocks lie in the model. */
static void test_trained_blocks_go_round_by_themselves(void **state)
{
    (void)state;
    struct sl_block blocks[8] = {{0}};
    static const bool frozen[8] = {false, true, true, false, true, true, true, false};
    static const int expected[8] = {0, 0, 1, 1, 2, 0, 1, 2};
    int owners[8];
    for (int b = 0; b < 8; b++) {
        blocks[b].count = 64;
        blocks[b].frozen = frozen[b];
    }
    struct sl_layout layout = layout_of(blocks, 8);
    sl_placement_make(&layout, 3, owners);
    assert_memory_equal(owners, expected, sizeof(expected));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_evenly_by_bytes),
            cmocka_unit_test(test_equal_blocks_go_round),
            cmocka_unit_test(test_more_servers_than_blocks_leave_some_empty),
            cmocka_unit_test(test_trained_blocks_go_round_by_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
