/* Queues of streams: order, sharing, the end of a slow one, and posting while others read. */
#include "deploy/dashboard/hub.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct calls_seen {
    atomic_int sleeps, wakes;
};

static void note_sleep(void *context)
{
    atomic_fetch_add(&((struct calls_seen *)context)->sleeps, 1);
}

static void note_wake(void *context)
{
    atomic_fetch_add(&((struct calls_seen *)context)->wakes, 1);
}

static const struct dp_stream_calls calls = {.sleep = note_sleep, .wake = note_wake};

static void test_a_message_reaches_the_streams_of_its_run(void **state)
{
    (void)state;
    struct dp_hub *hub = NULL;
    struct dp_stream *a = NULL, *b = NULL;
    struct calls_seen seen_a = {0}, seen_b = {0};
    struct sl_error err = {0};
    char text[256] = {0};
    assert_int_equal(dp_hub_create(&hub, &err), SL_OK);
    assert_int_equal(dp_hub_open(&a, hub, "a", &calls, &seen_a, &err), SL_OK);
    assert_int_equal(dp_hub_open(&b, hub, "b", &calls, &seen_b, &err), SL_OK);
    assert_true(dp_hub_watched(hub, "a"));
    assert_false(dp_hub_watched(hub, "c"));
    assert_int_equal(dp_stream_read(a, text, sizeof(text)), 0);
    assert_int_equal(seen_a.sleeps, 1);
    dp_hub_post(hub, "a", "step", "{}", 2);
    assert_int_equal(seen_a.wakes, 1);
    assert_int_equal(seen_b.wakes, 0);
    dp_hub_post(hub, NULL, "pulse", "{\"x\":1}", 7);
    assert_int_equal(seen_a.wakes, 1); /* it is awake */
    const char *expected = "event: step\ndata: {}\n\nevent: pulse\ndata: {\"x\":1}\n\n";
    size_t got = 0;
    for (long part; (part = dp_stream_read(a, text + got, 5)) > 0;) /* in pieces that cut messages */
        got += (size_t)part;
    assert_int_equal(got, strlen(expected));
    assert_memory_equal(text, expected, got);
    assert_int_equal(dp_stream_read(b, text, sizeof(text)), strlen("event: pulse\ndata: {\"x\":1}\n\n"));
    dp_stream_close(a);
    assert_false(dp_hub_watched(hub, "a"));
    dp_stream_close(b);
    dp_hub_destroy(hub);
}

static void test_a_slow_stream_ends(void **state)
{
    (void)state;
    struct dp_hub *hub = NULL;
    struct dp_stream *stream = NULL;
    struct calls_seen seen = {0};
    struct sl_error err = {0};
    char text[64];
    assert_int_equal(dp_hub_create(&hub, &err), SL_OK);
    assert_int_equal(dp_hub_open(&stream, hub, "a", &calls, &seen, &err), SL_OK);
    for (int i = 0; i < DP_STREAM_QUEUE_MAX; i++)
        dp_hub_post(hub, "a", "step", "{}", 2);
    assert_true(dp_stream_read(stream, text, sizeof(text)) > 0); /* full is not too full */
    for (int i = 0; i < 4; i++)
        dp_hub_post(hub, "a", "step", "{}", 2);
    assert_int_equal(dp_stream_read(stream, text, sizeof(text)), -1);
    dp_stream_close(stream);
    dp_hub_destroy(hub);
}

static void test_limits_and_the_end(void **state)
{
    (void)state;
    struct dp_hub *hub = NULL;
    struct dp_stream *streams[DP_STREAMS_MAX], *more = NULL;
    struct calls_seen seen = {0};
    struct sl_error err = {0};
    char text[8];
    assert_int_equal(dp_hub_create(&hub, &err), SL_OK);
    for (int i = 0; i < DP_STREAMS_MAX; i++)
        assert_int_equal(dp_hub_open(&streams[i], hub, "a", &calls, &seen, &err), SL_OK);
    assert_int_equal(dp_hub_open(&more, hub, "a", &calls, &seen, &err), SL_AGAIN);
    assert_int_equal(dp_stream_read(streams[0], text, sizeof(text)), 0);
    dp_hub_stop(hub);
    assert_int_equal(seen.wakes, 1); /* nobody sleeps for ever */
    assert_int_equal(dp_stream_read(streams[0], text, sizeof(text)), -1);
    for (int i = 0; i < DP_STREAMS_MAX; i++)
        dp_stream_close(streams[i]);
    assert_int_equal(dp_hub_open(&more, hub, "a", &calls, &seen, &err), SL_AGAIN);
    dp_hub_destroy(hub);
}

static void *post_many(void *hub)
{
    for (int i = 0; i < 2000; i++)
        dp_hub_post(hub, "a", "step", "{\"n\":1}", 7);
    return NULL;
}

static void test_posting_while_streams_come_and_go(void **state)
{
    (void)state;
    struct dp_hub *hub = NULL;
    struct sl_error err = {0};
    pthread_t poster;
    assert_int_equal(dp_hub_create(&hub, &err), SL_OK);
    assert_int_equal(pthread_create(&poster, NULL, post_many, hub), 0);
    for (int i = 0; i < 200; i++) {
        struct dp_stream *stream = NULL;
        struct calls_seen seen = {0};
        char text[100];
        assert_int_equal(dp_hub_open(&stream, hub, "a", &calls, &seen, &err), SL_OK);
        for (int n = 0; n < 10; n++)
            if (dp_stream_read(stream, text, sizeof(text)) > 6)
                assert_memory_equal(text, n == 0 ? "event:" : text, 6);
        dp_stream_close(stream);
    }
    assert_int_equal(pthread_join(poster, NULL), 0);
    dp_hub_destroy(hub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_a_message_reaches_the_streams_of_its_run),
            cmocka_unit_test(test_a_slow_stream_ends),
            cmocka_unit_test(test_limits_and_the_end),
            cmocka_unit_test(test_posting_while_streams_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
