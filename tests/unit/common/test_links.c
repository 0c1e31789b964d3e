/* Links between two ends, message by message: every rule of links.h once. What comes of them together on a bad network is in test_links_network.c. */
#include "common/links.h"
#include "common/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MS 1000
#define SECOND 1000000
#define WORKER(id) ((struct sl_address){SL_ROLE_WORKER, id})
#define SERVER(id) ((struct sl_address){SL_ROLE_SERVER, id})

static const struct sl_links_options options = {.incarnation = 100,
        .accept = true,
        .links_max = 4,
        .heartbeat_us = 500 * MS,
        .timeout_us = 10 * SECOND,
        .resend_us = SECOND,
        .unreachable_us = 2 * SECOND,
        .queue_size_max = 1 << 20};

/* A worker, incarnation 1, and the coordinator, incarnation 100. */
struct ends {
    struct sl_links *worker, *coordinator;
    int64_t now;
};

static struct sl_error err;

static struct sl_links *make(uint64_t incarnation)
{
    struct sl_links *links = NULL;
    struct sl_links_options o = options;
    o.incarnation = incarnation;
    assert_int_equal(sl_links_create(&links, &o, &err), SL_OK);
    return links;
}

static void say(struct sl_links *links, struct sl_address to, int64_t step, int64_t now)
{
    struct sl_message *m = sl_message_create(SL_MESSAGE_PULL);
    m->step = step;
    assert_int_equal(sl_links_send(links, to, &m, now, &err), SL_OK);
    assert_null(m);
}

/* A message by hand, as the transport would bring it. */
static void hear(struct sl_links *links, struct sl_address from, struct sl_message fields, int64_t now)
{
    struct sl_message *m = sl_message_create(fields.kind);
    *m = fields;
    assert_int_equal(sl_links_receive(links, from, &m, now, &err), SL_OK);
    assert_null(m);
}

static bool out(struct sl_links *links, int64_t now, struct sl_address *to, struct sl_message *copy)
{
    const struct sl_message *m = NULL;
    if (!sl_links_next_outgoing(links, now, to, &m))
        return false;
    *copy = *m;
    return true;
}

static void expect_out(struct sl_links *links, int64_t now, enum sl_message_kind kind, uint64_t sequence)
{
    struct sl_address to;
    struct sl_message m;
    if (!out(links, now, &to, &m))
        fail_msg("nothing goes out, expected %s %d", sl_message_name(kind), (int)sequence);
    if (m.kind != kind || m.sequence != sequence)
        fail_msg("%s %d goes out, expected %s %d", sl_message_name(m.kind), (int)m.sequence,
                sl_message_name(kind), (int)sequence);
}

static void expect_silence(struct sl_links *links, int64_t now)
{
    struct sl_address to;
    struct sl_message m;
    if (out(links, now, &to, &m))
        fail_msg("%s %d goes out, expected nothing", sl_message_name(m.kind), (int)m.sequence);
}

static void expect_reset(struct sl_links *links, int64_t now, struct sl_address whom, uint64_t peer)
{
    struct sl_address to;
    struct sl_message m = {0};
    assert_true(out(links, now, &to, &m));
    assert_int_equal(m.kind, SL_MESSAGE_RESET);
    assert_true(sl_address_equal(to, whom) && m.peer == peer);
}

static void expect_message(struct sl_links *links, struct sl_address from, int64_t step)
{
    struct sl_link_event event;
    assert_true(sl_links_next_event(links, &event));
    assert_int_equal(event.kind, SL_LINK_MESSAGE);
    assert_true(sl_address_equal(event.from, from));
    assert_int_equal(event.message->step, step);
    sl_message_destroy(event.message);
}

static void expect_gone(struct sl_links *links, struct sl_address from, const char *words)
{
    struct sl_link_event event;
    assert_true(sl_links_next_event(links, &event));
    assert_int_equal(event.kind, SL_LINK_GONE);
    assert_true(sl_address_equal(event.from, from));
    assert_null(event.message);
    if (strstr(event.text, words) == NULL)
        fail_msg("'%s' does not say '%s'", event.text, words);
}

static void expect_no_event(struct sl_links *links)
{
    struct sl_link_event event;
    assert_false(sl_links_next_event(links, &event));
}

static void carry(struct sl_links *from, struct sl_address name, struct sl_links *to, int64_t now)
{
    struct sl_address whom;
    const struct sl_message *m = NULL;
    while (sl_links_next_outgoing(from, now, &whom, &m)) {
        struct sl_message *copy = sl_message_clone(m);
        assert_int_equal(sl_links_receive(to, name, &copy, now, &err), SL_OK);
    }
}

/* Everything that can be said now is said, and arrives. */
static void talk(struct ends *e)
{
    for (int i = 0; i < 4; i++) {
        carry(e->worker, WORKER(1), e->coordinator, e->now);
        carry(e->coordinator, SL_COORDINATOR, e->worker, e->now);
    }
}

static void tick(struct sl_links *links, int64_t now)
{
    assert_int_equal(sl_links_tick(links, now, &err), SL_OK);
    assert_true(sl_links_wake_us(links) > now);
}

/* A link on which both have said something. */
static void open_ends(struct ends *e)
{
    *e = (struct ends){make(1), make(100), SECOND};
    assert_int_equal(sl_links_open(e->worker, SL_COORDINATOR, e->now, &err), SL_OK);
    say(e->worker, SL_COORDINATOR, 1, e->now);
    talk(e);
    expect_message(e->coordinator, WORKER(1), 1);
    say(e->coordinator, WORKER(1), 1, e->now);
    talk(e);
    expect_message(e->worker, SL_COORDINATOR, 1);
    e->now += 20 * MS;
    tick(e->worker, e->now);
    tick(e->coordinator, e->now);
    talk(e);
    assert_int_equal(sl_links_totals(e->worker).queued, 0);
    assert_int_equal(sl_links_totals(e->coordinator).queued, 0);
    expect_silence(e->worker, e->now);
    expect_silence(e->coordinator, e->now);
}

static void close_ends(struct ends *e)
{
    sl_links_destroy(e->worker);
    sl_links_destroy(e->coordinator);
}

/* ---- the stream ---- */

static void test_messages_are_complete(void **unused)
{
    (void)unused;
    struct sl_links *links = make(1);
    struct sl_address to;
    struct sl_message m = {0};
    assert_int_equal(sl_links_open(links, SL_COORDINATOR, 0, &err), SL_OK);
    assert_int_equal(sl_links_open(links, SL_COORDINATOR, 0, &err), SL_OK); /* stays */
    assert_int_equal(sl_links_totals(links).open, 1);
    expect_silence(links, 0);
    say(links, SL_COORDINATOR, 7, 0);
    say(links, SL_COORDINATOR, 8, 0);
    assert_true(out(links, 0, &to, &m));
    assert_true(sl_address_equal(to, SL_COORDINATOR) && m.step == 7);
    assert_true(m.incarnation == 1 && m.peer == 0 && m.sequence == 1 && m.ack == 0);
    expect_silence(links, 0); /* the second one waits until somebody is there */
    hear(links, SL_COORDINATOR,
            (struct sl_message){
                    .kind = SL_MESSAGE_WELCOME, .incarnation = 100, .peer = 1, .sequence = 1, .ack = 1},
            5);
    assert_true(out(links, 5, &to, &m));
    assert_true(m.incarnation == 1 && m.peer == 100 && m.sequence == 2 && m.ack == 1 && m.step == 8);
    expect_message(links, SL_COORDINATOR, 0);
    struct sl_links_totals totals = sl_links_totals(links);
    assert_true(totals.queued == 1 && totals.messages_sent == 2 && totals.messages_received == 1);
    sl_links_destroy(links);
}

static void test_in_order_and_once(void **unused)
{
    (void)unused;
    struct ends e;
    struct sl_address to;
    struct sl_message m[3];
    open_ends(&e);
    for (int i = 0; i < 3; i++) {
        say(e.worker, SL_COORDINATOR, 10 + i, e.now);
        assert_true(out(e.worker, e.now, &to, &m[i]));
    }
    hear(e.coordinator, WORKER(1), m[1], e.now);
    expect_no_event(e.coordinator); /* too early */
    hear(e.coordinator, WORKER(1), m[0], e.now);
    hear(e.coordinator, WORKER(1), m[0], e.now);
    expect_message(e.coordinator, WORKER(1), 10);
    expect_message(e.coordinator, WORKER(1), 11); /* was kept until its turn */
    expect_no_event(e.coordinator);
    struct sl_links_totals totals = sl_links_totals(e.coordinator);
    assert_true(totals.early == 1 && totals.duplicates == 1);
    assert_true(out(e.coordinator, e.now, &to, &m[0])); /* a duplicate is answered at once */
    assert_true(m[0].kind == SL_MESSAGE_ALIVE && m[0].ack == 3 && m[0].sequence == 0 && m[0].peer == 1);
    m[2].sequence += SL_LINKS_WINDOW_COUNT; /* nobody may send so far ahead */
    hear(e.coordinator, WORKER(1), m[2], e.now);
    e.now += SECOND; /* what was lost comes again */
    tick(e.worker, e.now);
    talk(&e);
    expect_message(e.coordinator, WORKER(1), 12);
    expect_no_event(e.coordinator);
    close_ends(&e);
}

static void test_the_window(void **unused)
{
    (void)unused;
    struct ends e;
    open_ends(&e);
    for (int i = 0; i < SL_LINKS_WINDOW_COUNT + 5; i++)
        say(e.worker, SL_COORDINATOR, i, e.now);
    for (uint64_t i = 0; i < SL_LINKS_WINDOW_COUNT; i++)
        expect_out(e.worker, e.now, SL_MESSAGE_PULL, 2 + i);
    expect_silence(e.worker, e.now);
    hear(e.worker, SL_COORDINATOR,
            (struct sl_message){.kind = SL_MESSAGE_ALIVE, .incarnation = 100, .peer = 1, .ack = 3}, e.now);
    expect_out(e.worker, e.now, SL_MESSAGE_PULL, 2 + SL_LINKS_WINDOW_COUNT);
    expect_out(e.worker, e.now, SL_MESSAGE_PULL, 3 + SL_LINKS_WINDOW_COUNT);
    expect_silence(e.worker, e.now);
    close_ends(&e);
}

static void say_bytes(struct sl_links *links, struct sl_buffer *buffer, int64_t now)
{
    struct sl_message *m = sl_message_create(SL_MESSAGE_PUSH);
    sl_message_add_frame(m, buffer, buffer->data, buffer->size);
    assert_int_equal(sl_links_send(links, SL_COORDINATOR, &m, now, &err), SL_OK);
}

static void test_the_window_in_bytes(void **unused)
{
    (void)unused;
    struct sl_links_options o = options;
    struct sl_links *links = NULL;
    struct sl_buffer *large = sl_buffer_create(SL_LINKS_WINDOW_SIZE + 1),
                     *half = sl_buffer_create(SL_LINKS_WINDOW_SIZE / 2);
    o.incarnation = 1;
    o.queue_size_max = 1ULL << 40;
    assert_int_equal(sl_links_create(&links, &o, &err), SL_OK);
    assert_int_equal(sl_links_open(links, SL_COORDINATOR, 0, &err), SL_OK);
    struct sl_message alive = {.kind = SL_MESSAGE_ALIVE, .incarnation = 100, .peer = 1};
    hear(links, SL_COORDINATOR, alive, 0);
    say_bytes(links, large, 0); /* one message always may leave */
    say_bytes(links, half, 0);
    say_bytes(links, half, 0);
    expect_out(links, 0, SL_MESSAGE_PUSH, 1);
    expect_silence(links, 0);
    alive.ack = 1;
    hear(links, SL_COORDINATOR, alive, 0);
    expect_out(links, 0, SL_MESSAGE_PUSH, 2);
    expect_silence(links, 0); /* two halves and their headers are more than the window */
    sl_links_destroy(links);
    assert_true(large->references == 1 && half->references == 1);
    sl_buffer_release(large);
    sl_buffer_release(half);
}

/* ---- time ---- */

static void test_resending_slows_down(void **unused)
{
    (void)unused;
    struct sl_links *links = make(1);
    assert_int_equal(sl_links_open(links, SL_COORDINATOR, 0, &err), SL_OK);
    say(links, SL_COORDINATOR, 1, 0);
    say(links, SL_COORDINATOR, 2, 0);
    expect_out(links, 0, SL_MESSAGE_PULL, 1);
    int64_t now = 0;
    static const int64_t pauses[] = {
            1, 2, 4, 8, 8, 8, 8}; /* longer than timeout_us: we wait for a coordinator */
    for (size_t i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
        tick(links, now + pauses[i] * SECOND - 1);
        expect_silence(links, now + pauses[i] * SECOND - 1);
        now += pauses[i] * SECOND;
        tick(links, now);
        expect_out(links, now, SL_MESSAGE_PULL, 1); /* alone: nobody has been heard */
        expect_silence(links, now);
    }
    assert_int_equal(sl_links_totals(links).resent, 7);
    expect_no_event(links);
    sl_links_destroy(links);
}

static void test_going_back(void **unused)
{
    (void)unused;
    struct ends e;
    open_ends(&e);
    for (int i = 0; i < 3; i++) {
        say(e.worker, SL_COORDINATOR, i, e.now);
        expect_out(e.worker, e.now, SL_MESSAGE_PULL, (uint64_t)i + 2); /* lost */
    }
    e.now += SECOND;
    tick(e.worker, e.now);
    expect_out(e.worker, e.now, SL_MESSAGE_PULL, 2);
    expect_silence(e.worker, e.now);
    hear(e.worker, SL_COORDINATOR,
            (struct sl_message){.kind = SL_MESSAGE_ALIVE, .incarnation = 100, .peer = 1, .ack = 2}, e.now);
    expect_out(e.worker, e.now, SL_MESSAGE_PULL, 3);
    expect_out(e.worker, e.now, SL_MESSAGE_PULL, 4);
    expect_silence(e.worker, e.now);
    /* an acknowledgement of what was sent before we went back counts too */
    e.now += 8 * SECOND;
    tick(e.worker, e.now);
    hear(e.worker, SL_COORDINATOR,
            (struct sl_message){.kind = SL_MESSAGE_ALIVE, .incarnation = 100, .peer = 1, .ack = 4}, e.now);
    assert_int_equal(sl_links_totals(e.worker).queued, 0);
    close_ends(&e);
}

/* Acknowledgements that take long are no reason to send everything again. */
static void test_a_slow_way_gets_patience(void **unused)
{
    (void)unused;
    struct ends e;
    struct sl_message alive = {.kind = SL_MESSAGE_ALIVE, .incarnation = 100, .peer = 1, .ack = 2};
    open_ends(&e);
    say(e.worker, SL_COORDINATOR, 1, e.now);
    expect_out(e.worker, e.now, SL_MESSAGE_PULL, 2);
    e.now += 900 * MS;
    hear(e.worker, SL_COORDINATOR, alive, e.now);
    say(e.worker, SL_COORDINATOR, 2, e.now);
    expect_out(e.worker, e.now, SL_MESSAGE_PULL, 3);
    for (int i = 0; i < 17; i++) {
        e.now += 100 * MS;
        tick(e.worker, e.now);
        struct sl_address to;
        struct sl_message m;
        while (out(e.worker, e.now, &to, &m))
            assert_int_equal(m.kind, SL_MESSAGE_ALIVE);
    }
    e.now += 100 * MS;
    tick(e.worker, e.now);
    expect_out(e.worker, e.now, SL_MESSAGE_PULL, 3);
    close_ends(&e);
}

static void test_acknowledgements_wait_a_little(void **unused)
{
    (void)unused;
    struct ends e;
    open_ends(&e);
    say(e.worker, SL_COORDINATOR, 1, e.now);
    carry(e.worker, WORKER(1), e.coordinator, e.now);
    expect_silence(e.coordinator, e.now);
    assert_true(sl_links_wake_us(e.coordinator) <= e.now + SL_LINKS_ACK_US);
    tick(e.coordinator, e.now + SL_LINKS_ACK_US - 1);
    expect_silence(e.coordinator, e.now + SL_LINKS_ACK_US - 1);
    tick(e.coordinator, e.now + SL_LINKS_ACK_US);
    expect_out(e.coordinator, e.now + SL_LINKS_ACK_US, SL_MESSAGE_ALIVE, 0);
    expect_silence(e.coordinator, e.now + SL_LINKS_ACK_US);
    for (int i = 0; i < SL_LINKS_ACK_COUNT; i++) {
        expect_silence(e.coordinator, e.now);
        say(e.worker, SL_COORDINATOR, 1, e.now);
        carry(e.worker, WORKER(1), e.coordinator, e.now);
    }
    expect_out(e.coordinator, e.now, SL_MESSAGE_ALIVE, 0); /* so many are acknowledged at once */
    say(e.worker, SL_COORDINATOR, 1, e.now);
    carry(e.worker, WORKER(1), e.coordinator, e.now);
    say(e.coordinator, WORKER(1), 1, e.now); /* what goes back anyway acknowledges too */
    expect_out(e.coordinator, e.now, SL_MESSAGE_PULL, 2);
    tick(e.coordinator, e.now + SL_LINKS_ACK_US);
    expect_silence(e.coordinator, e.now + SL_LINKS_ACK_US);
    close_ends(&e);
}

/* Few and large: who sends them must not wait for the acknowledgement of a window that is full. */
static void test_a_part_of_the_window_is_acknowledged_at_once(void **unused)
{
    (void)unused;
    struct ends e;
    struct sl_buffer *part = sl_buffer_create(SL_LINKS_ACK_SIZE / 4);
    open_ends(&e);
    for (uint64_t i = 0; i < 8; i++) {
        expect_silence(e.coordinator, e.now);
        struct sl_message push = {
                .kind = SL_MESSAGE_PUSH, .incarnation = 1, .peer = 100, .sequence = 2 + i, .ack = 1};
        sl_message_add_frame(&push, part, part->data, part->size);
        hear(e.coordinator, WORKER(1), push, e.now);
        if (i % 4 == 3)
            expect_out(e.coordinator, e.now, SL_MESSAGE_ALIVE, 0);
    }
    close_ends(&e);
    assert_int_equal(part->references, 1);
    sl_buffer_release(part);
}

static void test_signs_of_life(void **unused)
{
    (void)unused;
    struct ends e;
    open_ends(&e);
    int64_t sent = 0;
    for (int i = 0; i < 100; i++) { /* a minute in which nobody has anything to say */
        e.now += 600 * MS;
        tick(e.worker, e.now);
        tick(e.coordinator, e.now);
        talk(&e);
        sent++;
    }
    expect_no_event(e.worker);
    expect_no_event(e.coordinator);
    assert_true(sl_links_totals(e.worker).messages_sent <= (uint64_t)sent + 10);
    close_ends(&e);
}

static void test_silence_is_the_end(void **unused)
{
    (void)unused;
    struct ends e;
    open_ends(&e);
    say(e.coordinator, WORKER(1), 1, e.now);
    tick(e.coordinator, e.now - 20 * MS + 10 * SECOND - 1);
    expect_no_event(e.coordinator);
    tick(e.coordinator, e.now + 10 * SECOND);
    expect_gone(e.coordinator, WORKER(1), "nothing was heard from it for 10.0 s");
    tick(e.coordinator, e.now + 100 * SECOND);
    expect_no_event(e.coordinator); /* once */
    expect_reset(e.coordinator, e.now, WORKER(1), 1);
    expect_silence(e.coordinator, e.now);
    struct sl_message *m = sl_message_create(SL_MESSAGE_PULL);
    assert_int_equal(sl_links_send(e.coordinator, WORKER(1), &m, e.now, &err), SL_NOT_FOUND);
    assert_null(m);
    close_ends(&e);
}

static void test_a_server_that_never_answers_is_gone(void **unused)
{
    (void)unused;
    struct sl_links *links = make(1);
    assert_int_equal(sl_links_open(links, SERVER(50), 0, &err), SL_OK);
    tick(links, 100 * SECOND); /* nothing was said to it: no answer is due */
    expect_no_event(links);
    expect_silence(links, 100 * SECOND);
    say(links, SERVER(50), 1, 100 * SECOND);
    tick(links, 110 * SECOND - 1);
    expect_no_event(links);
    tick(links, 110 * SECOND);
    expect_gone(links, SERVER(50), "nothing was heard");
    sl_links_destroy(links);
}

static void test_unreachable(void **unused)
{
    (void)unused;
    struct ends e;
    open_ends(&e);
    say(e.coordinator, WORKER(1), 1, e.now);
    int64_t begin = e.now;
    expect_out(e.coordinator, e.now, SL_MESSAGE_PULL, 2);
    sl_links_unreachable(e.coordinator, WORKER(1), e.now);
    sl_links_unreachable(e.coordinator, WORKER(9), e.now); /* nobody */
    expect_silence(e.coordinator, e.now);
    /* it is tried again and again, and a success ends the matter */
    while (e.now < begin + 1900 * MS) {
        e.now += 100 * MS;
        tick(e.coordinator, e.now);
        struct sl_address to;
        struct sl_message m;
        while (out(e.coordinator, e.now, &to, &m))
            sl_links_unreachable(e.coordinator, WORKER(1), e.now);
    }
    e.now = begin + 1950 * MS;
    say(e.coordinator, WORKER(1), 2, e.now);
    tick(e.coordinator, e.now);
    expect_no_event(e.coordinator);
    while (e.now < begin + 4 * SECOND) {
        e.now += 40 * MS;
        carry(e.coordinator, SL_COORDINATOR, e.worker, e.now);
        carry(e.worker, WORKER(1), e.coordinator, e.now);
        tick(e.coordinator, e.now);
        tick(e.worker, e.now);
        if (sl_links_totals(e.coordinator).open == 0) {
            struct sl_link_event event;
            (void)sl_links_next_event(e.coordinator, &event);
            fail_msg("%s", event.text);
        }
    }
    expect_message(e.worker, SL_COORDINATOR, 1);
    expect_message(e.worker, SL_COORDINATOR, 2);
    /* and without one it is over */
    say(e.coordinator, WORKER(1), 3, e.now);
    begin = e.now;
    while (sl_links_totals(e.coordinator).open == 1 && e.now < begin + 3 * SECOND) {
        struct sl_address to;
        struct sl_message m;
        while (out(e.coordinator, e.now, &to, &m))
            sl_links_unreachable(e.coordinator, WORKER(1), e.now);
        e.now += 10 * MS;
        tick(e.coordinator, e.now);
    }
    assert_true(e.now >= begin + 2 * SECOND && e.now < begin + 2100 * MS);
    expect_gone(e.coordinator, WORKER(1), "connection has been gone for 2.0 s");
    close_ends(&e);
}

/* ---- beginnings and ends ---- */

static void test_unknown_peers(void **unused)
{
    (void)unused;
    struct sl_links *links = make(100);
    struct sl_message m = {.kind = SL_MESSAGE_PULL, .incarnation = 1, .sequence = 2};
    hear(links, WORKER(1), m, 0); /* not the first */
    expect_reset(links, 0, WORKER(1), 1);
    hear(links, WORKER(1), (struct sl_message){.kind = SL_MESSAGE_ALIVE, .incarnation = 1, .peer = 100}, 0);
    expect_reset(links, 0, WORKER(1), 1);
    m.sequence = 1;
    m.peer = 99; /* to an incarnation before ours */
    hear(links, WORKER(1), m, 0);
    expect_reset(links, 0, WORKER(1), 1);
    m.peer = 0;
    m.incarnation = 2; /* another one than its connection */
    hear(links, WORKER(1), m, 0);
    expect_reset(links, 0, WORKER(1), 2);
    m.incarnation = 1;
    hear(links, SL_COORDINATOR, m, 0); /* whom we did not connect to */
    expect_reset(links, 0, SL_COORDINATOR, 1);
    m.kind = SL_MESSAGE_RESET;
    hear(links, WORKER(1), m, 0); /* never answered */
    expect_silence(links, 0);
    expect_no_event(links);
    assert_int_equal(sl_links_totals(links).open, 0);
    assert_int_equal(sl_links_totals(links).resets, 5);
    m.kind = SL_MESSAGE_HELLO;
    for (uint64_t w = 1; w <= 5; w++) {
        m.incarnation = w;
        hear(links, WORKER(w), m, 0);
    }
    assert_int_equal(sl_links_totals(links).open, 4);
    expect_reset(links, 0, WORKER(5), 5); /* no room */
    expect_silence(links, 0);
    sl_links_destroy(links);
}

static void test_who_does_not_accept(void **unused)
{
    (void)unused;
    struct sl_links *links = NULL;
    struct sl_links_options o = options;
    o.accept = false;
    assert_int_equal(sl_links_create(&links, &o, &err), SL_OK);
    hear(links, WORKER(1), (struct sl_message){.kind = SL_MESSAGE_PULL, .incarnation = 1, .sequence = 1}, 0);
    expect_reset(links, 0, WORKER(1), 1);
    expect_no_event(links);
    sl_links_destroy(links);
}

static void test_reset_ends_a_link(void **unused)
{
    (void)unused;
    struct ends e;
    open_ends(&e);
    struct sl_message reset = {.kind = SL_MESSAGE_RESET, .incarnation = 1, .peer = 99};
    hear(e.coordinator, WORKER(1), reset, e.now); /* meant for the one before us */
    reset.peer = 0;
    hear(e.coordinator, WORKER(1), reset, e.now);
    expect_no_event(e.coordinator);
    reset.peer = 100;
    hear(e.coordinator, WORKER(1), reset, e.now);
    expect_gone(e.coordinator, WORKER(1), "does not know us");
    hear(e.coordinator, WORKER(1), reset, e.now);
    expect_no_event(e.coordinator);
    expect_silence(e.coordinator, e.now);
    /* it is buried: its first message, kept by the network for an hour, begins nothing */
    hear(e.coordinator, WORKER(1),
            (struct sl_message){.kind = SL_MESSAGE_HELLO, .incarnation = 1, .sequence = 1}, e.now);
    expect_no_event(e.coordinator);
    expect_reset(e.coordinator, e.now, WORKER(1), 1);
    close_ends(&e);
}

static void test_the_coordinator_was_started_again(void **unused)
{
    (void)unused;
    struct ends e;
    open_ends(&e);
    struct sl_message other = {.kind = SL_MESSAGE_WELCOME, .incarnation = 101, .peer = 1, .sequence = 1};
    other.peer = 2; /* to another incarnation of ours: not our business */
    hear(e.worker, SL_COORDINATOR, other, e.now);
    expect_no_event(e.worker);
    expect_silence(e.worker, e.now);
    other.peer = 1;
    hear(e.worker, SL_COORDINATOR, other, e.now);
    expect_gone(e.worker, SL_COORDINATOR, "started again");
    expect_reset(e.worker, e.now, SL_COORDINATOR, 101);
    expect_no_event(e.worker);
    assert_int_equal(sl_links_open(e.worker, SL_COORDINATOR, e.now, &err), SL_OK);
    expect_gone(e.worker, SL_COORDINATOR, "before"); /* only another incarnation of ours may begin again */
    close_ends(&e);
}

static void test_acknowledging_what_was_never_sent(void **unused)
{
    (void)unused;
    struct ends e;
    open_ends(&e);
    say(e.coordinator, WORKER(1), 1, e.now);
    hear(e.coordinator, WORKER(1),
            (struct sl_message){.kind = SL_MESSAGE_ALIVE, .incarnation = 1, .peer = 100, .ack = 2}, e.now);
    expect_gone(e.coordinator, WORKER(1), "never sent");
    expect_reset(e.coordinator, e.now, WORKER(1), 1);
    close_ends(&e);
}

static void test_closing(void **unused)
{
    (void)unused;
    struct ends e;
    open_ends(&e);
    say(e.worker, SL_COORDINATOR, 5, e.now);
    talk(&e); /* lies in the coordinator's news, not taken yet */
    say(e.coordinator, WORKER(1), 1, e.now);
    sl_links_close(e.coordinator, WORKER(1));
    sl_links_close(e.coordinator, WORKER(1));
    expect_no_event(e.coordinator);
    expect_reset(e.coordinator, e.now, WORKER(1), 1);
    expect_silence(e.coordinator, e.now);
    assert_int_equal(sl_links_wake_us(e.coordinator), INT64_MAX);
    say(e.worker, SL_COORDINATOR, 6, e.now); /* a late one */
    talk(&e);
    expect_no_event(e.coordinator);
    expect_gone(e.worker, SL_COORDINATOR, "does not know us");
    close_ends(&e);
}

static void test_closing_all(void **unused)
{
    (void)unused;
    struct sl_links *links = make(100);
    for (uint64_t w = 1; w <= 3; w++)
        hear(links, WORKER(w), (struct sl_message){.kind = SL_MESSAGE_HELLO, .incarnation = w, .sequence = 1},
                0);
    hear(links, WORKER(3), (struct sl_message){.kind = SL_MESSAGE_RESET, .incarnation = 3, .peer = 100}, 0);
    sl_links_close_all(links);
    expect_no_event(links);
    assert_int_equal(sl_links_totals(links).open, 0);
    struct sl_address to;
    struct sl_message m;
    int told = 0;
    while (out(links, 0, &to, &m))
        told += m.kind == SL_MESSAGE_RESET && (to.id == 1 || to.id == 2);
    assert_int_equal(told, 2);
    sl_links_destroy(links);
}

static void test_a_queue_has_its_bounds(void **unused)
{
    (void)unused;
    struct ends e;
    open_ends(&e);
    struct sl_buffer *large = sl_buffer_create(3 << 20), *small = sl_buffer_create(600 << 10);
    say_bytes(e.worker, large, e.now); /* one message always may wait */
    carry(e.worker, WORKER(1), e.coordinator, e.now);
    e.now += SL_LINKS_ACK_US;
    tick(e.coordinator, e.now);
    talk(&e);
    say_bytes(e.worker, small, e.now);
    struct sl_message *m = sl_message_create(SL_MESSAGE_PUSH);
    sl_message_add_frame(m, small, small->data, small->size);
    assert_int_equal(sl_links_send(e.worker, SL_COORDINATOR, &m, e.now, &err), SL_NOT_FOUND);
    expect_gone(e.worker, SL_COORDINATOR, "1.2 MiB wait for it");
    expect_reset(e.worker, e.now, SL_COORDINATOR, 100);
    close_ends(&e);
    assert_true(small->references == 1 && large->references == 1);
    sl_buffer_release(small);
    sl_buffer_release(large);
}

/* ---- many ---- */

#define MANY 3000

/* Links come and go in a scattered order; each is found as long as it is there, and dies at its own time. */
static void test_many_links(void **unused)
{
    (void)unused;
    struct sl_links *links = NULL;
    struct sl_links_options o = options;
    struct sl_link_event event;
    o.links_max = MANY;
    assert_int_equal(sl_links_create(&links, &o, &err), SL_OK);
    for (uint64_t i = 0; i < MANY; i++) {
        uint64_t id = 1 + i * 7919 % MANY;
        hear(links, WORKER(id),
                (struct sl_message){.kind = SL_MESSAGE_HELLO, .incarnation = id, .sequence = 1},
                (int64_t)id * MS);
        expect_message(links, WORKER(id), 0);
    }
    for (uint64_t id = 1; id <= MANY; id += 2)
        sl_links_close(links, WORKER(id));
    assert_int_equal(sl_links_totals(links).open, MANY / 2);
    for (uint64_t id = 1; id <= MANY; id++) {
        struct sl_message *m = sl_message_create(SL_MESSAGE_WELCOME);
        assert_int_equal(
                sl_links_send(links, WORKER(id), &m, 3 * SECOND, &err), id % 2 ? SL_NOT_FOUND : SL_OK);
    }
    struct sl_address to;
    struct sl_message m;
    int welcomes = 0;
    while (out(links, 3 * SECOND, &to, &m))
        welcomes += m.kind == SL_MESSAGE_WELCOME && to.id % 2 == 0;
    assert_int_equal(welcomes, MANY / 2);
    for (uint64_t id = 2; id <= MANY; id += 2) {
        tick(links, 10 * SECOND + (int64_t)id * MS - 1);
        assert_false(sl_links_next_event(links, &event));
        tick(links, 10 * SECOND + (int64_t)id * MS);
        expect_gone(links, WORKER(id), "nothing was heard");
    }
    assert_int_equal(sl_links_totals(links).open, 0);
    sl_links_destroy(links);
}

/* More than are remembered as gone, and more RESETs than are kept to be said. */
static void test_memory_is_bounded(void **unused)
{
    (void)unused;
    struct sl_links *links = make(100);
    for (uint64_t i = 1; i <= 2 * SL_LINKS_BURIED_MAX; i++) {
        hear(links, WORKER(i), (struct sl_message){.kind = SL_MESSAGE_HELLO, .incarnation = i, .sequence = 1},
                0);
        hear(links, WORKER(i), (struct sl_message){.kind = SL_MESSAGE_RESET, .incarnation = i, .peer = 100},
                0);
        expect_message(links, WORKER(i), 0);
        expect_gone(links, WORKER(i), "");
    }
    for (uint64_t i = 1; i <= 5000; i++)
        hear(links, WORKER(i), (struct sl_message){.kind = SL_MESSAGE_PULL, .incarnation = i, .sequence = 9},
                0);
    struct sl_address to;
    struct sl_message m;
    int said = 0;
    while (out(links, 0, &to, &m))
        said++;
    assert_true(said >= 1000 && said < 5000);
    sl_links_destroy(links);
}

/* ---- memory ---- */

static enum sl_status tell(struct sl_links *links, struct sl_address from, enum sl_message_kind kind,
        uint64_t sequence, struct sl_error *e)
{
    struct sl_message *m = sl_message_create(kind);
    if (m == NULL)
        return sl_fail(e, SL_NO_MEMORY, "out of memory for a message");
    m->incarnation = from.id;
    m->sequence = sequence;
    m->peer = kind == SL_MESSAGE_RESET ? options.incarnation : 0;
    return sl_links_receive(links, from, &m, 0, e);
}

static enum sl_status live(struct sl_links *links, struct sl_error *e)
{
    enum sl_status status = sl_links_open(links, SERVER(50), 0, e);
    for (int i = 0; i < 20 && status == SL_OK; i++) {
        struct sl_message *m = sl_message_create(SL_MESSAGE_PULL);
        status = m == NULL ? sl_fail(e, SL_NO_MEMORY, "out of memory for a message")
                           : sl_links_send(links, SERVER(50), &m, 0, e);
    }
    static const uint64_t sequences[] = {1, 3, 2, 2};
    for (int i = 0; i < 4 && status == SL_OK; i++)
        status = tell(links, WORKER(1), SL_MESSAGE_PUSH, sequences[i], e);
    if (status == SL_OK)
        status = sl_links_tick(links, 100 * SECOND, e);
    return status == SL_OK ? tell(links, WORKER(2), SL_MESSAGE_RESET, 0, e) : status;
}

/* Every allocation fails once: NO_MEMORY, or (for what only came too early) it is left to come again. Nothing leaks, nothing is delivered twice or out of order. */
static void test_no_memory(void **unused)
{
    (void)unused;
    enum sl_status status = SL_NO_MEMORY;
    uint64_t n = 1;
    for (; status != SL_OK; n++) {
        struct sl_links *links = NULL;
        struct sl_link_event event;
        int64_t taken = 0;
        assert_true(n < 100);
        sl_memory_fail_after(n);
        status = sl_links_create(&links, &options, &err);
        if (status == SL_OK)
            status = live(links, &err);
        sl_memory_fail_after(0);
        assert_true(status == SL_OK || status == SL_NO_MEMORY);
        while (links != NULL && sl_links_next_event(links, &event)) {
            if (event.kind == SL_LINK_MESSAGE)
                assert_int_equal(event.message->sequence, ++taken);
            sl_message_destroy(event.message);
        }
        sl_links_destroy(links);
    }
    assert_true(n > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_messages_are_complete),
            cmocka_unit_test(test_in_order_and_once),
            cmocka_unit_test(test_the_window),
            cmocka_unit_test(test_the_window_in_bytes),
            cmocka_unit_test(test_resending_slows_down),
            cmocka_unit_test(test_going_back),
            cmocka_unit_test(test_a_slow_way_gets_patience),
            cmocka_unit_test(test_acknowledgements_wait_a_little),
            cmocka_unit_test(test_a_part_of_the_window_is_acknowledged_at_once),
            cmocka_unit_test(test_signs_of_life),
            cmocka_unit_test(test_silence_is_the_end),
            cmocka_unit_test(test_a_server_that_never_answers_is_gone),
            cmocka_unit_test(test_unreachable),
            cmocka_unit_test(test_unknown_peers),
            cmocka_unit_test(test_who_does_not_accept),
            cmocka_unit_test(test_reset_ends_a_link),
            cmocka_unit_test(test_the_coordinator_was_started_again),
            cmocka_unit_test(test_acknowledging_what_was_never_sent),
            cmocka_unit_test(test_closing),
            cmocka_unit_test(test_closing_all),
            cmocka_unit_test(test_a_queue_has_its_bounds),
            cmocka_unit_test(test_many_links),
            cmocka_unit_test(test_memory_is_bounded),
            cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
