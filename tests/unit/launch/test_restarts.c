/* When who died is started again: each row is a life, its end, and what follows. */
#include "common/file.h"
#include "deploy/launch/restarts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000)
#define GIVE_UP (-1)

struct life {
    int64_t lived_us, step; /* how long, and the run's newest step at its end */
    int64_t pause_us;       /* before the next one, or GIVE_UP */
};

static void live(const struct life *lives, int count)
{
    struct dp_restarts restarts = {0};
    int64_t now_us = 7 * SECOND;
    for (int i = 0; i < count; i++) {
        now_us += lives[i].lived_us;
        bool again = dp_restarts_plan(&restarts, lives[i].step, now_us);
        int64_t pause_us = again ? restarts.due_us - now_us : GIVE_UP;
        if (pause_us != lives[i].pause_us)
            fail_msg("after life %d a pause of %lld instead of %lld us", i, (long long)pause_us,
                    (long long)lives[i].pause_us);
        assert_int_equal(restarts.planned, again);
        now_us = restarts.due_us;
        dp_restarts_begin(&restarts, now_us);
        assert_false(restarts.planned);
    }
}
#define LIVE(...)                                                                                            \
    live((const struct life[]){__VA_ARGS__}, sizeof((const struct life[]){__VA_ARGS__}) / sizeof(struct life))

static void test_without_steps_it_gives_up(void **state)
{
    (void)state;
    LIVE({SECOND, -1, 0}, {SECOND, -1, DP_PAUSE_MIN_US}, {SECOND, -1, 2 * DP_PAUSE_MIN_US},
            {SECOND, -1, GIVE_UP});
    /* a long life alone is no progress */
    LIVE({60 * SECOND, 5, 0}, {60 * SECOND, 5, 0}, {60 * SECOND, 5, 0}, {60 * SECOND, 5, GIVE_UP});
    /* nor are steps that are made again after a rollback */
    LIVE({60 * SECOND, 50, 0}, {60 * SECOND, 45, 0}, {60 * SECOND, 50, 0}, {60 * SECOND, 40, GIVE_UP});
}

static void test_a_step_or_two_in_a_short_life_do_not_count(void **state)
{
    (void)state;
    LIVE({SECOND, 40, 0}, {SECOND, 41, DP_PAUSE_MIN_US}, {SECOND, 43, 2 * DP_PAUSE_MIN_US},
            {SECOND, 43 + DP_FRUITFUL_STEPS - 1, GIVE_UP});
}

static void test_progress_begins_the_count_anew(void **state)
{
    (void)state;
    LIVE({SECOND, 40, 0}, {SECOND, 40, DP_PAUSE_MIN_US}, {SECOND, 40, 2 * DP_PAUSE_MIN_US},
            {SECOND, 40 + DP_FRUITFUL_STEPS, 4 * DP_PAUSE_MIN_US}, {DP_SOON_US, 40 + DP_FRUITFUL_STEPS, 0},
            {DP_SOON_US, 41 + DP_FRUITFUL_STEPS, 0}, {DP_SOON_US, 42 + DP_FRUITFUL_STEPS, 0},
            {DP_SOON_US, 43 + DP_FRUITFUL_STEPS, 0}, {DP_SOON_US, 44 + DP_FRUITFUL_STEPS, 0});
}

static void test_pauses_have_a_limit(void **state)
{
    (void)state;
    struct dp_restarts restarts = {0};
    int64_t now_us = SECOND;
    for (int i = 0; i < 40; i++) {
        assert_true(dp_restarts_plan(&restarts, (int64_t)(i + 1) * DP_FRUITFUL_STEPS, now_us));
        dp_restarts_begin(&restarts, now_us += 1);
    }
    assert_int_equal(restarts.pause_us, DP_PAUSE_MAX_US);
}

static void test_which_ends_are_worth_it(void **state)
{
    (void)state;
    for (int code = 0; code < 128; code++)
        assert_false(dp_restart_worthwhile(code));
    assert_true(dp_restart_worthwhile(128) && dp_restart_worthwhile(137) && dp_restart_worthwhile(142));
}

static void write_metrics(const char *text)
{
    struct sl_error err = {0};
    assert_int_equal(sl_file_write_atomic("test_restarts.d/metrics.jsonl", text, strlen(text), &err), SL_OK);
}

static void test_the_newest_step(void **state)
{
    (void)state;
    struct sl_error err = {0};
    assert_int_equal(sl_file_remove_tree("test_restarts.d", &err), SL_OK);
    assert_int_equal(dp_newest_step("test_restarts.d"), -1);
    assert_int_equal(sl_file_make_directories("test_restarts.d", &err), SL_OK);
    write_metrics("");
    assert_int_equal(dp_newest_step("test_restarts.d"), -1);
    write_metrics("{\"kind\":\"step\",\"step\":8,\"x\":1}\n{\"kind\":\"step\",\"step\":9,\"x\":1}\n"
                  "{\"kind\":\"validation\",\"step\":12}\n{\"kind\":\"step\",\"st");
    assert_int_equal(dp_newest_step("test_restarts.d"), 9);
    assert_int_equal(sl_file_remove_tree("test_restarts.d", &err), SL_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_without_steps_it_gives_up),
            cmocka_unit_test(test_a_step_or_two_in_a_short_life_do_not_count),
            cmocka_unit_test(test_progress_begins_the_count_anew), cmocka_unit_test(test_pauses_have_a_limit),
            cmocka_unit_test(test_which_ends_are_worth_it), cmocka_unit_test(test_the_newest_step)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
