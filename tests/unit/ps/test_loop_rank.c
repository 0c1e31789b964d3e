/* A server's process of rank 1 in a thread, with a coordinator that this test plays: how it introduces itself, begins anew, is refused, says goodbye and gives up. */
#include "common/clock.h"
#include "common/signals.h"
#include "common/wire.h"
#include "ps/loop.h"
#include "tests/unit/ps/fixture.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#define WAIT_US 20000000
#define BOSS 99 /* incarnation of the coordinator that is played */

static struct sl_error err;

struct server {
    struct sl_config *config;
    struct ps_run_options options;
    pthread_t thread;
    int send_fd;
    enum sl_status status;
    int signal_number;
    struct sl_error error;
};

static struct sl_transport *transport;
static struct sl_wire *boss;
static struct server server;

static void *run(void *argument)
{
    struct server *s = argument;
    s->status = ps_run(&s->options, &s->signal_number, &s->error);
    return NULL;
}

static void prepare(void)
{
    server = (struct server){.config = fixture_config()};
    struct sl_config *config = server.config;
    (void)snprintf(config->cluster.bind, sizeof(config->cluster.bind), "tcp://127.0.0.1:0");
    config->cluster.servers = 2;
    config->cluster.heartbeat_ms = 200;
    config->cluster.timeout_ms = 20000;
    config->cluster.resend_ms = 200;
    config->cluster.join_ms = 20000;
    server.options = (struct ps_run_options){.config = config, .rank = 1, .ready_fd = -1};
    assert_int_equal(sl_signals_pipe(&server.options.signal_fd, &server.send_fd, &err), SL_OK);
}

static int set_up(void **state)
{
    (void)state;
    const struct sl_links_options links = {.accept = true,
            .links_max = 10,
            .heartbeat_us = 200000,
            .timeout_us = 20000000,
            .resend_us = 200000,
            .unreachable_us = 500000,
            .queue_size_max = 1 << 20};
    prepare();
    assert_int_equal(sl_transport_create(&transport, &err), SL_OK);
    assert_int_equal(sl_wire_create(&boss, transport, SL_ROLE_SERVER, &links, &err), SL_OK);
    assert_int_equal(sl_wire_bind(boss, "tcp://127.0.0.1:0", &err), SL_OK);
    assert_int_equal(sl_wire_begin(boss, BOSS, &err), SL_OK);
    server.options.coordinator = sl_socket_endpoint(sl_wire_bound(boss));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sl_wire_destroy(boss);
    sl_transport_destroy(transport);
    (void)close(server.options.signal_fd);
    (void)close(server.send_fd);
    sl_free(server.config);
    return 0;
}

static void start(void)
{
    assert_int_equal(pthread_create(&server.thread, NULL, run, &server), 0);
}

static void join(void)
{
    assert_int_equal(pthread_join(server.thread, NULL), 0);
}

/* The next event of the coordinator's links. */
static struct sl_link_event next(void)
{
    struct sl_link_event event;
    int64_t end_us = sl_clock_monotonic_us() + WAIT_US;
    while (!sl_wire_next_event(boss, &event)) {
        struct sl_address from;
        assert_true(sl_clock_monotonic_us() < end_us);
        assert_int_equal(sl_wire_wait(boss, NULL, 0, end_us, &err), SL_OK);
        while (sl_wire_receive(boss, sl_clock_monotonic_us(), &from, &err) == SL_OK)
            continue;
        assert_int_equal(sl_wire_flush(boss, sl_clock_monotonic_us(), &err), SL_OK);
    }
    return event;
}

/* The next message, which must be of that kind; ends of links before it are passed over. */
static struct sl_link_event expect(enum sl_message_kind kind)
{
    struct sl_link_event event;
    do
        event = next();
    while (event.kind == SL_LINK_GONE);
    assert_string_equal(sl_message_name(event.message->kind), sl_message_name(kind));
    return event;
}

static void answer(struct sl_address to, enum sl_message_kind kind, const char *text)
{
    struct sl_message *m = sl_message_create(kind);
    assert_non_null(m);
    m->incarnation = BOSS;
    m->cluster = 5;
    m->count = 2;
    m->rank = 1;
    (void)snprintf(m->text, sizeof(m->text), "%s", text);
    assert_int_equal(sl_wire_send(boss, to, &m, sl_clock_monotonic_us(), &err), SL_OK);
    assert_int_equal(sl_wire_flush(boss, sl_clock_monotonic_us(), &err), SL_OK);
}

static void test_introduces_itself_and_begins_anew(void **state)
{
    (void)state;
    char endpoint[SL_ENDPOINT_MAX] = "";
    uint64_t before = 0;
    start();
    for (int life = 0; life < 3; life++) {
        struct sl_link_event event = expect(SL_MESSAGE_HELLO);
        const struct sl_hello *hello = &event.message->hello;
        assert_true(event.from.role == SL_ROLE_SERVER && event.from.id != before);
        assert_true(hello->role == SL_ROLE_SERVER && hello->rank == 1 && hello->servers == 2);
        assert_int_equal(strncmp(hello->endpoint, "tcp://127.0.0.1:", 16), 0);
        if (life > 0)
            assert_string_equal(hello->endpoint, endpoint); /* workers find it where it was */
        (void)snprintf(endpoint, sizeof(endpoint), "%s", hello->endpoint);
        before = event.from.id;
        answer(event.from, SL_MESSAGE_WELCOME, "");
        sl_message_destroy(event.message);
        assert_int_equal(sl_wire_close_all(boss, sl_clock_monotonic_us(), &err), SL_OK); /* a rollback */
    }
    struct sl_link_event event = expect(SL_MESSAGE_HELLO);
    answer(event.from, SL_MESSAGE_WELCOME, "");
    answer(event.from, SL_MESSAGE_STOP, "all steps are done");
    sl_message_destroy(event.message);
    join();
    assert_int_equal(server.status, SL_OK);
}

static void test_is_refused(void **state)
{
    (void)state;
    start();
    struct sl_link_event event = expect(SL_MESSAGE_HELLO);
    answer(event.from, SL_MESSAGE_REFUSE, "another config");
    sl_message_destroy(event.message);
    join();
    assert_int_equal(server.status, SL_MISMATCH);
    assert_non_null(strstr(server.error.text, "another config"));
}

static void test_says_goodbye(void **state)
{
    (void)state;
    start();
    struct sl_link_event event = expect(SL_MESSAGE_HELLO);
    answer(event.from, SL_MESSAGE_WELCOME, "");
    sl_message_destroy(event.message);
    sl_signals_send(server.send_fd, SIGTERM);
    event = expect(SL_MESSAGE_BYE);
    assert_string_equal(event.message->text, "SIGTERM");
    sl_message_destroy(event.message);
    join();
    assert_int_equal(server.status, SL_STOPPED);
    assert_int_equal(server.signal_number, SIGTERM);
}

static void test_advertises_what_it_is_told(void **state)
{
    (void)state;
    server.options.advertise = "tcp://10.1.2.3:0";
    start();
    struct sl_link_event event = expect(SL_MESSAGE_HELLO);
    assert_int_equal(strncmp(event.message->hello.endpoint, "tcp://10.1.2.3:", 15), 0);
    assert_true(atoi(event.message->hello.endpoint + 15) > 0);
    answer(event.from, SL_MESSAGE_REFUSE, "enough");
    sl_message_destroy(event.message);
    join();
}

static void test_gives_up(void **state)
{
    (void)state;
    server.options.coordinator = "ipc://nobody-here";
    server.config->cluster.join_ms = 300;
    start();
    join();
    assert_int_equal(server.status, SL_TIMEOUT);
    assert_non_null(strstr(server.error.text, "coordinator"));
}

static void test_refuses_senseless_options(void **state)
{
    (void)state;
    server.options.rank = 2;
    start();
    join();
    assert_int_equal(server.status, SL_USAGE);
    assert_non_null(strstr(server.error.text, "cluster.servers is 2"));
    server.options.rank = 1;
    server.options.bind = "tcp://0.0.0.0:0";
    start();
    join();
    assert_int_equal(server.status, SL_KEYS);
    server.options.bind = NULL;
    server.config->cluster.servers = 1000;
    server.options.rank = 999;
    start();
    join();
    assert_int_equal(server.status, SL_USAGE);
    assert_non_null(strstr(server.error.text, "fewer servers"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(test_introduces_itself_and_begins_anew, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_is_refused, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_says_goodbye, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_advertises_what_it_is_told, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_gives_up, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_refuses_senseless_options, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
