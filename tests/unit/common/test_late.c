/* Whether a process without a coordinator has come too late: what counts as the end of a run, and what takes it back. */
#include "common/late.h"
#include "common/status_place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define RUN "test_late.run"
#define HASH 0x3482ca392e3dbd10ULL
#define BEGUN 7000000LL

static struct sl_error err;

static void put(bool ended, int exit_code, uint64_t config_hash)
{
    struct sl_status_place place = {.folder = RUN,
            .endpoint = "tcp://127.0.0.1:1",
            .config_hash = config_hash,
            .ended = ended,
            .ended_at = 5.0,
            .exit_code = exit_code,
            .reason = "all steps are done"};
    assert_int_equal(sl_status_place_write(&place, &err), SL_OK);
}

static struct sl_late begin(struct sl_config *config)
{
    struct sl_late late;
    (void)snprintf(config->snapshots.dir, sizeof(config->snapshots.dir), "%s", RUN);
    sl_late_begin(&late, config, HASH, BEGUN);
    return late;
}

static bool over_at(struct sl_late *late, int64_t now_us)
{
    char reason[64] = "";
    bool over = sl_late_over(late, now_us, reason, sizeof(reason));
    assert_string_equal(reason, over ? "all steps are done" : "");
    return over;
}

static void test_nobody_looks_at_once_nor_all_the_time(void **state)
{
    (void)state;
    static struct sl_config config;
    struct sl_late late = begin(&config);
    int64_t first_us = BEGUN + SL_LATE_FIRST_US;
    assert_false(over_at(&late, first_us)); /* no file at all */
    put(true, 0, HASH);
    assert_false(over_at(&late, first_us + SL_LATE_AGAIN_US - 1));
    assert_true(over_at(&late, first_us + SL_LATE_AGAIN_US));
    late = begin(&config);
    assert_false(over_at(&late, first_us - 1)); /* a server that comes now may take it back */
    assert_true(over_at(&late, first_us));
}

static void test_only_a_good_end_of_the_same_config_counts(void **state)
{
    (void)state;
    static struct sl_config config;
    static const struct {
        bool ended;
        int exit_code;
        uint64_t hash;
    } others[] = {{false, 0, HASH}, {true, 143, HASH}, {true, 4, HASH}, {true, 0, HASH + 1}, {true, 0, 0}};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct sl_late late = begin(&config);
        put(others[i].ended, others[i].exit_code, others[i].hash);
        assert_false(over_at(&late, BEGUN + SL_LATE_FIRST_US));
    }
}

static void test_who_begins_again_takes_the_end_back(void **state)
{
    (void)state;
    static struct sl_config config;
    struct sl_status_place place;
    struct sl_late late = begin(&config);
    assert_int_equal(sl_status_place_begin("not there", &err), SL_OK);
    put(true, 0, HASH);
    assert_int_equal(sl_status_place_begin(RUN, &err), SL_OK);
    assert_false(over_at(&late, BEGUN + SL_LATE_FIRST_US));
    assert_int_equal(sl_status_place_read(&place, RUN, &err), SL_OK);
    assert_true(place.ended && place.exit_code == 0); /* for whoever watches it is still that run's end */
    put(false, 0, HASH);
    assert_int_equal(sl_status_place_begin(RUN, &err), SL_OK);
    assert_int_equal(sl_status_place_read(&place, RUN, &err), SL_OK);
    assert_true(place.config_hash == HASH); /* a run that lives there keeps its word */
}

static int begin_folder(void **state)
{
    (void)state;
    return mkdir(RUN, 0700);
}

static int end_folder(void **state)
{
    (void)state;
    (void)remove(RUN "/" SL_STATUS_FILE);
    return rmdir(RUN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(
                    test_nobody_looks_at_once_nor_all_the_time, begin_folder, end_folder),
            cmocka_unit_test_setup_teardown(
                    test_only_a_good_end_of_the_same_config_counts, begin_folder, end_folder),
            cmocka_unit_test_setup_teardown(
                    test_who_begins_again_takes_the_end_back, begin_folder, end_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
