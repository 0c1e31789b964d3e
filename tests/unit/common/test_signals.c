/* Signals as events: taken in turn from the descriptor, never by a handler, whichever thread the kernel chose; a child gets the defaults back. And how many cores there are. */
#include "common/cpu.h"
#include "common/signals.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct sl_error err;

static void test_signals_are_taken(void **state)
{
    (void)state;
    int fd = -1;
    assert_int_equal(sl_signals_open(&fd, &err), SL_OK);
    assert_int_equal(sl_signals_take(fd), 0);
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&ready, 1, 0), 0);
    assert_int_equal(raise(SIGTERM), 0); /* does not end us */
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(raise(SIGPIPE), 0);
    assert_int_equal(poll(&ready, 1, 0), 1);
    int first = sl_signals_take(fd), second = sl_signals_take(fd);
    assert_int_equal(first + second, SIGTERM + SIGUSR1);
    assert_int_equal(sl_signals_take(fd), 0);
    (void)close(fd);
    sl_signals_reset();
}

static void *wait_for_a_byte(void *pipe_end)
{
    char byte = 0;
    (void)!read(*(int *)pipe_end, &byte, 1);
    return NULL;
}

/* As OpenBLAS does it: the thread is older than the call that blocks signals and blocks none, so the kernel gives it what is meant for the process. */
static void test_a_thread_that_blocks_nothing(void **state)
{
    (void)state;
    int ends[2], fd = -1;
    pthread_t thread;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_a_byte, &ends[0]), 0);
    assert_int_equal(sl_signals_open(&fd, &err), SL_OK);
    const int numbers[] = {SIGTERM, SIGINT, SIGUSR1, SIGTERM};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        assert_int_equal(kill(getpid(), numbers[i]), 0);
        assert_int_equal(poll(&ready, 1, 10000), 1);
        assert_int_equal(sl_signals_take(fd), numbers[i]);
    }
    assert_int_equal(write(ends[1], "", 1), 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)close(ends[0]);
    (void)close(ends[1]);
    (void)close(fd);
    sl_signals_reset();
}

/* How a child that resets ends when it gets the signal: by it. */
static void test_a_child_gets_the_defaults_back(void **state)
{
    (void)state;
    int fd = -1, status = 0;
    assert_int_equal(sl_signals_open(&fd, &err), SL_OK);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        sl_signals_reset();
        (void)raise(SIGTERM);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    assert_int_equal(sl_signals_take(fd), SIGCHLD);
    (void)close(fd);
    sl_signals_reset();
}

static void test_exit_codes(void **state)
{
    (void)state;
    const char *text = NULL;
    assert_int_equal(sl_signals_exit_code(SIGTERM, &text), 143);
    assert_string_equal(text, "SIGTERM");
    assert_int_equal(sl_signals_exit_code(SIGUSR1, &text), 138);
    assert_string_equal(text, "SIGUSR1");
    assert_int_equal(sl_signals_exit_code(SIGINT, &text), 130);
    assert_string_equal(text, "SIGINT");
    assert_int_equal(sl_signals_exit_code(SIGHUP, NULL), 128 + SIGHUP);
}

static void test_cores(void **state)
{
    (void)state;
    cpu_set_t all, one;
    int cores = sl_cpu_count();
    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    assert_true(cores >= 1 && cores <= CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    assert_int_equal(sl_cpu_count(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_signals_are_taken),
            cmocka_unit_test(test_a_thread_that_blocks_nothing),
            cmocka_unit_test(test_a_child_gets_the_defaults_back),
            cmocka_unit_test(test_exit_codes),
            cmocka_unit_test(test_cores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
