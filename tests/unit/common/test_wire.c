/* Links over real sockets: what is sent arrives once and in order, between many, through ends and new beginnings. */
#include "common/clock.h"
#include "common/memory.h"
#include "common/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define WAIT_US 20000000
#define BOSS 1 /* incarnation of who listens */
#define SERVER(id) ((struct sl_address){SL_ROLE_SERVER, id})

static struct sl_error err;
static struct sl_transport *transport;

static const struct sl_links_options links = {.accept = true,
        .links_max = 100,
        .heartbeat_us = 100000,
        .timeout_us = 30000000,
        .resend_us = 50000,
        .unreachable_us = 200000,
        .queue_size_max = 1 << 30};

static int set_up(void **state)
{
    (void)state;
    return sl_transport_create(&transport, &err) == SL_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    sl_transport_destroy(transport);
    return 0;
}

static struct sl_wire *listen_at(const char *endpoint)
{
    struct sl_wire *wire = NULL;
    assert_int_equal(sl_wire_create(&wire, transport, SL_ROLE_SERVER, &links, &err), SL_OK);
    assert_int_equal(sl_wire_bind(wire, endpoint, &err), SL_OK);
    assert_int_equal(sl_wire_begin(wire, BOSS, &err), SL_OK);
    return wire;
}

static struct sl_wire *join(const struct sl_wire *boss, uint64_t incarnation)
{
    struct sl_wire *wire = NULL;
    assert_int_equal(sl_wire_create(&wire, transport, SL_ROLE_WORKER, &links, &err), SL_OK);
    assert_int_equal(sl_wire_begin(wire, incarnation, &err), SL_OK);
    assert_int_equal(sl_wire_connect(wire, sl_socket_endpoint(sl_wire_bound(boss)), SL_COORDINATOR,
                             sl_clock_monotonic_us(), &err),
            SL_OK);
    return wire;
}

static void say(struct sl_wire *wire, struct sl_address to, enum sl_message_kind kind, uint64_t incarnation,
        uint64_t number)
{
    struct sl_message *m = sl_message_create(kind);
    assert_non_null(m);
    m->incarnation = incarnation;
    m->hello.role = SL_ROLE_WORKER;
    m->step = (int64_t)number;
    (void)snprintf(m->text, sizeof(m->text), "%llu", (unsigned long long)number);
    assert_int_equal(sl_wire_send(wire, to, &m, sl_clock_monotonic_us(), &err), SL_OK);
    assert_null(m);
}

/* One turn of a loop. Returns whether something happened. */
static bool turn(struct sl_wire *wire, struct sl_link_event *ret_event)
{
    struct sl_address from;
    struct sl_error problem = {0};
    if (sl_wire_next_event(wire, ret_event))
        return true;
    assert_int_equal(sl_wire_wait(wire, NULL, 0, sl_clock_monotonic_us() + 1000, &err), SL_OK);
    enum sl_status status = sl_wire_receive(wire, sl_clock_monotonic_us(), &from, &problem);
    assert_true(status == SL_OK || status == SL_AGAIN);
    assert_int_equal(sl_wire_flush(wire, sl_clock_monotonic_us(), &err), SL_OK);
    return sl_wire_next_event(wire, ret_event);
}

/* Turns all of them until the first one has something to tell; what the others are told is dropped. */
static struct sl_link_event expect(struct sl_wire **wires, int count)
{
    int64_t end_us = sl_clock_monotonic_us() + WAIT_US;
    struct sl_link_event event, other;
    while (sl_clock_monotonic_us() < end_us) {
        for (int i = 1; i < count; i++)
            if (turn(wires[i], &other))
                sl_message_destroy(other.message);
        if (turn(wires[0], &event))
            return event;
    }
    fail_msg("nothing happens");
    return event;
}

static void test_both_ways_in_order(void **state)
{
    (void)state;
    struct sl_wire *boss = listen_at("tcp://127.0.0.1:0"), *worker = join(boss, 7);
    struct sl_wire *to_boss[] = {boss, worker}, *to_worker[] = {worker, boss};
    for (uint64_t n = 0; n < 1000; n++)
        say(worker, SL_COORDINATOR, SL_MESSAGE_HELLO, 7, n);
    for (uint64_t n = 0; n < 1000; n++) {
        struct sl_link_event event = expect(to_boss, 2);
        assert_int_equal(event.kind, SL_LINK_MESSAGE);
        assert_true(event.from.role == SL_ROLE_WORKER && event.from.id == 7);
        assert_int_equal(event.message->step, n);
        sl_message_destroy(event.message);
    }
    say(boss, (struct sl_address){SL_ROLE_WORKER, 7}, SL_MESSAGE_STOP, BOSS, 1);
    struct sl_link_event event = expect(to_worker, 2);
    assert_int_equal(event.message->kind, SL_MESSAGE_STOP);
    assert_true(sl_address_equal(event.from, SL_COORDINATOR));
    sl_message_destroy(event.message);
    say(boss, (struct sl_address){SL_ROLE_WORKER, 999}, SL_MESSAGE_STOP, BOSS, 1); /* nobody: no error */
    assert_true(sl_wire_totals(worker).messages_sent >= 1000);
    assert_true(sl_wire_totals(boss).messages_received >= 1000);
    sl_wire_destroy(worker);
    sl_wire_destroy(boss);
}

/* A refusal is read before the end that follows it. */
static void test_closed_after_the_last_word(void **state)
{
    (void)state;
    struct sl_wire *boss = listen_at("tcp://127.0.0.1:0"), *worker = join(boss, 7);
    struct sl_wire *to_boss[] = {boss, worker}, *to_worker[] = {worker, boss};
    say(worker, SL_COORDINATOR, SL_MESSAGE_HELLO, 7, 0);
    struct sl_link_event event = expect(to_boss, 2);
    sl_message_destroy(event.message);
    say(boss, event.from, SL_MESSAGE_REFUSE, BOSS, 0);
    assert_int_equal(sl_wire_close(boss, event.from, sl_clock_monotonic_us(), &err), SL_OK);
    event = expect(to_worker, 2);
    assert_int_equal(event.kind, SL_LINK_MESSAGE);
    assert_int_equal(event.message->kind, SL_MESSAGE_REFUSE);
    sl_message_destroy(event.message);
    event = expect(to_worker, 2);
    assert_int_equal(event.kind, SL_LINK_GONE);
    assert_true(strlen(event.text) > 0);
    sl_wire_destroy(worker);
    sl_wire_destroy(boss);
}

/* A new incarnation comes on the same endpoint; the one before is known to be gone at once, not after a timeout. */
static void test_begins_anew(void **state)
{
    (void)state;
    struct sl_wire *boss = listen_at("tcp://127.0.0.1:0"), *worker = join(boss, 7);
    struct sl_wire *both[] = {boss, worker};
    char endpoint[SL_ENDPOINT_MAX];
    (void)snprintf(endpoint, sizeof(endpoint), "%s", sl_socket_endpoint(sl_wire_bound(boss)));
    for (uint64_t life = 7; life < 12; life++) {
        say(worker, SL_COORDINATOR, SL_MESSAGE_HELLO, life, 0);
        struct sl_link_event event = expect(both, 2);
        assert_int_equal(event.kind, SL_LINK_MESSAGE);
        assert_int_equal(event.from.id, life);
        sl_message_destroy(event.message);
        uint64_t sent = sl_wire_totals(worker).messages_sent;
        assert_int_equal(sl_wire_begin(worker, life + 1, &err), SL_OK);
        assert_true(sl_wire_totals(worker).messages_sent >= sent);
        assert_int_equal(
                sl_wire_connect(worker, endpoint, SL_COORDINATOR, sl_clock_monotonic_us(), &err), SL_OK);
        event = expect(both, 2);
        assert_int_equal(event.kind, SL_LINK_GONE);
        assert_int_equal(event.from.id, life);
    }
    sl_wire_destroy(worker);
    sl_wire_destroy(boss);
}

/* One process and many servers: everything goes to whom it is for, whatever the order of connecting; more sockets than a word has bits. */
static void test_many_connections(void **state)
{
    (void)state;
    enum { SERVERS = 70 };
    struct sl_wire *wires[SERVERS + 1], *worker = NULL;
    struct sl_links_options patient = links;
    patient.resend_us = 2000000;
    assert_int_equal(sl_wire_create(&worker, transport, SL_ROLE_WORKER, &patient, &err), SL_OK);
    assert_int_equal(sl_wire_begin(worker, 5000, &err), SL_OK);
    wires[0] = worker;
    for (int i = 0; i < SERVERS; i++) {
        char endpoint[64];
        uint64_t id = 1 + (uint64_t)(i * 37 % SERVERS);
        (void)snprintf(endpoint, sizeof(endpoint), "inproc://server-%d", i);
        assert_int_equal(sl_wire_create(&wires[i + 1], transport, SL_ROLE_SERVER, &patient, &err), SL_OK);
        assert_int_equal(sl_wire_bind(wires[i + 1], endpoint, &err), SL_OK);
        assert_int_equal(sl_wire_begin(wires[i + 1], id, &err), SL_OK);
        assert_int_equal(sl_wire_connect(worker, endpoint, SERVER(id), sl_clock_monotonic_us(), &err), SL_OK);
        say(worker, SERVER(id), SL_MESSAGE_PULL, 5000, id);
    }
    struct sl_error ignored = {0};
    assert_int_equal(sl_wire_flush(worker, sl_clock_monotonic_us(), &ignored), SL_OK);
    for (int i = 0; i < SERVERS; i++) {
        uint64_t id = 1 + (uint64_t)(i * 37 % SERVERS);
        struct sl_wire *pair[] = {wires[i + 1], worker};
        struct sl_link_event event = expect(pair, 2);
        assert_int_equal(event.message->step, id);
        sl_message_destroy(event.message);
        say(wires[i + 1], event.from, SL_MESSAGE_STOP, id, id);
        struct sl_wire *back[] = {worker, wires[i + 1]};
        event = expect(back, 2);
        assert_int_equal(event.kind, SL_LINK_MESSAGE);
        assert_int_equal(event.from.id, id);
        assert_int_equal(event.message->incarnation, id);
        sl_message_destroy(event.message);
    }
    for (int i = 0; i <= SERVERS; i++)
        sl_wire_destroy(wires[i]);
}

/* Who comes first waits: what was said before somebody listened arrives. */
static void test_listens_later(void **state)
{
    (void)state;
    static const char endpoint[] = "ipc://wire-later";
    struct sl_wire *worker = NULL;
    struct sl_link_event event;
    assert_int_equal(sl_wire_create(&worker, transport, SL_ROLE_WORKER, &links, &err), SL_OK);
    assert_int_equal(sl_wire_begin(worker, 7, &err), SL_OK);
    assert_int_equal(sl_wire_connect(worker, endpoint, SL_COORDINATOR, sl_clock_monotonic_us(), &err), SL_OK);
    say(worker, SL_COORDINATOR, SL_MESSAGE_HELLO, 7, 1);
    for (int i = 0; i < 20; i++)
        assert_false(turn(worker, &event));
    assert_int_equal(sl_wire_check(worker, &err), SL_OK);
    struct sl_wire *boss = listen_at(endpoint), *both[] = {boss, worker};
    event = expect(both, 2);
    assert_int_equal(event.kind, SL_LINK_MESSAGE);
    assert_int_equal(event.message->kind, SL_MESSAGE_HELLO);
    sl_message_destroy(event.message);
    sl_wire_destroy(worker);
    sl_wire_destroy(boss);
    sl_wire_destroy(NULL);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct sl_wire *boss = listen_at("tcp://127.0.0.1:0");
    int failed = 0;
    for (uint64_t n = 1;; n++) {
        struct sl_wire *worker = NULL;
        struct sl_error problem = {0};
        sl_memory_fail_after(n);
        enum sl_status status = sl_wire_create(&worker, transport, SL_ROLE_WORKER, &links, &problem);
        if (status == SL_OK)
            status = sl_wire_begin(worker, 7, &problem);
        if (status == SL_OK)
            status = sl_wire_connect(worker, sl_socket_endpoint(sl_wire_bound(boss)), SL_COORDINATOR,
                    sl_clock_monotonic_us(), &problem);
        sl_memory_fail_after(0);
        sl_wire_destroy(worker);
        if (status == SL_OK)
            break;
        assert_int_equal(status, SL_NO_MEMORY);
        failed++;
    }
    assert_true(failed >= 4);
    sl_wire_destroy(boss);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(test_both_ways_in_order, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_closed_after_the_last_word, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_begins_anew, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_many_connections, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_listens_later, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
