/* Who may ask: every decision of guard.h. */
#include "deploy/http/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_hosts(void **state)
{
    (void)state;
    static const char *const good[] = {
            "localhost", "LOCALHOST:80", "127.0.0.1:1", "10.1.2.3", "[::1]", "[fe80::1]:80"};
    static const char *const bad[] = {"", ":80", "example.com", "localhost.example.com",
            "127.0.0.1.example.com", "[::1", "[::1]x", "[]", "1.2.3", "0x7f.1", "localhost x"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(dp_guard_host(good[i], NULL));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(dp_guard_host(bad[i], NULL));
    assert_false(dp_guard_host(NULL, NULL));
    assert_true(dp_guard_host("board.example:8080", "Board.Example"));
    assert_false(dp_guard_host("x.board.example", "board.example"));
}

static void test_loopback(void **state)
{
    (void)state;
    assert_true(dp_guard_is_loopback("127.0.0.1"));
    assert_true(dp_guard_is_loopback("127.9.9.9"));
    assert_true(dp_guard_is_loopback("::1"));
    assert_false(dp_guard_is_loopback("0.0.0.0"));
    assert_false(dp_guard_is_loopback("::"));
    assert_false(dp_guard_is_loopback("192.168.0.1"));
    assert_false(dp_guard_is_loopback("localhost"));
}

static void test_tokens(void **state)
{
    (void)state;
    assert_true(dp_guard_equal("abc", "abc"));
    assert_false(dp_guard_equal("abc", "abd"));
    assert_false(dp_guard_equal("abc", "ab"));
    assert_false(dp_guard_equal("abc", "abcabc"));
    assert_false(dp_guard_equal("abc", ""));
    assert_true(dp_guard_bearer("Bearer abc", "abc"));
    assert_true(dp_guard_bearer("bearer abc", "abc"));
    assert_false(dp_guard_bearer("Bearer  abc", "abc"));
    assert_false(dp_guard_bearer("Basic abc", "abc"));
    assert_false(dp_guard_bearer("Bearer", "abc"));
    assert_false(dp_guard_bearer(NULL, "abc"));
    assert_true(dp_guard_token_text("0123456789abcdef"));
    assert_false(dp_guard_token_text("0123456789abcde"));
    assert_false(dp_guard_token_text("0123456789abcdef "));
    assert_false(dp_guard_token_text("0123456789abcdef;"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_hosts),
            cmocka_unit_test(test_loopback),
            cmocka_unit_test(test_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
