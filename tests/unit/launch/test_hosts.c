/* The hosts file and which process goes where. */
#include "deploy/launch/hosts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct sl_error err;
static struct dp_hosts hosts;
static struct dp_plan plan;

/* "s0@a w0@b …" */
static const char *place(const char *text, int servers)
{
    static char all[8192];
    size_t size = 0;
    assert_int_equal(dp_hosts_parse(&hosts, text, "hosts.txt", &err), SL_OK);
    assert_int_equal(dp_hosts_plan(&plan, &hosts, servers, &err), SL_OK);
    for (int i = 0; i < plan.count; i++)
        size += (size_t)snprintf(all + size, sizeof(all) - size, "%s%c%d@%s", i == 0 ? "" : " ",
                plan.items[i].role == DP_ROLE_SERVER ? 's' : 'w', plan.items[i].rank,
                dp_host_address(&hosts.items[plan.items[i].host]));
    assert_int_equal(plan.servers + plan.workers, plan.count);
    return all;
}

static void test_plans(void **state)
{
    (void)state;
    assert_string_equal(place("a\n", 0), "s0@a w0@a");
    assert_string_equal(place("me@a server\nb worker 2\nc", 0), "s0@a w0@b w1@b w2@c");
    assert_string_equal(place("# all\n\n  a  server 2 # two\n\tb\t3\r\n", 0), "s0@a s1@a w0@b w1@b w2@b");
    assert_string_equal(place("a server 2\nb server\nc", 2), "s0@a s1@a w0@c");
    assert_string_equal(place("a\nb\n", 3), "s0@a s1@b s2@a w0@a w1@b");
    assert_string_equal(place("a\nb server\n", 0), "s0@b w0@a");
    assert_string_equal(hosts.items[0].name, "a");
}

static void test_refused_files(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"", "names no host"}, {"# none\n", "names no host"},
            {"a\nb boss\n", "line 2"}, {"a server worker\n", "worker"}, {"a 2 server\n", "line 1"},
            {"a server 0\n", "slots"}, {"a 65\n", "slots"}, {"a 10000\n", "line 1"},
            {"a server 2 3\n", "expected HOST"}, {"-oProxyCommand=x\n", "expected HOST"},
            {"a;reboot\n", "expected HOST"}, {"$(x)\n", "expected HOST"}, {"me@\n", "expected HOST"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (dp_hosts_parse(&hosts, bad[i][0], "hosts.txt", &err) != SL_USAGE ||
                strstr(err.text, bad[i][1]) == NULL || strstr(err.text, "hosts.txt") == NULL)
            fail_msg("\"%s\": %s", bad[i][0], err.text);
}

static void test_refused_plans(void **state)
{
    (void)state;
    assert_int_equal(dp_hosts_parse(&hosts, "a server\nb", "f", &err), SL_OK);
    assert_int_equal(dp_hosts_plan(&plan, &hosts, 2, &err), SL_USAGE);
    assert_non_null(strstr(err.text, "server slots"));
    assert_int_equal(dp_hosts_parse(&hosts, "a server", "f", &err), SL_OK);
    assert_int_equal(dp_hosts_plan(&plan, &hosts, 0, &err), SL_USAGE);
    assert_non_null(strstr(err.text, "workers"));
    assert_int_equal(dp_hosts_parse(&hosts, "a 64\nb 64\nc 64\nd 64\n", "f", &err), SL_OK);
    assert_int_equal(dp_hosts_plan(&plan, &hosts, 0, &err), SL_USAGE);
    assert_non_null(strstr(err.text, "256 processes"));
}

static void test_too_many_hosts(void **state)
{
    (void)state;
    char text[2 * DP_HOSTS_MAX + 3];
    for (size_t i = 0; i < sizeof(text) - 1; i++)
        text[i] = i % 2 == 0 ? 'h' : '\n';
    text[sizeof(text) - 1] = 0;
    assert_int_equal(dp_hosts_parse(&hosts, text, "f", &err), SL_USAGE);
    assert_non_null(strstr(err.text, "line 257"));
    text[2 * DP_HOSTS_MAX] = 0;
    assert_int_equal(dp_hosts_parse(&hosts, text, "f", &err), SL_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plans), cmocka_unit_test(test_refused_files),
            cmocka_unit_test(test_refused_plans), cmocka_unit_test(test_too_many_hosts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
