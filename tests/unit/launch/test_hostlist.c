/* Slurm's host lists: what they expand to, what is refused and where. */
#include "deploy/launch/hostlist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct sl_error err;

/* All hosts, separated by blanks. */
static const char *expand(const char *text)
{
    static char all[8192];
    size_t count = 0, size = 0;
    char host[DP_HOST_MAX];
    assert_int_equal(dp_hostlist_count(&count, text, &err), SL_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(dp_hostlist_nth(host, text, i, &err), SL_OK);
        size += (size_t)snprintf(all + size, sizeof(all) - size, "%s%s", i == 0 ? "" : " ", host);
    }
    assert_int_equal(dp_hostlist_nth(host, text, count, &err), SL_NOT_FOUND);
    return all;
}

static void test_what_slurm_writes(void **state)
{
    (void)state;
    assert_string_equal(expand("n[01-03,7],m2"), "n01 n02 n03 n7 m2");
    assert_string_equal(expand("localhost"), "localhost");
    assert_string_equal(expand("a,b,c"), "a b c");
    assert_string_equal(expand("n[9-11]"), "n9 n10 n11");
    assert_string_equal(expand("n[009-011]-ib.lan"), "n009-ib.lan n010-ib.lan n011-ib.lan");
    assert_string_equal(expand("rack[0-1]n[1-2]"), "rack0n1 rack0n2 rack1n1 rack1n2");
    assert_string_equal(expand("r[1,3]n[07,9-10]x"), "r1n07x r1n9x r1n10x r3n07x r3n9x r3n10x");
    assert_string_equal(expand("[1-2]"), "1 2");
    assert_string_equal(expand("10.0.0.[1-2],fe80::1"), "10.0.0.1 10.0.0.2 fe80::1");
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", ",", "a,", ",a", "a,,b", "n[", "n[1", "n[1-", "n[1-2", "n[]",
            "n[a]", "n[2-1]", "n]", "n[1]]", "n[1,]", "n[1-2-3]", "a b", "n[[1]]", "n[1234567890]",
            "n[0-99999]", "a[1]b[1]c[1]d[1]e[1]", "n[0-999]m[0-999]", "n[-1]"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        size_t count = 77;
        char host[DP_HOST_MAX];
        if (dp_hostlist_count(&count, bad[i], &err) != SL_USAGE || count != 77)
            fail_msg("\"%s\" is not refused", bad[i]);
        assert_non_null(strstr(err.text, "host list"));
        if (dp_hostlist_nth(host, bad[i], 0, &err) != SL_USAGE)
            fail_msg("\"%s\" has a first host", bad[i]);
    }
    assert_int_equal(dp_hostlist_count(&(size_t){0}, "n[1-x]", &err), SL_USAGE);
    assert_non_null(strstr(err.text, "character 3"));
}

static void test_long_names(void **state)
{
    (void)state;
    char text[DP_HOST_MAX + 8], host[DP_HOST_MAX];
    memset(text, 'a', sizeof(text));
    text[DP_HOST_MAX - 1] = 0;
    assert_int_equal(dp_hostlist_nth(host, text, 0, &err), SL_OK);
    assert_string_equal(host, text);
    memcpy(text + DP_HOST_MAX - 4, "[10]", 5);
    assert_int_equal(dp_hostlist_nth(host, text, 0, &err), SL_OK);
    memcpy(text + DP_HOST_MAX - 4, "[1000]", 7);
    assert_int_equal(dp_hostlist_nth(host, text, 0, &err), SL_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_slurm_writes),
            cmocka_unit_test(test_refused), cmocka_unit_test(test_long_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
