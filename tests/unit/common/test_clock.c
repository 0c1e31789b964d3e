/* RFC 3339 texts and the calendar. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static void expect_seconds(const char *text, int64_t expected)
{
    int64_t seconds = 0;
    struct sl_error err = {0};
    if (sl_time_parse_rfc3339(&seconds, text, &err) != SL_OK || seconds != expected)
        fail_msg("%s gave %lld (%s), expected %lld", text, (long long)seconds, err.text, (long long)expected);
}

static void test_parse(void **state)
{
    (void)state;
    expect_seconds("1970-01-01T00:00:00Z", 0);
    expect_seconds("1969-12-31T23:59:59Z", -1);
    expect_seconds("2000-02-29T12:00:00Z", 951825600);
    expect_seconds("2026-11-23T08:31:02+08:00", 1795393862);
    expect_seconds("2026-11-23t00:31:02.999999z", 1795393862);
    expect_seconds("2026-11-22 19:01:02-05:30", 1795393862);
    expect_seconds("2016-12-31T23:59:60Z", 1483228799);
    expect_seconds("0000-01-01T00:00:00Z", -62167219200LL);
    expect_seconds("9999-12-31T23:59:59Z", 253402300799LL);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "now", "2026-11-23", "2026-11-23T08:31:02", "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2026-04-31T00:00:00Z",
            "2026-04-00T00:00:00Z", "2026-04-30T24:00:00Z", "2026-04-30T00:60:00Z", "2026-04-30T00:00:61Z",
            "2026-04-30T00:00:00.Z", "2026-04-30T00:00:00+0800", "2026-04-30T00:00:00+24:00",
            "2026-04-30T00:00:00Z ", "02026-04-30T00:00:00Z", "2026-4-30T00:00:00Z", "+026-04-30T00:00:00Z"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t seconds = 7;
        struct sl_error err = {0};
        if (sl_time_parse_rfc3339(&seconds, bad[i], &err) != SL_BAD_DATA || seconds != 7)
            fail_msg("%s was taken", bad[i]);
        assert_non_null(strstr(err.text, "expected the form 2026-11-23T08:31:02+08:00"));
    }
}

static void test_format(void **state)
{
    (void)state;
    char text[SL_TIME_TEXT_MAX];
    assert_int_equal(sl_time_format(text, sizeof(text), 1795393862, NULL), SL_OK);
    assert_string_equal(text, "2026-11-23T00:31:02Z");
    assert_int_equal(sl_time_format(text, sizeof(text), -1, NULL), SL_OK);
    assert_string_equal(text, "1969-12-31T23:59:59Z");
    assert_int_equal(sl_time_format(text, sizeof(text), INT64_MIN, NULL), SL_BAD_DATA);
    assert_string_equal(text, "");
    assert_int_equal(sl_time_format(text, sizeof(text), INT64_MAX, NULL), SL_BAD_DATA);
    sl_time_format_us(text, sizeof(text), 1795393862123456);
    assert_string_equal(text, "2026-11-23T00:31:02.123Z");
    sl_time_format_us(text, sizeof(text), -1);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
}

/* every day of 4000 years against the C library's calendar, there and back */
static void test_against_libc(void **state)
{
    (void)state;
    for (int64_t day = -719528; day < 741000; day += 7) {
        time_t when = (time_t)(day * 86400 + 3661);
        struct tm tm;
        assert_non_null(gmtime_r(&when, &tm));
        char text[SL_TIME_TEXT_MAX], expected[64];
        (void)snprintf(expected, sizeof(expected), "%04d-%02d-%02dT01:01:01Z", tm.tm_year + 1900,
                tm.tm_mon + 1, tm.tm_mday);
        assert_int_equal(sl_time_format(text, sizeof(text), when, NULL), SL_OK);
        assert_string_equal(text, expected);
        expect_seconds(text, when);
    }
}

static void test_clocks(void **state)
{
    (void)state;
    int64_t a = sl_clock_monotonic_us(), b = sl_clock_monotonic_us();
    assert_true(b >= a);
    assert_true(sl_clock_wall_us() > 1600000000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_parse),
            cmocka_unit_test(test_refused),
            cmocka_unit_test(test_format),
            cmocka_unit_test(test_against_libc),
            cmocka_unit_test(test_clocks),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
