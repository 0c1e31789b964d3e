/* A team: every part once, whatever the number of threads; runs follow each other without losing any; start and end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/memory.h"
#include "common/team.h"

#include <stdatomic.h>
#include <string.h>

#define PARTS_MAX 64

static struct sl_error err;

struct counted {
    int done[PARTS_MAX]; /* plain: each is written by one thread, and read after the run */
    int threads;
    _Atomic int outside; /* members that a team of this size cannot have */
};

static void count_part(void *context, int part, int member)
{
    struct counted *counted = context;
    counted->done[part]++;
    if (member < 0 || member >= counted->threads)
        atomic_fetch_add(&counted->outside, 1);
}

static void expect_once(struct counted *counted, int count, int times)
{
    for (int part = 0; part < PARTS_MAX; part++)
        assert_int_equal(counted->done[part], part < count ? times : 0);
    assert_int_equal(counted->outside, 0);
}

static void test_every_part_once(void **state)
{
    (void)state;
    const int threads[] = {1, 2, 3, 8}, counts[] = {0, 1, 2, 7, PARTS_MAX};
    for (size_t t = 0; t < sizeof(threads) / sizeof(threads[0]); t++) {
        struct sl_team *team = NULL;
        assert_int_equal(sl_team_create(&team, threads[t], &err), SL_OK);
        assert_int_equal(sl_team_threads(team), threads[t]);
        for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
            struct counted counted = {.threads = threads[t]};
            sl_team_run(team, counts[c], count_part, &counted);
            expect_once(&counted, counts[c], 1);
        }
        sl_team_destroy(team);
    }
}

/* What one run wrote the next one reads, on whichever threads: short runs, so that some threads come too late for some of them. */
static void test_runs_follow_each_other(void **state)
{
    (void)state;
    struct sl_team *team = NULL;
    struct counted counted = {.threads = 4};
    assert_int_equal(sl_team_create(&team, 4, &err), SL_OK);
    for (int run = 0; run < 2000; run++)
        sl_team_run(team, 5, count_part, &counted);
    expect_once(&counted, 5, 2000);
    sl_team_destroy(team);
}

static void test_without_a_team(void **state)
{
    (void)state;
    struct counted counted = {.threads = 1};
    sl_team_run(NULL, 9, count_part, &counted);
    expect_once(&counted, 9, 1);
    assert_int_equal(sl_team_threads(NULL), 1);
    sl_team_destroy(NULL);
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 2; n++) {
        struct sl_team *team = NULL;
        sl_memory_fail_after(n);
        enum sl_status status = sl_team_create(&team, 2, &err);
        sl_memory_fail_after(0);
        assert_int_equal(status, SL_NO_MEMORY);
        assert_null(team);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_every_part_once),
            cmocka_unit_test(test_runs_follow_each_other),
            cmocka_unit_test(test_without_a_team),
            cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
