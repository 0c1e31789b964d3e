/* The batcher under a virtual clock: order, when a batch is due, shares, limits. */
#include "deploy/serve/batcher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int items[16];

static void put(struct dp_batcher *b, int item, int64_t now_us)
{
    assert_int_equal(dp_batcher_put(b, &items[item], now_us), SL_OK);
}

static void take(struct dp_batcher *b, int64_t now_us, int idle, int first, int count)
{
    void *taken[DP_BATCH_MAX];
    assert_int_equal(dp_batcher_take(b, now_us, idle, taken), count);
    for (int i = 0; i < count; i++)
        assert_ptr_equal(taken[i], &items[first + i]);
}

static void begin(struct dp_batcher *b, int capacity, int batch_max, int64_t wait_us)
{
    struct sl_error err = {0};
    assert_int_equal(dp_batcher_init(b, capacity, batch_max, wait_us, &err), SL_OK);
}

static void test_without_waiting(void **state)
{
    (void)state;
    struct dp_batcher b;
    begin(&b, 8, 4, 0);
    assert_true(dp_batcher_due_us(&b) == INT64_MAX);
    take(&b, 0, 1, 0, 0);
    for (int i = 0; i < 6; i++)
        put(&b, i, i);
    assert_true(dp_batcher_due_us(&b) == 0);
    take(&b, 6, 1, 0, 4); /* at most batch_max */
    take(&b, 6, 1, 4, 2);
    take(&b, 6, 1, 0, 0);
    dp_batcher_fini(&b);
}

static void test_the_oldest_waits(void **state)
{
    (void)state;
    struct dp_batcher b;
    begin(&b, 8, 4, 100);
    put(&b, 0, 1000);
    put(&b, 1, 1090);
    assert_true(dp_batcher_due_us(&b) == 1100);
    take(&b, 1099, 1, 0, 0);
    take(&b, 1100, 1, 0, 2);
    put(&b, 2, 1200);
    put(&b, 3, 1200);
    put(&b, 4, 1200);
    take(&b, 1201, 1, 0, 0);
    put(&b, 5, 1201); /* full: at once */
    take(&b, 1201, 1, 2, 4);
    dp_batcher_fini(&b);
}

static void test_shares(void **state)
{
    (void)state;
    struct dp_batcher b;
    begin(&b, 16, 8, 0);
    for (int i = 0; i < 9; i++)
        put(&b, i, 0);
    take(&b, 0, 3, 0, 3);
    take(&b, 0, 2, 3, 3);
    take(&b, 0, 4, 6, 1); /* three requests, four idle threads: one each */
    take(&b, 0, 1, 7, 2);
    dp_batcher_fini(&b);
}

static void test_limits_and_end(void **state)
{
    (void)state;
    struct dp_batcher b;
    begin(&b, 3, 8, 1000000);
    for (int round = 0; round < 5; round++) { /* the ring turns */
        for (int i = 0; i < 3; i++)
            put(&b, i, round);
        assert_int_equal(dp_batcher_put(&b, &items[3], round), SL_AGAIN);
        take(&b, round, 1, 0, 0);
        take(&b, round + 1000000, 1, 0, 3);
    }
    put(&b, 0, 7);
    dp_batcher_close(&b);
    assert_true(dp_batcher_due_us(&b) == 0);
    take(&b, 7, 1, 0, 1);
    assert_true(dp_batcher_due_us(&b) == INT64_MAX);
    dp_batcher_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_without_waiting),
            cmocka_unit_test(test_the_oldest_waits), cmocka_unit_test(test_shares),
            cmocka_unit_test(test_limits_and_end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
