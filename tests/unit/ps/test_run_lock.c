/* One run at a time in a folder. */
#include "ps/run_lock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define RUN "test_run_lock.run"

static struct sl_error err;

static void test_one_at_a_time(void **state)
{
    (void)state;
    int first = -1, second = 0;
    char who[64];
    assert_int_equal(ps_run_lock_take(&first, RUN, &err), SL_OK);
    assert_true(first >= 0);
    assert_int_equal(ps_run_lock_take(&second, RUN, &err), SL_FAILED);
    assert_int_equal(second, -1);
    (void)snprintf(who, sizeof(who), "(process %d on ", (int)getpid());
    assert_non_null(strstr(err.text, "a run is at work in " RUN));
    assert_non_null(strstr(err.text, who));
    ps_run_lock_release(first);
    assert_int_equal(ps_run_lock_take(&second, RUN, &err), SL_OK);
    ps_run_lock_release(second);
    ps_run_lock_release(-1);
}

static void test_who_dies_lets_go(void **state)
{
    (void)state;
    int lock = -1, status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) /* ends with the lock in its hands */
        _exit(ps_run_lock_take(&lock, RUN, &err) == SL_OK ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(ps_run_lock_take(&lock, RUN, &err), SL_OK);
    ps_run_lock_release(lock);
}

static void test_a_name_that_makes_no_sense(void **state)
{
    (void)state;
    int first = -1, second = -1;
    assert_int_equal(ps_run_lock_take(&first, RUN, &err), SL_OK);
    assert_int_equal(pwrite(first, "\x1b[2J\xff", 5, 0), 5);
    assert_int_equal(ps_run_lock_take(&second, RUN, &err), SL_FAILED);
    assert_null(strchr(err.text, '\x1b'));
    assert_int_equal(ftruncate(first, 0), 0);
    assert_int_equal(ps_run_lock_take(&second, RUN, &err), SL_FAILED);
    assert_non_null(strstr(err.text, "(another process)"));
    ps_run_lock_release(first);
}

static void test_no_folder(void **state)
{
    (void)state;
    int lock = -1;
    FILE *file = fopen(RUN, "w");
    assert_non_null(file);
    (void)fclose(file);
    assert_int_not_equal(ps_run_lock_take(&lock, RUN, &err), SL_OK);
    assert_int_equal(lock, -1);
    assert_int_equal(remove(RUN), 0);
}

static int end_folder(void **state)
{
    (void)state;
    (void)remove(RUN "/.lock");
    (void)rmdir(RUN);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_teardown(test_one_at_a_time, end_folder),
            cmocka_unit_test_teardown(test_who_dies_lets_go, end_folder),
            cmocka_unit_test_teardown(test_a_name_that_makes_no_sense, end_folder),
            cmocka_unit_test_teardown(test_no_folder, end_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
