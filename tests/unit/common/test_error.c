/* Error texts: context, errno, length, and a name for each status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/error.h"

#include <errno.h>
#include <string.h>

static void test_fail_and_context(void **state)
{
    (void)state;
    struct sl_error err = {0};
    assert_int_equal(sl_fail(&err, SL_BAD_DATA, "block %d is short", 3), SL_BAD_DATA);
    assert_string_equal(err.text, "block 3 is short");
    assert_int_equal(sl_error_context(&err, "snapshot %s", "runs/a"), SL_BAD_DATA);
    assert_string_equal(err.text, "snapshot runs/a: block 3 is short");
    assert_int_equal(err.status, SL_BAD_DATA);
}

static void test_without_err(void **state)
{
    (void)state;
    assert_int_equal(sl_fail(NULL, SL_KEYS, "x"), SL_KEYS);
    errno = ENOENT;
    assert_int_equal(sl_fail_errno(NULL, "x"), SL_NOT_FOUND);
    assert_int_equal(sl_error_context(NULL, "x"), SL_FAILED);
}

static void test_errno_becomes_status(void **state)
{
    (void)state;
    static const struct {
        int number;
        enum sl_status status;
    } cases[] = {{ENOSPC, SL_DISK}, {EDQUOT, SL_DISK}, {EIO, SL_DISK}, {ENOENT, SL_NOT_FOUND},
            {ENOMEM, SL_NO_MEMORY}, {EPERM, SL_FAILED}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sl_error err = {0};
        errno = cases[i].number;
        assert_int_equal(sl_fail_errno(&err, "cannot write %s", "a"), cases[i].status);
        assert_int_equal(errno, cases[i].number);
        assert_int_equal(strncmp(err.text, "cannot write a: ", 16), 0);
        assert_non_null(strstr(err.text, strerror(cases[i].number)));
    }
}

static void test_long_texts_are_cut(void **state)
{
    (void)state;
    char text[2 * SL_ERROR_TEXT_MAX];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    struct sl_error err = {0};
    (void)sl_fail(&err, SL_FAILED, "%s", text);
    assert_int_equal(strlen(err.text), SL_ERROR_TEXT_MAX - 1);
    (void)sl_error_context(&err, "context");
    assert_int_equal(strlen(err.text), SL_ERROR_TEXT_MAX - 1);
    assert_int_equal(strncmp(err.text, "context: xxx", 12), 0);
    (void)sl_error_context(&err, "%s", text);
    assert_int_equal(strlen(err.text), SL_ERROR_TEXT_MAX - 1);
    errno = ENOENT;
    (void)sl_fail_errno(&err, "%s", text);
    assert_int_equal(strlen(err.text), SL_ERROR_TEXT_MAX - 1);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(sl_status_name(SL_OK), "ok");
    assert_string_equal(sl_status_name(SL_BAD_DATA), "bad-data");
    assert_string_equal(sl_status_name(SL_STOPPED), "stopped");
    for (int status = SL_OK; status <= SL_STOPPED; status++) {
        assert_string_not_equal(sl_status_name((enum sl_status)status), "unknown");
        for (int other = SL_OK; other < status; other++)
            assert_string_not_equal(
                    sl_status_name((enum sl_status)status), sl_status_name((enum sl_status)other));
    }
    assert_string_equal(sl_status_name((enum sl_status)(SL_STOPPED + 1)), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_fail_and_context),
            cmocka_unit_test(test_without_err),
            cmocka_unit_test(test_errno_becomes_status),
            cmocka_unit_test(test_long_texts_are_cut),
            cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
